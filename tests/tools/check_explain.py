#!/usr/bin/env python3
"""Heat maps through the program `ingot`: where the class is seen, and what is refused.

    check_explain.py --program build/release/bin/ingot [GROUP[.test]...]
"""

import json
import os
import random
import struct
import sys
import zlib

import program_test
from check_images import picture
from program_test import Program, content, write

METHODS = ["grad-cam", "integrated-gradients", "smoothgrad", "occlusion"]


def read_rgb(path):
    """Width, height and rows of an 8-bit RGB PNG file without interlacing."""
    with open(path, "rb") as f:
        raw = f.read()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at, data = 8, b""
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at:at + 8])
        body = raw[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert (bits, colour, interlaced) == (8, 2, 0)
        elif kind == b"IDAT":
            data += body
        at += 12 + size
    data = zlib.decompress(data)
    rows, before = [], bytes(3 * width)
    for y in range(height):
        kind, line = data[y * (3 * width + 1)], bytearray(data[y * (3 * width + 1) + 1:(y + 1) * (3 * width + 1)])
        for i in range(len(line)):
            left, up = (line[i - 3] if i >= 3 else 0), before[i]
            corner = before[i - 3] if i >= 3 else 0
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda v: abs(guess - v))
            line[i] = (line[i] + [0, left, up, (left + up) // 2, paeth][kind]) % 256
        rows.append(line)
        before = bytes(line)
    return width, height, rows


def colour_by_row(path):
    """How far from grey each row is, on average."""
    width, _, rows = read_rgb(path)
    return [sum(max(row[3 * x:3 * x + 3]) - min(row[3 * x:3 * x + 3]) for x in range(width)) / width for row in rows]


class Explain(Program):
    def trained(self):
        """A network that knows the height of a bar, and a picture of each height."""
        rng = random.Random(9)
        for label, name in enumerate(["high", "middle", "low"]):
            os.makedirs(self.path("bars/" + name))
            for i in range(40):
                write(self.path(f"bars/{name}/{i}.png"), picture(label, rng))
        self.good("train", "lenet5", "--data", self.path("bars"), "--epochs", "4", "--batch-size", "16", "--threads", "1",
                  "--no-flip", "--out", self.path("run"))
        return self.path("run/weights.safetensors")

    def test_every_method_points_to_what_makes_the_class(self):
        weights = self.trained()
        for label, name in enumerate(["high", "middle", "low"]):
            for method in METHODS:
                out = self.path("why.png")
                text = self.good("explain", weights, self.path(f"bars/{name}/1.png"), "--method", method, "--out", out)
                self.assertIn(f" {name} (", text)
                self.assertIn(f"heat map by {method} in {out}", text)
                colour = colour_by_row(out)
                self.assertEqual(len(colour), 28)
                hottest = max(range(28), key=lambda y: colour[y])
                # The bar has three rows; activations and windows are coarser.
                self.assertLess(abs(hottest - (label * 9 + 4)), 7, f"{method}, {name}: {colour}")

    def test_integrated_gradients_add_up(self):
        weights = self.trained()
        result = {}
        for steps in ("4", "256"):
            result[steps] = json.loads(self.good(
                "explain", weights, self.path("bars/low/2.png"), "--method", "integrated-gradients", "--steps", steps,
                "--baseline", "black", "--class", "middle", "--json", "--out", self.path("why.png")))
        r = result["256"]
        self.assertEqual((r["name"], r["method"]), ("middle", "integrated-gradients"))
        self.assertAlmostEqual(r["sum"], r["score"] - r["baseline_score"], delta=0.02 * abs(r["score"] - r["baseline_score"]))
        self.assertEqual(r["score"], result["4"]["score"])
        self.assertNotEqual(r["sum"], result["4"]["sum"])

    def test_what_is_refused(self):
        weights = self.trained()
        image = self.path("bars/low/2.png")
        before = content(self.dir)
        self.bad("explain", weights, image, says="--out is required")
        self.bad("explain", weights, image, "--out", image, says="is the image itself")
        for asked in ("3", "-1", "upper"):
            self.bad("explain", weights, image, "--class=" + asked, "--out", self.path("why.png"),
                     says=["0 to 2", "high, low, middle", f"'{asked}'"])
        self.bad("explain", weights, image, "--method", "lime", "--out", self.path("why.png"), says="lime")
        self.bad("explain", weights, image, "--layer", "conv9", "--out", self.path("why.png"), says=["conv9", "conv1"])
        self.bad("explain", weights, image, "--method", "occlusion", "--window", "2", "--stride", "3", "--out",
                 self.path("why.png"), says="got 2 and 3")
        self.bad("explain", weights, image, "--out", self.path("none/why.png"), says="none/why.png")
        write(self.path("broken.png"), b"\x89PNG\r\n\x1a\n")
        self.bad("explain", weights, self.path("broken.png"), "--out", self.path("why.png"), says="broken.png")
        os.remove(self.path("broken.png"))
        self.assertEqual(content(self.dir), before)


if __name__ == "__main__":
    sys.exit(program_test.main(__name__))
