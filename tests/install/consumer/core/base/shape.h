// This project's own core/base/shape.h, which has nothing to do with Ingot's.
#pragma once

namespace consumer {
struct Shape {
  int corners = 4;
};
}  // namespace consumer
