"""Small data sets for tests of the program: IDX files as Fashion-MNIST has them, and changes that spoil them."""

import gzip
import pathlib
import random
import struct


def write_idx(path, dims, values):
    """An IDX file of unsigned bytes, through gzip when the name says so."""
    content = struct.pack(f">HBB{len(dims)}I", 0, 8, len(dims), *dims) + bytes(values)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def make(folder, train=320, test=96, size=28, classes=10):
    """Images whose brightness pattern tells their class, with noise; returns the folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)
    for prefix, count in (("train", train), ("t10k", test)):
        labels = [draw.randrange(classes) for _ in range(count)]
        images = bytearray()
        for label in labels:
            for row in range(size):
                bright = 160 if row * classes // size == label else 20
                images += bytes(min(255, bright + draw.randrange(90)) for _ in range(size))
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", (count, size, size), images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", (count,), labels)
    return folder
