#include "tests/cuda_sim/kernel_names.h"

#include <cctype>
#include <filesystem>
#include <set>

#include "core/base/error.h"
#include "tests/support/temp_dir.h"

namespace ingot {

namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// Words, "::" and single characters of C++ text, without comments, strings and lines of the preprocessor.
std::vector<std::string> tokens_of(std::string_view text) {
  std::vector<std::string> tokens;
  bool line_start = true;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    const std::string_view rest = text.substr(i);
    const auto skip_to = [&](std::string_view end, std::size_t from) {
      const std::size_t at = text.find(end, i + from);
      i = at == std::string_view::npos ? text.size() : at + end.size();
    };
    if (c == '\n') {
      line_start = true;
      ++i;
    } else if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      ++i;
    } else if (c == '#' && line_start) {
      std::size_t end = text.find('\n', i);
      while (end != std::string_view::npos && text[end - 1] == '\\') end = text.find('\n', end + 1);
      i = end == std::string_view::npos ? text.size() : end;
    } else if (rest.starts_with("//")) {
      i = std::min(text.find('\n', i), text.size());
    } else if (rest.starts_with("/*")) {
      skip_to("*/", 2);
    } else if (c == '"') {
      for (++i; i < text.size() && text[i] != '"'; ++i)
        if (text[i] == '\\') ++i;
      ++i;
    } else if (is_word(c)) {
      std::size_t end = i;
      while (end < text.size() && is_word(text[end])) ++end;
      tokens.emplace_back(text.substr(i, end - i));
      i = end;
      line_start = false;
    } else {
      const std::size_t n = rest.starts_with("::") ? 2 : 1;
      tokens.emplace_back(rest.substr(0, n));
      i += n;
      line_start = false;
    }
  }
  return tokens;
}

}  // namespace

std::vector<std::string> kernels_in(std::string_view text) {
  const std::vector<std::string> t = tokens_of(text);
  std::vector<std::string> found;
  std::vector<std::string> scopes;  // one per open brace: "ns::" or ""
  for (std::size_t i = 0; i < t.size(); ++i) {
    if (t[i] == "namespace") {
      std::string name;
      std::size_t j = i + 1;
      while (j < t.size() && t[j] != "{" && t[j] != ";" && t[j] != "=") name += t[j++];
      if (j < t.size() && t[j] == "{") scopes.push_back(name.empty() ? "" : name + "::");
      i = j;
    } else if (t[i] == "{") {
      scopes.emplace_back();
    } else if (t[i] == "}") {
      if (!scopes.empty()) scopes.pop_back();
    } else if (t[i] == "__global__") {
      for (++i; i + 1 < t.size(); ++i) {
        if (t[i] == "__launch_bounds__") {  // its own parentheses
          int depth = 0;
          do {
            ++i;
            depth += t[i] == "(" ? 1 : t[i] == ")" ? -1 : 0;
          } while (depth > 0 && i + 1 < t.size());
        } else if (t[i + 1] == "(") {
          std::string name;
          for (const std::string& s : scopes) name += s;
          found.push_back(name + t[i]);
          break;
        }
      }
    }
  }
  return found;
}

std::vector<std::string> kernel_names(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    const std::string extension = file.path().extension().string();
    if (extension != ".cu" && extension != ".h") continue;
    for (std::string& k : kernels_in(read_raw(file.path().string()))) names.insert(std::move(k));
  }
  return {names.begin(), names.end()};
}

}  // namespace ingot
