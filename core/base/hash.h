// A 64-bit hash that is the same on every machine and in every run, for cache keys and fingerprints. Not for
// security.
//
//   Hasher h; h.add(std::string_view("conv")); h.add(3); h.value();
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace ingot {

class Hasher {
 public:
  void add(std::string_view bytes) {
    for (const char c : bytes) {  // FNV-1a
      state_ ^= static_cast<unsigned char>(c);
      state_ *= 0x100000001b3ull;
    }
    mix(bytes.size());
  }
  template <class T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void add(T v) { mix(static_cast<std::uint64_t>(v)); }
  void add(double v) { mix(std::bit_cast<std::uint64_t>(v)); }
  std::uint64_t value() const { return finalize(state_); }

 private:
  static constexpr std::uint64_t finalize(std::uint64_t x) {  // splitmix64's finaliser
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
  }
  void mix(std::uint64_t v) { state_ = finalize(state_ ^ (v + 0x9e3779b97f4a7c15ull)); }
  std::uint64_t state_ = 0xcbf29ce484222325ull;
};

}  // namespace ingot
