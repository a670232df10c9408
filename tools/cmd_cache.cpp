#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "tools/commands.h"

namespace ingot::tools {

namespace {

int list_cache(const Backend& b, bool json) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  double bytes = 0.0;
  for (const CacheEntry& e : b.cache_entries()) {
    list.push_back({{"title", e.title}, {"bytes", e.bytes}, {"file", e.file}});
    bytes += static_cast<double>(e.bytes);
    if (!json) std::printf("%10s  %s\n", human_bytes(static_cast<double>(e.bytes)).c_str(), e.title.c_str());
  }
  if (json)
    std::printf("%s\n",
                nlohmann::ordered_json{{"folder", b.cache_folder()}, {"entries", list}}.dump(2).c_str());
  else
    std::printf("%zu entries, %s in %s\n", list.size(), human_bytes(bytes).c_str(), b.cache_folder().c_str());
  return 0;
}

}  // namespace

Action add_cache(CLI::App& app) {
  auto what = std::make_shared<std::string>("list");
  auto json = std::make_shared<bool>(false);
  app.add_option("what", *what, "list or clear")
      ->capture_default_str()
      ->check(CLI::IsMember({"list", "clear"}));
  app.add_flag("--json", *json, "Print JSON");
  app.footer(
      "Compiled kernels and measured choices are kept in $INGOT_CACHE_DIR, else $XDG_CACHE_HOME/ingot, else "
      "~/.cache/ingot.\n\nExample:\n  ingot cache list\n  ingot cache clear");
  return [what, json] {
    const Backend& b = backend("cuda");
    if (*what == "list") return list_cache(b, *json);
    const std::size_t removed = b.clear_cache();
    if (*json)
      std::printf("%s\n",
                  nlohmann::ordered_json{{"folder", b.cache_folder()}, {"removed", removed}}.dump(2).c_str());
    else
      std::printf("%zu entries removed from %s\n", removed, b.cache_folder().c_str());
    return 0;
  };
}

}  // namespace ingot::tools
