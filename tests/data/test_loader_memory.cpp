// A program of its own would be needed to replace operator new for one test only, so the count here runs for
// the whole test program and is read around the loop in question.

#include <atomic>
#include <cstdlib>
#include <new>

#include "data/loader.h"
#include "gtest/gtest.h"

namespace {
std::atomic<long> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  void* const p = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}

namespace ingot {
namespace {

TEST(DataLoader, AllocatesNothingAfterTheFirstRound) {
  const auto data = std::make_shared<InMemoryDataset>(Tensor::zeros({DType::U8, {50, 1, 8, 8}}),
                                                      Tensor::zeros({DType::I64, {50}}), 1);
  for (const int workers : {0, 2}) {
    LoaderOptions o;
    o.batch_size = 8;
    o.shuffle = true;
    o.workers = workers;
    o.augment.crop_padding = 1;
    o.augment.horizontal_flip = true;
    DataLoader loader(data, o);
    for (int i = 0; i < 20; ++i) loader.next();
    const long before = allocations.load();
    for (int i = 0; i < 100; ++i) loader.next();
    EXPECT_EQ(allocations.load(), before) << workers << " workers";
  }
  EXPECT_GT(allocations.load(), 0) << "the counter is not wired up";
}

}  // namespace
}  // namespace ingot
