# The CUDA rooms that belong into the library, as INGOT_CUDA_SOURCES; empty when INGOT_CUDA is OFF.
#
# cuda/jit is plain C++: it builds without the CUDA toolkit and finds NVRTC when a kernel is wanted.

set(INGOT_CUDA_SOURCES)
if(NOT INGOT_CUDA STREQUAL "OFF")
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
endif()
