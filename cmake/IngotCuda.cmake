# The CUDA rooms, by what they need of this machine.
#
# INGOT_CUDA_SOURCES belong into the library: cuda/jit, plain C++ that builds without the CUDA toolkit and finds NVRTC when a
# kernel is wanted. Empty when INGOT_CUDA is OFF.
#
# INGOT_CUDA_BASE_SOURCES are cuda/base, the one folder that calls the CUDA API: a list of sources, not a library, because
# the CUDA backend compiles it against the CUDA runtime and the simulator's tests compile the same files against theirs.
# INGOT_CUDA_OPS_SOURCES are cuda/ops, the lowerings: plain C++ over cuda/base and the kernels' launch headers.
# The CUDA *headers* are enough for the simulated device (tests/cuda_sim): INGOT_CUDA_HEADERS_FOUND.

file(GLOB INGOT_CUDA_BASE_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/base/*.cpp)
file(GLOB INGOT_CUDA_OPS_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/ops/*.cpp)

set(INGOT_CUDA_SOURCES)
set(INGOT_CUDA_HEADERS_FOUND FALSE)
if(INGOT_CUDA STREQUAL "OFF")
  message(STATUS "CUDA: off (INGOT_CUDA=OFF), so cuda/base and the simulated device are not built")
else()
  file(GLOB jit_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/jit/*.cpp)

  set(embedded core/expr/scalar_math.h core/expr/scalar_ops.h cuda/jit/element.h)
  list(TRANSFORM embedded PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE embedded_files)
  list(JOIN embedded "," embedded_list)
  set(embedded_source ${PROJECT_BINARY_DIR}/generated/embedded_headers.cpp)
  add_custom_command(OUTPUT ${embedded_source}
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DOUTPUT=${embedded_source} "-DHEADERS=${embedded_list}"
      -P ${PROJECT_SOURCE_DIR}/cmake/IngotEmbed.cmake
    DEPENDS ${embedded_files} ${PROJECT_SOURCE_DIR}/cmake/IngotEmbed.cmake
    COMMENT "Embedding the headers of generated kernels" VERBATIM)

  set(INGOT_CUDA_SOURCES ${jit_sources} ${embedded_source})

  find_package(CUDAToolkit 12.8 QUIET)
  find_path(INGOT_CUDA_INCLUDE_DIR cuda_fp16.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include
    DOC "Folder with cuda_runtime_api.h, cuda_fp16.h and cuda_bf16.h")
  find_program(INGOT_NVCC nvcc HINTS ${CUDAToolkit_BIN_DIR} DOC "The CUDA compiler")
  if(INGOT_CUDA_INCLUDE_DIR AND EXISTS ${INGOT_CUDA_INCLUDE_DIR}/cuda_runtime_api.h)
    set(INGOT_CUDA_HEADERS_FOUND TRUE)
    message(STATUS "CUDA: headers in ${INGOT_CUDA_INCLUDE_DIR}, compiler ${INGOT_NVCC}")
  else()
    message(STATUS "CUDA: no headers found, so cuda/base and the simulated device are not built; install the CUDA "
                   "Toolkit 12.8 or later, or set INGOT_CUDA_INCLUDE_DIR")
  endif()
endif()
