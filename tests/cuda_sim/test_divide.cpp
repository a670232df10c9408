// Division by a known number, where it goes wrong first: around multiples, at both ends, beyond 2^31.
#include "tests/cuda_sim/divide.h"

#include <limits>

#include "tests/cuda_sim/sim_test.h"

namespace ingot {
namespace {

class Divide : public SimTest {};

TEST_F(Divide, QuotientsAreThoseOfIntegers) {
  constexpr std::int64_t kHalf = std::int64_t{1} << 31;
  const cuda::Stream stream;
  for (const std::int64_t d :
       {std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, std::int64_t{5}, std::int64_t{7}, std::int64_t{28},
        std::int64_t{641}, std::int64_t{1000}, std::int64_t{65535}, std::int64_t{65537},
        std::int64_t{1} << 20, std::int64_t{2147483629}, kHalf - 1, kHalf, kHalf + 1,
        std::int64_t{1} << 40}) {
    std::vector<std::int64_t> n;
    for (const std::int64_t m : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, std::int64_t{999},
                                 (kHalf - 1) / d, kHalf / d, 3 * kHalf / d, 5 * kHalf}) {
      if (m > 0 && d > (std::numeric_limits<std::int64_t>::max() - 1) / m) continue;
      for (const std::int64_t off : {-1, 0, 1})
        if (m * d + off >= 0) n.push_back(m * d + off);
    }
    for (const std::int64_t i : {kHalf - 2, kHalf - 1, kHalf, kHalf + 1}) n.push_back(i);
    const auto dn = to_device(n, stream);
    const cuda::DeviceBuffer dq(dn.bytes());
    samples::quotients(d, dn.as<std::int64_t>(), dq.as<std::int64_t>(), static_cast<int>(n.size()), stream);
    const auto q = to_host<std::int64_t>(dq, stream);
    for (std::size_t i = 0; i < n.size(); ++i) ASSERT_EQ(q[i], n[i] / d) << n[i] << " / " << d;
  }
}

}  // namespace
}  // namespace ingot
