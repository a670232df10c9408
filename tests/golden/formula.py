"""Numbers that PyTorch and Ingot both make from a formula, so that golden files hold results and no data.

Element i (row-major) of the tensor named `key` is made from 24 pseudo-random bits:

    h = FNV-1a 64 of the bytes of key           offset 0xcbf29ce484222325, prime 0x100000001b3
    z = h + (i + 1) * 0x9e3779b97f4a7c15        everything modulo 2^64, as in splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb
    z = z ^ (z >> 31)
    unit(key, i)     = ((z >> 40) - 2^23) / 2^23         in [-1, 1), exact in float32
    label(key, i, n) = (z >> 40) mod n                   an integer in [0, n)

A model's parameters depend on their state-dict key and shape alone, in float32 with one rounding each:

    three or more axes        unit * float32(sqrt(6 / fan_in)), fan_in = elements / shape[0]
    two axes                  unit * float32(sqrt(1 / fan_in))
    one axis, "...weight"     1 + unit / 4, or a quarter of that where the key ends in "bn2.weight"
                              or "bn3.weight"
    one axis, "...bias"       unit / 8
    "...running_mean"       0
    "...running_var"        1
    "...num_batches_tracked"  0

The last normalisation of a residual branch (bn2 of a basic block, bn3 of a bottleneck) starts small, and so does the
last layer, because otherwise training is chaotic: rounding errors of float32 grow a thousandfold within ten steps and
no two programs agree.

The C++ twin is tests/support/formula.h; tests/base/test_formula.cpp holds values printed by
`python tests/golden/formula.py`.
"""

import math

import numpy as np

MASK = (1 << 64) - 1


def key_hash(key):
    h = 0xCBF29CE484222325
    for byte in key.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def bits(key, count):
    """The 24 bits of elements 0 .. count - 1, as uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(key_hash(key)) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return z >> np.uint64(40)


def unit(key, shape):
    """float32 array in [-1, 1)."""
    count = math.prod(shape)
    signed = bits(key, count).astype(np.int64) - (1 << 23)
    return (signed.astype(np.float32) / np.float32(1 << 23)).reshape(shape)


def labels(key, count, classes):
    return (bits(key, count) % np.uint64(classes)).astype(np.int64)


def parameter(key, shape):
    """float32 (int64 for the batch counter) initial value of a state-dict entry."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_mean"):
        return np.zeros(shape, np.float32)
    if key.endswith("running_var"):
        return np.ones(shape, np.float32)
    u = unit(key, shape)
    if len(shape) >= 2:
        fan_in = math.prod(shape[1:])
        return u * np.float32(math.sqrt((6.0 if len(shape) > 2 else 1.0) / fan_in))
    if key.endswith("weight"):
        scale = np.float32(1) + u * np.float32(0.25)
        return scale * np.float32(0.25) if key.endswith(("bn2.weight", "bn3.weight")) else scale
    if key.endswith("bias"):
        return u * np.float32(0.125)
    raise ValueError(f"no rule for the state-dict entry {key!r} of shape {tuple(shape)}")


if __name__ == "__main__":
    for name in ("input/0", "conv1.weight", "layer1.0.bn1.bias"):
        print(f"key_hash({name!r}) = {key_hash(name):#018x}")
        print("  bits", [int(b) for b in bits(name, 3)], "at 1000:", int(bits(name, 1001)[1000]))
        print("  unit", [float(v).hex() for v in unit(name, (3,))])
    print("labels('label/0', 8, 10) =", labels("label/0", 8, 10).tolist())
    for name, dims in (("conv1.weight", (6, 1, 5, 5)), ("fc1.weight", (120, 400)), ("bn1.weight", (16,)),
                       ("layer1.0.bn2.weight", (16,)), ("fc1.bias", (120,))):
        print(f"parameter({name!r}, {dims}) =", [float(v).hex() for v in parameter(name, dims).ravel()[:3]])
