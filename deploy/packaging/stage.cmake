# Run by CPack between installing into its staging directory and making the .deb: what Debian's policy wants and an installation
# elsewhere does not.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY})
set(doc ${root}/usr/share/doc/rollbackd)
set(packaging ${CPACK_ROLLBACKD_PACKAGING})

# A configuration file of the administrator's: installed by the package alone, so that no `cmake --install` writes over it.
# Not file(INSTALL): that one would go through DESTDIR once more.
set(readable OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
file(MAKE_DIRECTORY ${root}/etc/rollbackd)
file(COPY_FILE ${packaging}/rollbackd.json ${root}/etc/rollbackd/rollbackd.json)
file(COPY_FILE ${packaging}/copyright ${doc}/copyright)
file(MAKE_DIRECTORY ${root}/usr/share/lintian/overrides)
file(COPY_FILE ${packaging}/lintian-overrides ${root}/usr/share/lintian/overrides/rollbackd)
file(CHMOD ${root}/usr/share/lintian/overrides/rollbackd ${root}/etc/rollbackd/rollbackd.json ${doc}/copyright PERMISSIONS ${readable})

# The topmost entry is always this package's own version, whatever CPack was told to call it.
file(READ ${packaging}/changelog changelog)
set(version ${CPACK_PACKAGE_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})
string(REGEX REPLACE "^rollbackd \\([^)]*\\)" "rollbackd (${version})" changelog "${changelog}")
string(REPLACE "@MAINTAINER@" "${CPACK_PACKAGE_CONTACT}" changelog "${changelog}")
file(WRITE ${doc}/changelog.Debian "${changelog}")

file(GLOB_RECURSE pages ${root}/usr/share/man/*.[1-9])
foreach(file ${pages} ${doc}/changelog.Debian)
  file(CHMOD ${file} PERMISSIONS ${readable})
  execute_process(COMMAND gzip -9nf ${file} RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "gzip ${file}: ${failed}")
  endif()
endforeach()
