# The CUDA rooms, by what they need of this machine.
#
# INGOT_CUDA_SOURCES belong into the library. Always, unless INGOT_CUDA is OFF: cuda/jit, plain C++ that builds without the
# CUDA toolkit and finds NVRTC when a kernel is wanted. With nvcc and the static CUDA runtime (INGOT_CUDA_BACKEND): the
# backend, its kernels compiled for CMAKE_CUDA_ARCHITECTURES and, as PTX for later GPUs, for the last of them. Else one
# function that registers nothing (cuda/backend/register_stub.cpp).
#
# INGOT_CUDA_BASE_SOURCES are cuda/base, the one folder that calls the CUDA API, and INGOT_CUDA_BACKEND_SOURCES are
# cuda/libs, cuda/ops and cuda/backend, plain C++ on top of it: lists of sources, not libraries, because the library compiles them
# against the CUDA runtime and the simulator's tests compile the same files against theirs.
# The CUDA *headers* are enough for the simulated device (tests/cuda_sim): INGOT_CUDA_HEADERS_FOUND.

include(IngotEmbed)

file(GLOB INGOT_CUDA_BASE_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/base/*.cpp)
file(GLOB INGOT_CUDA_BACKEND_SOURCES CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/cuda/libs/*.cpp ${PROJECT_SOURCE_DIR}/cuda/ops/*.cpp ${PROJECT_SOURCE_DIR}/cuda/backend/*.cpp)
list(REMOVE_ITEM INGOT_CUDA_BACKEND_SOURCES ${PROJECT_SOURCE_DIR}/cuda/backend/register_stub.cpp)

# Those of cuda/libs that nvcc compiles, because the library is templates of kernels.
file(GLOB INGOT_CUDA_LIBRARY_KERNELS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/libs/*.cu)

set(INGOT_CUDA_SOURCES)
set(INGOT_CUDA_HEADERS_FOUND FALSE)
set(INGOT_CUDA_BACKEND FALSE)
set(INGOT_CUDNN FALSE)
set(CMAKE_CUDA_ARCHITECTURES 90 CACHE STRING "GPUs that kernels are compiled for, e.g. 80;90;100;120")

# ingot_nvcc_object(object source archs...): a command that compiles a .cu file for GPUs of these architectures. Compressed,
# machine code takes a third; the host's code, which launches kernels while a run is recorded, is compiled for size.
function(ingot_nvcc_object object source)
  set(launcher)
  if(CCACHE)
    set(launcher ${CCACHE})
  endif()
  set(codes)
  foreach(arch IN LISTS ARGN)
    list(APPEND codes -gencode=arch=compute_${arch},code=sm_${arch})
  endforeach()
  list(GET ARGN -1 last)
  list(APPEND codes -gencode=arch=compute_${last},code=compute_${last})
  cmake_path(GET source FILENAME name)
  add_custom_command(OUTPUT ${object}
    COMMAND ${launcher} ${INGOT_NVCC} -std=c++20 ${codes} --compress-mode=size -Xcompiler=-Os,-fPIC -I${PROJECT_SOURCE_DIR} -c ${source} -o ${object}
      -MD -MF ${object}.d
    DEPENDS ${source} DEPFILE ${object}.d COMMENT "Compiling ${name} for GPUs" VERBATIM)
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
endfunction()

# ingot_use_cudnn(target): for a target that compiles cuda/libs/cudnn.cpp.
function(ingot_use_cudnn target)
  if(INGOT_CUDNN)
    target_include_directories(${target} SYSTEM PRIVATE ${INGOT_CUDNN_INCLUDE_DIR} ${INGOT_CUDNN_FRONTEND_INCLUDE_DIR})
    set_property(SOURCE ${PROJECT_SOURCE_DIR}/cuda/libs/cudnn.cpp TARGET_DIRECTORY ${target}
      APPEND PROPERTY COMPILE_DEFINITIONS INGOT_HAS_CUDNN)
  endif()
endfunction()
if(INGOT_CUDA STREQUAL "OFF")
  message(STATUS "CUDA: off (INGOT_CUDA=OFF), so cuda/base and the simulated device are not built")
else()
  file(GLOB jit_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/jit/*.cpp)

  # What generated kernels include; NVRTC then needs no source tree, and they cannot differ from what the library was built with.
  set(embedded_source ${PROJECT_BINARY_DIR}/generated/embedded_headers.cpp)
  ingot_embed(${embedded_source} SOURCE ${PROJECT_SOURCE_DIR}/cuda/jit/embedded_headers.cpp.in ROOT ${PROJECT_SOURCE_DIR}
    FILES core/expr/scalar_math.h core/expr/scalar_ops.h cuda/jit/element.h)

  set(INGOT_CUDA_SOURCES ${jit_sources} ${embedded_source})

  find_package(CUDAToolkit 12.8 QUIET)
  find_path(INGOT_CUDA_INCLUDE_DIR cuda_fp16.h HINTS ${CUDAToolkit_INCLUDE_DIRS} PATH_SUFFIXES include
    DOC "Folder with cuda_runtime_api.h, cuda_fp16.h and cuda_bf16.h")
  find_program(INGOT_NVCC nvcc HINTS ${CUDAToolkit_BIN_DIR} DOC "The CUDA compiler")
  if(INGOT_CUDA_INCLUDE_DIR AND EXISTS ${INGOT_CUDA_INCLUDE_DIR}/cuda_runtime_api.h)
    set(INGOT_CUDA_HEADERS_FOUND TRUE)
    message(STATUS "CUDA: headers in ${INGOT_CUDA_INCLUDE_DIR}, compiler ${INGOT_NVCC}")
    if(NOT EXISTS ${INGOT_CUDA_INCLUDE_DIR}/cublasLt.h)  # cuda/libs/cublaslt_api.h
      message(STATUS "CUDA: cublasLt.h is not among them, so matrix products stay on Ingot's own kernels; Debian's and "
                     "Ubuntu's package libcublas-dev-13-0 has it")
    endif()
  else()
    message(STATUS "CUDA: no headers found, so cuda/base and the simulated device are not built; install the CUDA "
                   "Toolkit 12.8 or later, or set INGOT_CUDA_INCLUDE_DIR")
  endif()

  # cuDNN: its header, and cudnn-frontend's, which tools/bootstrap.sh unpacks under build/deps. The library itself is
  # opened when it is wanted (cuda/libs).
  find_path(INGOT_CUDNN_INCLUDE_DIR cudnn.h HINTS ${INGOT_CUDA_INCLUDE_DIR} ${CUDAToolkit_INCLUDE_DIRS}
    DOC "Folder with cudnn.h, 9.8 or later")
  find_path(INGOT_CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend.h
    HINTS ${PROJECT_SOURCE_DIR}/build/deps/cudnn_frontend/include DOC "Folder with cudnn_frontend.h, 1.32 or later")
  if(INGOT_SANITIZE)
    message(STATUS "cuDNN: left out of sanitizer builds, which would compile its frontend for minutes")
  elseif(INGOT_CUDNN_INCLUDE_DIR AND INGOT_CUDNN_FRONTEND_INCLUDE_DIR AND INGOT_CUDA_HEADERS_FOUND)
    set(INGOT_CUDNN TRUE)
    message(STATUS "cuDNN: headers in ${INGOT_CUDNN_INCLUDE_DIR} and ${INGOT_CUDNN_FRONTEND_INCLUDE_DIR}")
  else()
    message(STATUS "cuDNN: left out: cudnn.h or cudnn_frontend.h was not found (tools/bootstrap.sh fetches the latter)")
  endif()

  # Sanitizer builds test the host's code; the simulated device serves them.
  set(missing)
  if(NOT INGOT_NVCC)
    list(APPEND missing "nvcc was not found")
  endif()
  if(NOT TARGET CUDA::cudart_static)
    list(APPEND missing "the static CUDA runtime (cudart_static) was not found")
  endif()
  if(INGOT_SANITIZE)
    list(APPEND missing "INGOT_SANITIZE is set")
  endif()
  if(NOT missing)
    set(INGOT_CUDA_BACKEND TRUE)
    list(APPEND INGOT_CUDA_SOURCES ${INGOT_CUDA_BASE_SOURCES} ${INGOT_CUDA_BACKEND_SOURCES})
    file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/kernels)
    file(GLOB kernel_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/kernels/*.cu)
    foreach(kernel_file IN LISTS kernel_files INGOT_CUDA_LIBRARY_KERNELS)
      cmake_path(GET kernel_file STEM kernel)
      ingot_nvcc_object(${PROJECT_BINARY_DIR}/kernels/${kernel}.o ${kernel_file} ${CMAKE_CUDA_ARCHITECTURES})
      list(APPEND INGOT_CUDA_SOURCES ${PROJECT_BINARY_DIR}/kernels/${kernel}.o)
    endforeach()
    message(STATUS "CUDA: the backend is built, for architectures ${CMAKE_CUDA_ARCHITECTURES}")
  else()
    list(JOIN missing "; " missing)
    if(INGOT_CUDA STREQUAL "ON")
      message(FATAL_ERROR "INGOT_CUDA=ON, but the CUDA backend cannot be built: ${missing}. Install the CUDA Toolkit 12.8 or "
                          "later (set CUDAToolkit_ROOT where it is in an unusual place), or use AUTO or OFF.")
    endif()
    message(STATUS "CUDA: the backend is left out: ${missing}")
  endif()
endif()
if(NOT INGOT_CUDA_BACKEND)
  list(APPEND INGOT_CUDA_SOURCES ${PROJECT_SOURCE_DIR}/cuda/backend/register_stub.cpp)
endif()
