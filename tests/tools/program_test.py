"""What tests of the program `ingot` share: made-up data, a folder of their own, and runs of the program that must go well or
must be refused with one line.

    class Verbs(Program):
        def test_info(self):
            self.good("info", "ops")

    if __name__ == "__main__":
        sys.exit(main(__name__))       # --program build/release/bin/ingot [GROUP[.test]...]
"""

import argparse
import gzip
import hashlib
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM = "ingot"


def idx(shape, data):
    return struct.pack(">I", 0x0800 | len(shape)) + b"".join(struct.pack(">I", n) for n in shape) + bytes(data)


def npy(shape, descr, data):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {tuple(shape)}, }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def write(path, content):
    with open(path, "wb") as f:
        f.write(content)


def make_data(folder, train=400, test=100, size=28):
    """Noise, and a bright bar at the height of the label."""
    os.makedirs(folder)
    rng = random.Random(7)
    for split, count in (("train", train), ("t10k", test)):
        labels, pixels = bytes(rng.randrange(10) for _ in range(count)), bytearray()
        for label in labels:
            image = bytearray(rng.randbytes(size * size))
            image[label * size * 2:label * size * 2 + 2 * size] = b"\xff" * (2 * size)
            pixels += image[:size * size]
        write(f"{folder}/{split}-images-idx3-ubyte.gz", gzip.compress(idx((count, size, size), pixels)))
        write(f"{folder}/{split}-labels-idx1-ubyte.gz", gzip.compress(idx((count,), labels)))


def content(folder):
    """What lies in a folder: name -> hash."""
    out = {}
    for where, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(where, name), "rb") as f:
                out[os.path.relpath(os.path.join(where, name), folder)] = hashlib.sha256(f.read()).hexdigest()
    return out


class Program(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="ingot-program-")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def data(self, **how):
        folder = self.path("data")
        if not os.path.exists(folder):
            make_data(folder, **how)
        return folder

    def run_program(self, *args, **options):
        return subprocess.run([PROGRAM, *map(os.fspath, args)], capture_output=True, timeout=120, **options)

    def good(self, *args, **options):
        done = self.run_program(*args, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode()

    def bad(self, *args, says=(), epochs_before=0, **options):
        """A non-zero exit and one line of error that holds all of `says`."""
        done = self.run_program(*args, **options)
        error = done.stderr.decode(errors="replace")
        self.assertGreater(done.returncode, 0, f"{args}: killed or not refused: {done}")
        lines = [line for line in error.splitlines() if not line.startswith("epoch ")]
        self.assertEqual(len(lines), 1, error)
        self.assertTrue(lines[0].startswith("ingot: "), error)
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, error)
        return error

    def train(self, *args, model="lenet5", epochs=1):
        return ["train", model, "--data", self.data(), "--epochs", str(epochs), "--threads", "1", *args]

    def check_prediction(self, plan):
        """Every step is named and lowered, and the table adds up to its totals, to the last bit."""
        found = plan["prediction"]
        self.assertEqual([s["name"] for s in found["steps"][:len(plan["nodes"])]], [n["name"] for n in plan["nodes"]])
        for step, node in zip(found["steps"], plan["nodes"]):
            self.assertEqual((step["op"], step["kernel"]), (node["op"], node["kernel"]))
            self.assertTrue(step["kernel"], step)
            self.assertIn(step["bound"], ("memory", "compute", "latency"))
            self.assertEqual(step["seconds"] > 0, step["kernel"] != "view", step)
        for key in ("seconds", "roofline_seconds", "flops", "bytes", "launches"):
            total = 0
            for step in found["steps"]:
                total += step[key]
            self.assertEqual(total, found[key], key)
        self.assertEqual(found["flops"], plan["flops"])
        self.assertAlmostEqual(found["images_per_second"] * found["seconds"], plan["batch_size"])
        self.assertAlmostEqual(found["bytes_per_image"] * plan["batch_size"], found["bytes"], delta=1)
        self.assertTrue(0 < found["roofline_share"] <= 1)
        return found


def main(module, parser=None):
    """Runs the groups of a module; gives its arguments to `module.arguments`, where it wants more."""
    global PROGRAM
    tests = sys.modules[module]
    parser = parser or argparse.ArgumentParser(description=tests.__doc__,
                                               formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("groups", nargs="*")
    tests.arguments = parser.parse_args()
    PROGRAM = os.path.abspath(tests.arguments.program)
    names = tests.arguments.groups or [c.__name__ for c in Program.__subclasses__() if c.__module__ == module]
    suite = unittest.defaultTestLoader.loadTestsFromNames(names, tests)
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1
