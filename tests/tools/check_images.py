#!/usr/bin/env python3
"""Folders of image files through the program `ingot`: train, eval, predict, and files that are damaged.

    check_images.py --program build/release/bin/ingot [GROUP[.test]...]
"""

import base64
import json
import os
import random
import struct
import sys
import zlib

import program_test
from program_test import Program, content, write

CLASSES = ["bar high", "bar low", "bar m\u00eddle"]
# 16 x 16, grey, made with Pillow.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCNl4x9lnN+gXz/"
    "wAALCAAQABABAREA/8QAFQABAQAAAAAAAAAAAAAAAAAABQD/xAAXEAEAAwAAAAAAAAAAAAAAAAAEACEx/9oACAEBAAA/AAilyo0UuVIpcqMlLlT/2Q==")


def png(size, pixels):
    """Grey pixels as a PNG file."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes(pixels[y * size:(y + 1) * size]) for y in range(size))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def picture(label, rng, size=28):
    """Noise with a bright bar at the height of the label."""
    pixels = [rng.randrange(128) for _ in range(size * size)]
    first = (label * 9 + 3) * size
    pixels[first:first + 3 * size] = [255] * (3 * size)
    return png(size, pixels)


class Images(Program):
    def folder(self, count=30, split="", name="pictures"):
        rng = random.Random(5)
        for label, called in enumerate(CLASSES):
            place = os.path.join(self.path(name), split, called)
            os.makedirs(place)
            for i in range(count):
                write(f"{place}/{i}.png", picture(label, rng))
        return self.path(name)

    def train_on(self, folder, *args):
        return ["train", "lenet5", "--data", folder, "--epochs", "3", "--batch-size", "16", "--threads", "1", "--no-flip", *args]

    def test_a_folder_trains_and_its_files_are_predicted_by_name(self):
        folder, out = self.folder(), self.path("run")
        result = json.loads(self.good(*self.train_on(folder, "--out", out, "--json", "--workers", "2")))
        self.assertGreater(result["test_accuracy"], 0.9)
        self.assertEqual(result["skipped_images"], 0)
        weights = out + "/weights.safetensors"
        self.assertEqual(json.loads(self.good("eval", weights, "--data", folder, "--json"))["images"], 18)
        files = [f"{folder}/{name}/7.png" for name in CLASSES]
        text = self.good("predict", weights, *files)
        for line, file, name in zip(text.splitlines(), files, CLASSES):
            self.assertTrue(line.startswith(f"{file}:  {name} (0."), line)
            self.assertEqual(line.count("("), 3)
        found = json.loads(self.good("predict", weights, *files, "--top", "1", "--json"))
        self.assertEqual([row["file"] for row in found], files)
        self.assertEqual([row["classes"][0]["name"] for row in found], CLASSES)
        self.assertEqual([row["classes"][0]["class"] for row in found], [0, 1, 2])
        write(self.path("a.jpg"), JPEG)
        self.assertIn("a.jpg:  ", self.good("predict", weights, self.path("a.jpg")))

    def test_a_test_folder_is_taken_where_there_is_one(self):
        folder = self.folder(split="train")
        self.folder(count=4, split="val")
        out = self.path("run")
        self.good(*self.train_on(folder, "--out", out))
        self.assertEqual(json.loads(self.good("eval", out + "/weights.safetensors", "--data", folder, "--json"))["images"], 12)

    def test_every_augmentation_trains_and_resumes_alike(self):
        folder = self.folder(count=12)
        options = ["--image-size", "32", "--channels", "3", "--resize", "40", "--crop-scale", "0.5", "1", "--color-jitter",
                   "0.4", "0.4", "0.4", "0.1", "--rand-augment", "2", "9", "--mixup", "0.2", "--cutmix", "1",
                   "--balance-classes", "--test-share", "0.3"]
        for out, workers in ((self.path("a"), "0"), (self.path("b"), "3")):
            self.good(*self.train_on(folder, *options, "--out", out, "--workers", workers))
        with open(self.path("a") + "/weights.safetensors", "rb") as a, open(self.path("b") + "/weights.safetensors", "rb") as b:
            self.assertEqual(a.read(), b.read())
        for option, value in (("--mixup", "0.3"), ("--resize", "41"), ("--rand-augment", "3")):
            changed = list(options)
            changed[changed.index(option) + 1] = value
            self.bad(*self.train_on(folder, *changed, "--out", self.path("a"), "--resume"), says=["--resume", value])

    def test_damaged_images_are_refused_by_name_or_skipped(self):
        folder = self.folder()
        bad = f"{folder}/{CLASSES[1]}"
        whole = picture(1, random.Random(1))
        write(f"{bad}/zero.png", b"")
        write(f"{bad}/text.jpg", b"this is no image")
        write(f"{bad}/cmyk-or-not.jpeg", JPEG[:60])
        self.bad(*self.train_on(folder), says=["zero.png", "is empty", "text.jpg", "--bad-images skip"])
        for name in ("zero.png", "text.jpg", "cmyk-or-not.jpeg"):
            os.remove(f"{bad}/{name}")
        for i in range(5):
            write(f"{bad}/cut{i}.png", whole[:len(whole) * 2 // 3])
        # It stops when the file is met, and can go on without it.
        parts = self.path("parts")
        self.bad(*self.train_on(folder, "--json", "--out", parts, "--checkpoint-every", "1"), says=["cut", "is cut short"])
        self.run_program(*self.train_on(folder, "--out", parts, "--checkpoint-every", "1", "--resume", "--bad-images", "skip"))
        out = self.path("run")
        done = self.run_program(*self.train_on(folder, "--bad-images", "skip", "--out", out, "--json"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["skipped_images"], 5)
        self.assertEqual(done.stderr.decode().count("ingot: skipped: "), 5, done.stderr)
        self.assertEqual(content(out)["weights.safetensors"], content(parts)["weights.safetensors"])
        weights, cut = out + "/weights.safetensors", f"{bad}/cut0.png"
        self.bad("predict", weights, f"{bad}/1.png", cut, says=[cut, "is cut short"])
        done = self.run_program("predict", weights, f"{bad}/1.png", cut, "--bad-images", "skip")
        self.assertEqual(done.returncode, 0)
        self.assertEqual(len(done.stdout.splitlines()), 1)
        self.assertIn(cut, done.stderr.decode())
        self.bad(*self.train_on(folder, "--bad-images", "maybe"), says="--bad-images")

    def test_weights_of_idx_files_predict_image_files(self):
        out = self.path("run")
        self.good(*self.train("--out", out))
        write(self.path("a.png"), picture(0, random.Random(1)))
        text = self.good("predict", out + "/weights.safetensors", self.path("a.png"))
        self.assertEqual(text.count("("), 5)
        self.bad("eval", out + "/weights.safetensors", "--data", self.folder(), says="samples of one size")
        self.bad("predict", out + "/weights.safetensors", self.path("nowhere.png"), says="nowhere.png")
        self.bad("predict", out + "/weights.safetensors", self.path("a.png"), self.path("x.npy"), says="one .npy file")

    def test_what_does_not_fit_is_said(self):
        folder = self.folder(count=3)
        self.bad(*self.train_on(folder, "--channels", "2"), says="got 2")
        self.bad(*self.train_on(folder, "--resize", "20"), says=["28", "got 20"])
        self.bad(*self.train_on(folder, "--test-share", "1.5"), says="got 1.5")
        self.bad(*self.train_on(folder, "--rand-augment", "2", "31"), says="2 at 31")
        self.bad(*self.train_on(folder, "--crop-scale", "0"), says="random_resized_crop")
        self.bad(*self.train("--crop-scale", "0.5"), says="--crop-padding")
        self.bad("train", "mlp", "--data", self.dir, says=["one class", "pictures"])
        self.bad("train", "mlp", "--data", f"{folder}/{CLASSES[0]}", says="a folder per class")


if __name__ == "__main__":
    sys.exit(program_test.main(__name__))
