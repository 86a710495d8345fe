# What is installed where, and the Debian package. `cmake --install` puts programs, pages, packs and the unit under a prefix; CPack adds
# what Debian's policy wants (stage.cmake, maintainer scripts). Included by the top CMakeLists.txt.
include(GNUInstallDirs)

set(packaging ${CMAKE_CURRENT_LIST_DIR})
set(deploy ${CMAKE_SOURCE_DIR}/deploy)

# Pages and completion come from the programs themselves; see generate.cmake.
set(generated ${CMAKE_BINARY_DIR}/generated)
set(generated_files)
function(rollbackd_generated kind output template)
  set(file ${generated}/${output})
  add_custom_command(OUTPUT ${file}
    COMMAND ${CMAKE_COMMAND} -DPROGRAM=$<TARGET_FILE:rollbackctl> -DKIND=${kind} -DTEMPLATE=${template} -DOUTPUT=${file}
            -P ${packaging}/generate.cmake
    DEPENDS rollbackctl ${template} ${packaging}/generate.cmake VERBATIM)
  set(generated_files ${generated_files} ${file} PARENT_SCOPE)
endfunction()
rollbackd_generated(commands man/rollbackctl.1 ${deploy}/man/rollbackctl.1.in)
rollbackd_generated(settings man/rollbackd.json.5 ${deploy}/man/rollbackd.json.5.in)
rollbackd_generated(bash completion/rollbackctl "")
rollbackd_generated(zsh completion/_rollbackctl "")
add_custom_target(rollbackd_generated ALL DEPENDS ${generated_files})

install(TARGETS rollbackctl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS rollbackd RUNTIME DESTINATION ${CMAKE_INSTALL_SBINDIR})
# systemd reads these under /usr alone. The unit names programs of /usr; under another prefix its ExecStart= wants a drop-in.
install(FILES ${deploy}/systemd/rollbackd.service ${deploy}/systemd/rollbackd-actor.service ${deploy}/systemd/rollbackd-actor.socket
  DESTINATION lib/systemd/system)
install(FILES ${deploy}/systemd/rollbackd.sysusers DESTINATION lib/sysusers.d RENAME rollbackd.conf)
install(FILES ${deploy}/systemd/rollbackd.tmpfiles DESTINATION lib/tmpfiles.d RENAME rollbackd.conf)
install(FILES ${generated}/man/rollbackctl.1 DESTINATION share/man/man1)
install(FILES ${generated}/man/rollbackd.json.5 DESTINATION share/man/man5)
install(FILES ${deploy}/man/rollbackd.8 DESTINATION share/man/man8)
install(FILES ${generated}/completion/rollbackctl DESTINATION share/bash-completion/completions)
install(FILES ${generated}/completion/_rollbackctl DESTINATION share/zsh/vendor-completions)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/rules/ DESTINATION share/rollbackd/rules
  FILES_MATCHING PATTERN "*.json" PATTERN schema EXCLUDE PATTERN tests EXCLUDE)
install(FILES ${CMAKE_SOURCE_DIR}/rules/schema/rollbackd.schema.json DESTINATION share/rollbackd/schema)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/grafana/ DESTINATION share/rollbackd/grafana
  FILES_MATCHING PATTERN "*.json" PATTERN "*.yml" PATTERN tests EXCLUDE)
install(DIRECTORY ${deploy}/ci/ DESTINATION share/doc/rollbackd/examples/ci FILES_MATCHING PATTERN "*.yml")
install(FILES ${packaging}/rollbackd.json DESTINATION share/doc/rollbackd/examples)

set(ROLLBACKD_MAINTAINER "rollbackd developers <rollbackd@packages.example.org>" CACHE STRING "Maintainer named by the package")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rollbackd)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "${ROLLBACKD_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "automatic rollback of bad releases")
set(CPACK_PACKAGE_DESCRIPTION "rollbackd watches services on this machine and, when a release turns out
to be bad, puts the last good release back: unattended, within seconds, and
never twice.
.
It checks health, processes, logs and metrics, judges releases with Prometheus
alerting rules that it evaluates itself, switches a release link back, restarts
the service and verifies what is really running. It needs nothing else running.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${packaging}/stage.cmake)
set(CPACK_ROLLBACKD_PACKAGING ${packaging})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
# The libraries are found in the programs; what the maintainer scripts call is named here. A machine without systemd can have the tools
# alone.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${packaging}/conffiles ${packaging}/postinst ${packaging}/prerm ${packaging}/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
