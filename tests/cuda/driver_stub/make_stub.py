#!/usr/bin/env python3
"""A CUDA driver that has no device: C++ for a libcuda.so.1 with every function of the toolkit's stub library.

    make_stub.py nm /usr/local/cuda/lib64/stubs/libcuda.so driver_stub.cpp

cuDNN lists engines that it compiles on the spot only where it can load a driver; it asks the driver for nothing that a
described target does not say. Each function answers CUDA_ERROR_NO_DEVICE (100), and cuDeviceGetCount that there are none.
"""

import subprocess
import sys


def main() -> int:
    nm, stub, output = sys.argv[1:]
    listing = subprocess.run([nm, "-D", "--defined-only", stub], capture_output=True, text=True, check=True).stdout
    fields = [line.split() for line in listing.splitlines()]
    names = sorted({f[2].split("@")[0] for f in fields if len(f) == 3 and f[1] == "T" and f[2].startswith("cu")})
    if "cuDeviceGetCount" not in names:
        print(f"{stub} is no stub of the CUDA driver: it has no cuDeviceGetCount", file=sys.stderr)
        return 1
    names.remove("cuDeviceGetCount")
    with open(output, "w", encoding="utf-8") as out:
        out.write('extern "C" {\nint cuDeviceGetCount(int* count) { return *count = 0; }\n')
        out.writelines(f"int {name}() {{ return 100; }}\n" for name in names)
        out.write("}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
