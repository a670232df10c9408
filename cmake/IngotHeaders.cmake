# Public headers. In the tree they are included from the root, "core/ir/graph.h"; users write <ingot/core/ir/graph.h>, so
# that a folder core/ of their own can never be picked up instead. ingot_stage_headers() makes the second form from the
# first. The build stages into <build>/include for users of add_subdirectory and for examples/; `cmake --install` copies
# the very same files. Nothing inside the tree, examples/ aside, includes the staged copies.
#
# As a script (one build step runs it): cmake -DSOURCE=... -DDESTINATION=... -DLIST=... -P IngotHeaders.cmake

# Copies the headers (paths from `source`) to destination/ingot/..., adds the prefix to their includes, writes the
# umbrella ingot/ingot.h that includes every one of them, and removes what an earlier run left and this one does not
# want. Files whose text stays the same keep their date.
function(ingot_stage_headers source destination headers)
  set(umbrella "// Everything Ingot offers: the one header most programs need. Each part can also be included alone.\n")
  string(APPEND umbrella "#pragma once\n\n")
  set(rooms)
  foreach(header IN LISTS headers)
    string(REGEX MATCH "^[^/]+" room "${header}")
    list(APPEND rooms ${room})
  endforeach()
  list(REMOVE_DUPLICATES rooms)
  list(JOIN rooms "|" rooms)
  foreach(header IN LISTS headers)
    file(READ ${source}/${header} text)
    string(REGEX REPLACE "(#[ \t]*include[ \t]*\")((${rooms})/)" "\\1ingot/\\2" text "${text}")
    ingot_write_if_different(${destination}/ingot/${header} "${text}")
    if(header MATCHES "\\.h$")
      string(APPEND umbrella "#include \"ingot/${header}\"\n")
    endif()
  endforeach()
  ingot_write_if_different(${destination}/ingot/ingot.h "${umbrella}")

  file(GLOB_RECURSE staged RELATIVE ${destination}/ingot ${destination}/ingot/*)
  list(REMOVE_ITEM staged ingot.h ${headers})
  foreach(stale IN LISTS staged)
    file(REMOVE ${destination}/ingot/${stale})
  endforeach()
endfunction()

function(ingot_write_if_different path text)
  if(EXISTS ${path})
    file(READ ${path} old)
    if(old STREQUAL text)
      return()
    endif()
  endif()
  file(WRITE ${path} "${text}")
endfunction()

# The public headers of the rooms, in the order of the arrows, so that the umbrella reads like the house is built.
# The backends are private, reached through core/runtime/backend.h, and so are folders detail/ and the headers below,
# which only their own room's sources, or the backends', include.
set(INGOT_PRIVATE_HEADERS
  core/base/order_key.h core/ops/compose.h core/ops/elementwise_grad.h core/ops/support.h core/passes/match.h data/byte_reader.h)

function(ingot_public_headers out)
  set(found)
  foreach(room core/base core/expr core/ir core/op core/ops core/autodiff core/passes core/plan core/runtime
               layers optim data io models train)
    file(GLOB_RECURSE room_headers RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
      ${PROJECT_SOURCE_DIR}/${room}/*.h ${PROJECT_SOURCE_DIR}/${room}/*.def)
    list(FILTER room_headers EXCLUDE REGEX "/detail/")
    list(APPEND found ${room_headers})
  endforeach()
  list(REMOVE_ITEM found ${INGOT_PRIVATE_HEADERS})
  set(${out} ${found} PARENT_SCOPE)
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  file(STRINGS ${LIST} headers)
  ingot_stage_headers(${SOURCE} ${DESTINATION} "${headers}")
endif()
