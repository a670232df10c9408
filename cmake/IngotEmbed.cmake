# Files of this tree as text in a program, which then needs no source tree: headers that generated kernels include, descriptions
# of machines.
#
# ingot_embed(output SOURCE template ROOT folder [SUFFIX .json] FILES a.h b.h ...) makes `output` of a C++ source with the line
# //ROWS. In its place come, row by row, a file's path from `folder` without the suffix, and its text:
# {"a.h", R"embedded(...)embedded"}.
#
# As a script it is that build step: cmake -DOUTPUT=... -DSOURCE=... -DROOT=... -DSUFFIX=... -DFILES=a.h,b.h -P IngotEmbed.cmake

set(INGOT_EMBED ${CMAKE_CURRENT_LIST_FILE})

function(ingot_embed output)
  cmake_parse_arguments(arg "" "SOURCE;ROOT;SUFFIX" "FILES" ${ARGN})
  list(TRANSFORM arg_FILES PREPEND ${arg_ROOT}/ OUTPUT_VARIABLE files)
  list(JOIN arg_FILES "," names)
  cmake_path(GET output FILENAME what)
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DSOURCE=${arg_SOURCE} -DROOT=${arg_ROOT}
      -DSUFFIX=${arg_SUFFIX} "-DFILES=${names}" -P ${INGOT_EMBED}
    DEPENDS ${files} ${arg_SOURCE} ${INGOT_EMBED} COMMENT "Embedding texts in ${what}" VERBATIM)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  string(REPLACE "," ";" FILES "${FILES}")
  set(rows "")
  foreach(file IN LISTS FILES)
    file(READ ${ROOT}/${file} text)
    string(REGEX REPLACE "\\${SUFFIX}$" "" name "${file}")
    string(APPEND rows "    {\"${name}\", R\"embedded(${text})embedded\"},\n")
  endforeach()
  file(READ ${SOURCE} text)
  string(REPLACE "//ROWS\n" "${rows}" text "${text}")
  file(WRITE ${OUTPUT} "// Made by cmake/IngotEmbed.cmake.\n${text}")
endif()
