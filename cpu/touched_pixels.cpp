#include "cpu/touched_pixels.h"

#include <cstring>

#include "core/base/error.h"
#include "cpu/parallel.h"

namespace ingot::cpu {

namespace {

struct Grid {
  std::int64_t n, c, h, w, rows, columns;
  std::array<std::int64_t, 2> stride;
  std::int64_t element;  // bytes
  int parts;

  std::int64_t pixel() const { return c * element; }
  std::size_t packed_bytes() const { return size(n * rows * columns); }
  std::size_t size(std::int64_t pixels) const { return static_cast<std::size_t>(pixels * pixel()); }
};

void pack(const Grid& g, const std::byte* image, std::byte* packed) {
  parallel_ranges(g.parts, g.n * g.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::byte* from = image + (r / g.rows * g.h + r % g.rows * g.stride[0]) * g.w * g.pixel();
      std::byte* to = packed + r * g.columns * g.pixel();
      for (std::int64_t j = 0; j < g.columns; ++j)
        std::memcpy(to + j * g.pixel(), from + j * g.stride[1] * g.pixel(), g.size(1));
    }
  });
}

void spread(const Grid& g, const std::byte* packed, std::byte* image) {
  parallel_ranges(g.parts, g.n * g.h, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const std::int64_t h = r % g.h, n = r / g.h;
      std::byte* row = image + r * g.w * g.pixel();
      std::memset(row, 0, g.size(g.w));
      if (h % g.stride[0] != 0 || h / g.stride[0] >= g.rows) continue;
      const std::byte* from = packed + (n * g.rows + h / g.stride[0]) * g.columns * g.pixel();
      for (std::int64_t j = 0; j < g.columns; ++j)
        std::memcpy(row + j * g.stride[1] * g.pixel(), from + j * g.pixel(), g.size(1));
    }
  });
}

class TouchedStep final : public Step {
 public:
  TouchedStep(std::unique_ptr<PrimitiveStep> product, Touched side, const Grid& grid)
      : product_(std::move(product)), side_(side), grid_(grid) {
    constexpr std::size_t kAlign = 64;
    packed_bytes_ = (grid.packed_bytes() + kAlign - 1) / kAlign * kAlign;
    workspace_bytes = packed_bytes_ + product_->workspace_bytes;
    kernel = cat(product_->kernel, side == Touched::Input ? "+pack" : "+spread");
  }

  std::unique_ptr<BoundStep> bind(const Bindings& b) const override {
    struct Bound final : BoundStep {
      Grid grid;
      Touched side = Touched::Input;
      std::unique_ptr<BoundStep> product;
      std::byte *packed = nullptr, *image = nullptr;
      void run() override {
        if (side == Touched::Input) pack(grid, image, packed);
        product->run();
        if (side == Touched::Output) spread(grid, packed, image);
      }
    };
    auto bound = std::make_unique<Bound>();
    std::vector<void*> in(b.inputs.begin(), b.inputs.end()), out(b.outputs.begin(), b.outputs.end());
    void*& operand = side_ == Touched::Input ? in[0] : out[0];
    bound->grid = grid_;
    bound->side = side_;
    bound->image = static_cast<std::byte*>(operand);
    operand = b.workspace;
    bound->packed = static_cast<std::byte*>(operand);
    bound->product = product_->bind({in, out, static_cast<std::byte*>(b.workspace) + packed_bytes_, nullptr});
    return bound;
  }

 private:
  std::unique_ptr<PrimitiveStep> product_;
  Touched side_;
  Grid grid_;
  std::size_t packed_bytes_ = 0;
};

}  // namespace

TensorType touched_type(const TensorType& image, std::array<std::int64_t, 2> stride) {
  const auto count = [&](int axis) {
    const std::int64_t s = stride[static_cast<std::size_t>(axis - 2)];
    return (image.shape[axis] + s - 1) / s;
  };
  return {image.dtype, {image.shape[0], image.shape[1], count(2), count(3)}, Layout::channels_last(4)};
}

std::unique_ptr<Step> touched_pixels(std::unique_ptr<PrimitiveStep> product, Touched side,
                                     const TensorType& image, std::array<std::int64_t, 2> stride,
                                     int threads) {
  const Shape &s = image.shape, packed = touched_type(image, stride).shape;
  const std::int64_t moved = side == Touched::Input ? packed.numel() : s.numel();
  const Grid grid{s[0],
                  s[1],
                  s[2],
                  s[3],
                  packed[2],
                  packed[3],
                  stride,
                  static_cast<std::int64_t>(size_of(image.dtype)),
                  useful_threads(threads, moved)};
  return std::make_unique<TouchedStep>(std::move(product), side, grid);
}

}  // namespace ingot::cpu
