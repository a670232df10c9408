# Third-party libraries. oneDNN 3 comes from the system, else from the PyPI wheels that tools/bootstrap.sh unpacks
# under build/deps.

find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(ZLIB REQUIRED)
find_package(JPEG REQUIRED)
find_package(PNG REQUIRED)
find_package(EXPAT REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)

find_package(dnnl 3 CONFIG QUIET)
if(NOT dnnl_FOUND)
  find_package(dnnl 3 CONFIG QUIET PATHS ${PROJECT_SOURCE_DIR}/build/deps/onednn NO_DEFAULT_PATH)
endif()
if(NOT dnnl_FOUND)
  message(FATAL_ERROR "oneDNN 3 was not found. Run tools/bootstrap.sh, which unpacks it under build/deps, or install "
                      "libdnnl-dev 3.x and pass -Ddnnl_DIR=...")
endif()

# A oneDNN that nobody else installed travels with the library.
cmake_path(IS_PREFIX PROJECT_SOURCE_DIR "${dnnl_DIR}" NORMALIZE onednn_is_ours)
option(INGOT_BUNDLE_ONEDNN "Install libdnnl beside libingot" ${onednn_is_ours})
