// What an error says.
//
//   EXPECT_TRUE(says(message_of<FormatError>([&] { read_idx(path); }), path, "cut short"));
#pragma once

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace ingot {

// The message of the E that `f` throws.
template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

template <class... Parts>
testing::AssertionResult says(const std::string& message, const Parts&... parts) {
  for (const std::string_view part : {std::string_view(parts)...})
    if (message.find(part) == std::string::npos)
      return testing::AssertionFailure() << "\n  expected: " << part << "\n  in: " << message;
  return testing::AssertionSuccess();
}

}  // namespace ingot
