# Headers that text generated at run time includes, as strings in the library: NVRTC then needs no source tree, and the
# kernels cannot differ from the headers the library was built with.
#
# As a script (a build step runs it): cmake -DSOURCE=... -DOUTPUT=... -DHEADERS=a.h,b.h -P IngotEmbed.cmake

function(ingot_embed_headers source output headers)
  set(rows "")
  foreach(header IN LISTS headers)
    file(READ ${source}/${header} text)
    string(APPEND rows "    {\"${header}\", R\"embedded(${text})embedded\"},\n")
  endforeach()
  file(WRITE ${output} "// Made by cmake/IngotEmbed.cmake.
#include \"cuda/jit/kernel_source.h\"

namespace ingot::cuda {

std::span<const EmbeddedHeader> embedded_headers() {
  static constexpr EmbeddedHeader headers[] = {
${rows}  };
  return headers;
}

}  // namespace ingot::cuda
")
endfunction()

if(CMAKE_SCRIPT_MODE_FILE STREQUAL CMAKE_CURRENT_LIST_FILE)
  string(REPLACE "," ";" HEADERS "${HEADERS}")
  ingot_embed_headers(${SOURCE} ${OUTPUT} "${HEADERS}")
endif()
