# The descriptions of machines in benchmarks/machines/, as text in the program: `ingot plan` then needs no source tree.
#
# As a script (a build step runs it): cmake -DOUTPUT=... -DFILES=a.json,b.json -P IngotMachines.cmake

function(ingot_embed_machines output files)
  set(rows "")
  foreach(file IN LISTS files)
    get_filename_component(name ${file} NAME_WE)
    file(READ ${file} text)
    string(REGEX REPLACE "\n *" "" text "${text}")
    string(APPEND rows "      {\"${name}\", R\"embedded(${text})embedded\"},\n")
  endforeach()
  file(WRITE ${output} "// Made by cmake/IngotMachines.cmake.
#include \"tools/machine_file.h\"

namespace ingot::tools {

const std::vector<std::pair<std::string, std::string>>& described_machines() {
  static const std::vector<std::pair<std::string, std::string>> all{
${rows}  };
  return all;
}

}  // namespace ingot::tools
")
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  string(REPLACE "," ";" FILES "${FILES}")
  ingot_embed_machines(${OUTPUT} "${FILES}")
endif()
