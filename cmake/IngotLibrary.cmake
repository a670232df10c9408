# The library Ingot::ingot: every room below tools/, one shared object that exports the namespace ingot and nothing else.

set(INGOT_ROOMS core cpu layers optim data io models train)
set(INGOT_SOURCES)
foreach(room IN LISTS INGOT_ROOMS)
  file(GLOB_RECURSE room_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${room}/*.cpp)
  list(APPEND INGOT_SOURCES ${room_sources})
endforeach()

# core names the CUDA backend by one function; without CUDA it registers nothing.
list(APPEND INGOT_SOURCES ${INGOT_CUDA_SOURCES})

include(IngotHeaders)
set(INGOT_STAGED_INCLUDE ${PROJECT_BINARY_DIR}/include)
ingot_public_headers(INGOT_PUBLIC_HEADERS)
list(JOIN INGOT_PUBLIC_HEADERS "\n" header_lines)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/public_headers.txt CONTENT "${header_lines}\n" @ONLY)
list(TRANSFORM INGOT_PUBLIC_HEADERS PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE header_files)
add_custom_command(OUTPUT ${PROJECT_BINARY_DIR}/public_headers.stamp
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DDESTINATION=${INGOT_STAGED_INCLUDE}
    -DLIST=${PROJECT_BINARY_DIR}/public_headers.txt -P ${PROJECT_SOURCE_DIR}/cmake/IngotHeaders.cmake
  COMMAND ${CMAKE_COMMAND} -E touch ${PROJECT_BINARY_DIR}/public_headers.stamp
  DEPENDS ${header_files} ${PROJECT_BINARY_DIR}/public_headers.txt ${PROJECT_SOURCE_DIR}/cmake/IngotHeaders.cmake
  COMMENT "Staging public headers" VERBATIM)
add_custom_target(ingot_headers DEPENDS ${PROJECT_BINARY_DIR}/public_headers.stamp)

add_library(ingot SHARED ${INGOT_SOURCES})
add_library(Ingot::ingot ALIAS ingot)
add_dependencies(ingot ingot_headers)
target_compile_features(ingot PUBLIC cxx_std_20)
# The library's own sources include from the root (through ingot_flags); users see the staged headers only.
target_include_directories(ingot PUBLIC $<BUILD_INTERFACE:${INGOT_STAGED_INCLUDE}>)
# BUILD_INTERFACE keeps private dependencies out of the exported target. oneDNN is linked as a file, because a shared
# imported target would be named there all the same.
target_include_directories(ingot SYSTEM PRIVATE $<TARGET_PROPERTY:DNNL::dnnl,INTERFACE_INCLUDE_DIRECTORIES>)
target_link_libraries(ingot PRIVATE $<BUILD_INTERFACE:ingot_flags> $<BUILD_INTERFACE:$<TARGET_FILE:DNNL::dnnl>>
  $<BUILD_INTERFACE:OpenMP::OpenMP_CXX> $<BUILD_INTERFACE:Threads::Threads> $<BUILD_INTERFACE:ZLIB::ZLIB>
  $<BUILD_INTERFACE:JPEG::JPEG> $<BUILD_INTERFACE:PNG::PNG> $<BUILD_INTERFACE:EXPAT::EXPAT>
  $<BUILD_INTERFACE:nlohmann_json::nlohmann_json> $<BUILD_INTERFACE:${CMAKE_DL_LIBS}>
  $<$<BOOL:${INGOT_CUDA_BACKEND}>:$<BUILD_INTERFACE:CUDA::cudart_static>>)
if(INGOT_CUDA_BACKEND)
  target_include_directories(ingot SYSTEM PRIVATE ${INGOT_CUDA_INCLUDE_DIR})
  set_target_properties(ingot PROPERTIES LINKER_LANGUAGE CXX)
  ingot_use_cudnn(ingot)
endif()
set_target_properties(ingot PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} POSITION_INDEPENDENT_CODE ON INSTALL_RPATH $ORIGIN
  VISIBILITY_INLINES_HIDDEN ON)  # whoever calls an inline function has it in its own code
# Compiled for size, because it runs once a program, a run or an epoch, and is most of the library's own code: what compiles
# graphs, lowers nodes, makes kernels' text, appends graph; JSON and file formats; ops, whose references need not be fast, because
# every type that matters has a lowering; lowerings whose time goes into libraries, cpu/simd or memcpy. Not the graph and the
# memory planner, in which compiling a model spends its time, nor sessions.
file(GLOB once_sources CONFIGURE_DEPENDS
  ${PROJECT_SOURCE_DIR}/core/autodiff/*.cpp ${PROJECT_SOURCE_DIR}/core/expr/*.cpp ${PROJECT_SOURCE_DIR}/core/op/*.cpp
  ${PROJECT_SOURCE_DIR}/core/ops/*.cpp ${PROJECT_SOURCE_DIR}/core/passes/*.cpp ${PROJECT_SOURCE_DIR}/core/runtime/*.cpp
  ${PROJECT_SOURCE_DIR}/cuda/jit/*.cpp ${PROJECT_SOURCE_DIR}/cuda/libs/*.cpp ${PROJECT_SOURCE_DIR}/cuda/ops/*.cpp
  ${PROJECT_SOURCE_DIR}/io/*.cpp ${PROJECT_SOURCE_DIR}/layers/*.cpp ${PROJECT_SOURCE_DIR}/models/*.cpp
  ${PROJECT_SOURCE_DIR}/optim/*.cpp)
list(REMOVE_ITEM once_sources ${PROJECT_SOURCE_DIR}/core/runtime/session.cpp ${PROJECT_SOURCE_DIR}/core/runtime/step.cpp)
set_property(SOURCE ${once_sources} core/ir/tensor.cpp core/plan/cost_model.cpp cuda/backend/backend.cpp cuda/backend/choice.cpp cuda/backend/queue.cpp
  train/detection_metrics.cpp train/explain.cpp train/freeze.cpp
  train/heat_map.cpp train/step_graph.cpp train/trainer.cpp train/callbacks.cpp train/verification_metrics.cpp data/boxes.cpp data/detection.cpp
  data/folders.cpp data/image.cpp data/image_folder.cpp data/jpeg.cpp data/loader.cpp data/npy.cpp data/png.cpp data/png_write.cpp
  data/language.cpp data/table.cpp data/text.cpp data/text_dataset.cpp data/vocabulary.cpp data/voc.cpp
  cpu/backend.cpp cpu/bfloat_conv.cpp cpu/onednn.cpp cpu/touched_pixels.cpp cpu/widened_step.cpp cpu/ops/conv.cpp
  cpu/ops/recurrent.cpp cpu/reference_step.cpp core/base/file.cpp core/ir/retype.cpp data/byte_reader.cpp data/idx.cpp train/metrics.cpp APPEND PROPERTY
  COMPILE_OPTIONS "$<$<CONFIG:Release>:-Os>")
# Loops over an image's bytes, of which some look up tables and some vectorise, loops that call others which vectorise, and searches
# that branch: nothing here gains by -O3's copies of them.
set_property(SOURCE core/plan/memory_plan.cpp core/runtime/session.cpp cpu/ops/attention.cpp cpu/ops/gather.cpp cpu/ops/group_norm.cpp cpu/ops/pool.cpp
  cpu/ops/reduce.cpp cpu/ops/reorder.cpp cpu/ops/sort.cpp cpu/ops/update.cpp cpu/ops/view.cpp cpu/winograd.cpp data/mix.cpp data/pixel_ops.cpp APPEND PROPERTY
  COMPILE_OPTIONS "$<$<CONFIG:Release>:-O2>")
target_link_options(ingot PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/exports.map -Wl,--no-undefined -Wl,--gc-sections)
set_property(TARGET ingot APPEND PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/exports.map)
# 7,000 relocations of tables of pointers in a bit each instead of 24 bytes. The loader must know the form, which glibc does
# from 2.36 on: where this is built with an older one, or is to run on one (-DINGOT_PACKED_RELOCATIONS=OFF), they stay as they are.
include(CheckCXXSourceCompiles)
include(CMakePushCheckState)
cmake_push_check_state(RESET)
set(CMAKE_REQUIRED_LINK_OPTIONS -Wl,-z,pack-relative-relocs)
set(CMAKE_REQUIRED_QUIET ON)
check_cxx_source_compiles("#include <cstdlib>
#if !__GLIBC_PREREQ(2, 36)
#error older
#endif
int main() {}" INGOT_PACKED_RELOCATIONS)
cmake_pop_check_state()
if(INGOT_PACKED_RELOCATIONS)
  target_link_options(ingot PRIVATE -Wl,-z,pack-relative-relocs)
endif()

# The CPU's vector kernels are compiled once per x86-64 level and chosen at run time (cpu/simd/level.h). Comparisons must
# not count as trapping, or selects would stop vectorisation.
set(simd_flags -O3 -fno-trapping-math)
if(INGOT_SANITIZE MATCHES "address" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 puts frames that hold 64-byte vectors on a fake stack aligned for 32: a crash that is not ours.
  list(APPEND simd_flags --param=asan-use-after-return=0)
endif()
file(GLOB simd_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cpu/simd/*_base.cpp)
# The lowest level serves processors from before 2013: without -O3's copies of loops it takes half the room.
set_source_files_properties(${simd_sources} PROPERTIES COMPILE_OPTIONS "${simd_flags};-O2")
foreach(level 3 4)
  file(GLOB simd_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cpu/simd/*_v${level}.cpp)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set_source_files_properties(${simd_sources} PROPERTIES
      COMPILE_OPTIONS "${simd_flags};-march=x86-64-v${level};-mprefer-vector-width=$<IF:$<EQUAL:${level},4>,512,256>")
  else()
    set_source_files_properties(${simd_sources} PROPERTIES COMPILE_OPTIONS "${simd_flags}")
  endif()
endforeach()
# Everywhere else a product and a sum round twice, so that fused and plain graphs agree; the sums of a convolution, of attention and
# of a recurrent network's products may fuse.
file(GLOB simd_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cpu/simd/conv_*.cpp ${PROJECT_SOURCE_DIR}/cpu/simd/attention_*.cpp
  ${PROJECT_SOURCE_DIR}/cpu/simd/recurrent_*.cpp)
set_property(SOURCE ${simd_sources} APPEND PROPERTY COMPILE_OPTIONS -ffp-contract=fast)
