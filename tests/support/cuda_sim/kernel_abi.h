// How the simulator calls a kernel whose parameter types only its own file knows: what prelude.h and
// jit/prelude.h tell the simulator of it. Needs no header of the C++ library, because generated kernels are
// compiled without any.
//
//   know_kernel(scale);     // from now on launches may name it
#pragma once

#include <stddef.h>

// For code of the simulator that is compiled into kernel files: its accesses are not the kernel's.
#define INGOT_SIM_NO_CALLBACKS __attribute__((no_sanitize("thread")))

namespace ingot::sim {

struct Kernel {
  void (*invoke)(const void* function, void** arguments);
  size_t count;
  const size_t* sizes;    // of each parameter
  const size_t* aligns;   // likewise
  bool reports_accesses;  // compiled with access callbacks
};
void know_kernel(const void* function, const Kernel& kernel);

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kReportsAccesses = true;
#else
inline constexpr bool kReportsAccesses = false;
#endif

template <size_t...>
struct KernelArguments {};

template <class... P>
struct KernelType {
  static_assert((__is_trivially_copyable(P) && ...), "a kernel's parameters are copied byte by byte");
  static constexpr size_t sizes[] = {sizeof(P)..., 0};
  static constexpr size_t aligns[] = {alignof(P)..., 0};
  template <size_t... I>
  INGOT_SIM_NO_CALLBACKS static void call(const void* function, void** arguments, KernelArguments<I...>) {
    reinterpret_cast<void (*)(P...)>(const_cast<void*>(function))(*static_cast<P*>(arguments[I])...);
  }
  INGOT_SIM_NO_CALLBACKS static void invoke(const void* function, void** arguments) {
    call(function, arguments, KernelArguments<__integer_pack(sizeof...(P))...>{});
  }
};

template <class... P>
void know_kernel(void (*function)(P...)) {
  using Type = KernelType<P...>;
  know_kernel(reinterpret_cast<const void*>(function),
              Kernel{&Type::invoke, sizeof...(P), Type::sizes, Type::aligns, kReportsAccesses});
}

}  // namespace ingot::sim
