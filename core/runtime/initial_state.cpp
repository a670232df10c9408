#include "core/runtime/initial_state.h"

#include <cmath>
#include <numbers>

#include "core/base/hash.h"
#include "core/base/philox.h"

namespace ingot {

Tensor initial_state(const State& state, const TensorType& type, std::uint64_t seed) {
  const Init& init = state.init;
  if (init.kind == Init::Kind::Constant) return Tensor::full(type, init.a);
  if (init.kind == Init::Kind::Data) {
    Tensor t(type);
    t.copy_from(init.data);
    return t;
  }
  Hasher h;
  h.add(std::string_view(state.name));
  const Philox rng(seed, h.value());
  const std::int64_t n = type.numel();
  Tensor t(type);
  visit_dtype(type.dtype, [&]<class T>() {
    T* const out = t.data<T>();
    for (std::int64_t block = 0; block * 4 < n; ++block) {
      const Philox4 bits = rng(static_cast<std::uint64_t>(block));
      double v[4];
      if (init.kind == Init::Kind::Uniform) {
        for (int k = 0; k < 4; ++k)
          v[k] = init.a + (init.b - init.a) * static_cast<double>(uniform01(bits.v[k]));
      } else {
        for (int k = 0; k < 4; k += 2) {
          const double r = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(uniform01(bits.v[k]))));
          const double angle = 2.0 * std::numbers::pi * static_cast<double>(uniform01(bits.v[k + 1]));
          v[k] = init.a + init.b * r * std::cos(angle);
          v[k + 1] = init.a + init.b * r * std::sin(angle);
        }
      }
      for (std::int64_t k = 0; k < 4 && block * 4 + k < n; ++k) out[block * 4 + k] = from_double<T>(v[k]);
    }
  });
  return t;
}

}  // namespace ingot
