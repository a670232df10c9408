// A program that lives outside Ingot's tree and knows it by <ingot/...> alone.
#include <ingot/core/base/shape.h>
#include <ingot/ingot.h>
#include <cstdio>

#include "core/base/shape.h"

int main() {
  const consumer::Shape own;
  const ingot::Tensor t = ingot::Tensor::zeros({ingot::DType::F32, {2, 3}});
  if (own.corners != 4 || t.numel() != 6) return 1;
  try {
    t.data<double>();
    return 1;
  } catch (const ingot::UsageError&) {  // exceptions cross the library's border with their type
  }
  std::puts("consumer: ok");
}
