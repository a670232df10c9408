# `cmake --install`: a folder that works wherever it is moved. The library finds its neighbours by $ORIGIN, the package
# file finds the library by its own place. All dependencies of the library are private and shared, so a user needs none
# of their CMake packages.
include(CMakePackageConfigHelpers)

set(INGOT_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Ingot)

install(TARGETS ingot EXPORT IngotTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${INGOT_STAGED_INCLUDE}/ingot DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT IngotTargets NAMESPACE Ingot:: DESTINATION ${INGOT_CMAKE_DIR})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/IngotConfig.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/cmake/IngotConfig.cmake INSTALL_DESTINATION ${INGOT_CMAKE_DIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/cmake/IngotConfigVersion.cmake
  COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/cmake/IngotConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/cmake/IngotConfigVersion.cmake DESTINATION ${INGOT_CMAKE_DIR})

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(INGOT_BUNDLE_ONEDNN)
  get_target_property(onednn_configurations DNNL::dnnl IMPORTED_CONFIGURATIONS)
  list(GET onednn_configurations 0 onednn_configuration)
  get_target_property(onednn_file DNNL::dnnl IMPORTED_LOCATION_${onednn_configuration})
  get_target_property(onednn_soname DNNL::dnnl IMPORTED_SONAME_${onednn_configuration})
  # Under the one name the loader asks for: links would only serve people who compile against oneDNN itself.
  install(PROGRAMS ${onednn_file} DESTINATION ${CMAKE_INSTALL_LIBDIR} RENAME ${onednn_soname})
  cmake_path(GET dnnl_DIR PARENT_PATH onednn_prefix)  # <prefix>/lib/cmake/dnnl
  cmake_path(GET onednn_prefix PARENT_PATH onednn_prefix)
  cmake_path(GET onednn_prefix PARENT_PATH onednn_prefix)
  install(DIRECTORY ${onednn_prefix}/share/doc/onednn/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/onednn OPTIONAL)
endif()
