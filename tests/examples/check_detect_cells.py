#!/usr/bin/env python3
"""examples/detect_cells.cpp from end to end: it learns a small set in Pascal VOC's files that is made here, prints a lower
loss and a precision for each class, and leaves weights and pictures. Wrong arguments and damaged data end in words."""

import argparse
import pathlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import zlib

WIDTH, HEIGHT = 96, 64


def png(rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = b"".join(b"\0" + bytes(row) for row in rows)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b""))


def make_set(root, count):
    for folder in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    for split, first in (("trainval", 0), ("test", count)):
        (root / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"i{k}\n" for k in range(first, first + count)))
    for k in range(2 * count):
        rng = random.Random(k)
        rows = [[rng.randrange(100, 130) for _ in range(WIDTH)] for _ in range(HEIGHT)]
        objects = ""
        for left, name, colour in ((4, "dark", 10), (52, "bright", 245)):
            x, y, size = left + rng.randrange(8), rng.randrange(24), rng.randrange(20, 34)
            for row in rows[y:y + size]:
                row[x:x + size] = [colour] * size
            objects += (f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + size}</xmax>"
                        f"<ymax>{y + size}</ymax></bndbox></object>")
        (root / "JPEGImages" / f"i{k}.png").write_bytes(png(rows))
        (root / "Annotations" / f"i{k}.xml").write_text(f"<annotation>{objects}</annotation>")


def run(*command):
    return subprocess.run([str(c) for c in command], text=True, capture_output=True, timeout=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    program = parser.parse_args().program
    wrong = []

    def expect(what, holds, text):
        if not holds:
            wrong.append(what)
            print(f"{what}:\n{text}")

    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        make_set(root / "set", 16)
        out = root / "out"
        result = run(program, "--data", root / "set", "--epochs", 12, "--batch-size", 4, "--width", WIDTH, "--height", HEIGHT,
                     "--test-every", 6, "--out", out, "--pictures", 2)
        text = result.stdout + result.stderr
        losses = [float(v) for v in re.findall(r"^epoch .*loss (\S+)", text, re.M)]
        expect("it ends well", result.returncode == 0, text)
        expect("the loss falls", len(losses) == 12 and losses[-1] < 0.8 * losses[0], text)
        expect("the precision of each class", re.search(r"^bright +16 objects +AP@0.5 ", text, re.M) and
               re.search(r"^dark +16 objects +AP@0.5 ", text, re.M), text)
        found = re.search(r"^mAP@0.5 (\S+)", text, re.M)
        expect("it finds the squares", found and float(found[1]) >= 0.5, text)
        expect("weights and pictures", (out / "weights.safetensors").exists() and
               sorted(p.name for p in out.glob("*.png")) == ["i16.png", "i17.png"], text)

        none = run(program)
        expect("usage", none.returncode == 1 and "usage:" in none.stderr, none.stderr)
        option = run(program, "--data", root / "set", "--colour", "red")
        expect("an unknown option", option.returncode == 1 and "unknown option --colour" in option.stderr, option.stderr)
        (root / "set/Annotations/i3.xml").write_text("<annotation>\n<object>")
        damaged = run(program, "--data", root / "set")
        expect("damaged data", damaged.returncode == 1 and "i3.xml', line 2" in damaged.stderr, damaged.stderr)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
