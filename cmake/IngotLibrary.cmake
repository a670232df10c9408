# The library Ingot::ingot: every room below tools/, one shared object that exports the namespace ingot and nothing else.

set(INGOT_ROOMS core cpu layers optim data io models train)
set(INGOT_SOURCES)
foreach(room IN LISTS INGOT_ROOMS)
  file(GLOB_RECURSE room_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${room}/*.cpp)
  list(APPEND INGOT_SOURCES ${room_sources})
endforeach()

# core names the CUDA backend by one function; without CUDA it registers nothing.
if(INGOT_CUDA STREQUAL "ON" AND NOT EXISTS ${PROJECT_SOURCE_DIR}/cuda/backend/register.cpp)
  message(FATAL_ERROR "INGOT_CUDA=ON, but this source tree has no CUDA backend. Use AUTO or OFF.")
endif()
list(APPEND INGOT_SOURCES ${PROJECT_SOURCE_DIR}/cuda/backend/register_stub.cpp)

add_library(ingot SHARED ${INGOT_SOURCES})
add_library(Ingot::ingot ALIAS ingot)
target_compile_features(ingot PUBLIC cxx_std_20)
target_include_directories(ingot PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
target_link_libraries(ingot PRIVATE $<BUILD_INTERFACE:ingot_flags> DNNL::dnnl OpenMP::OpenMP_CXX Threads::Threads
  ZLIB::ZLIB $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
set_target_properties(ingot PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR} POSITION_INDEPENDENT_CODE ON)
target_link_options(ingot PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/exports.map -Wl,--no-undefined)
set_property(TARGET ingot APPEND PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/exports.map)

# The elementwise kernels are compiled once per x86-64 level and chosen at run time (cpu/tape_kernels.h).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  foreach(level 2 3 4)
    file(GLOB level_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cpu/*_v${level}.cpp)
    if(level_sources)
      set_source_files_properties(${level_sources} PROPERTIES
        COMPILE_OPTIONS "-march=x86-64-v${level};$<$<EQUAL:${level},4>:-mprefer-vector-width=512>")
    endif()
  endforeach()
endif()
