# What `cmake --install build/release --prefix DIR` leaves: the program, its configurations and cluster scripts, and core as a
# CMake package, so that another project writes find_package(longspan) and links longspan::core.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(core_rooms core_base core_tensor core_runtime core_kernels core_nn)
add_library(longspan_core INTERFACE)
add_library(longspan::core ALIAS longspan_core)
set_target_properties(longspan_core PROPERTIES EXPORT_NAME core)
list(TRANSFORM core_rooms PREPEND longspan_ OUTPUT_VARIABLE core_targets)
target_link_libraries(longspan_core INTERFACE ${core_targets})

install(TARGETS longspan RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY configs cluster DESTINATION ${CMAKE_INSTALL_DATADIR}/longspan USE_SOURCE_PERMISSIONS)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(TARGETS longspan_core ${core_targets} EXPORT longspan ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY core DESTINATION include/longspan FILES_MATCHING PATTERN "*.h"
  PATTERN "kernels/cpu" EXCLUDE PATTERN "kernels/cuda" EXCLUDE PATTERN "kernels/reference" EXCLUDE)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/longspan)
install(EXPORT longspan NAMESPACE longspan:: FILE longspan-targets.cmake DESTINATION ${package})
configure_package_config_file(cmake/longspan-config.cmake.in ${PROJECT_BINARY_DIR}/longspan-config.cmake
  INSTALL_DESTINATION ${package} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/longspan-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/longspan-config.cmake ${PROJECT_BINARY_DIR}/longspan-config-version.cmake
  cmake/FindOneDNN.cmake DESTINATION ${package})
