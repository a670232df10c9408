#!/usr/bin/env python3
"""What the program `ingot` reads and leaves on the disk: bad files, full disks, runs that are killed. An error is one line that
says what to do, a non-zero exit, and nothing lost on the disk.

    check_program_files.py --program build/release/bin/ingot [GROUP[.test]...]
"""

import gzip
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

import program_test
from program_test import Program, content, idx, main, npy, write


class BadFiles(Program):
    def refuse(self, says):
        out = self.path("run")
        self.bad(*self.train("--out", out), says=says)
        self.assertFalse(os.path.exists(out), "a run that cannot start leaves no folder")

    def test_truncated_gzip(self):
        path = self.data() + "/train-images-idx3-ubyte.gz"
        with open(path, "rb") as f:
            half = f.read()
        write(path, half[:len(half) // 2])
        self.refuse(["train-images-idx3-ubyte.gz", "cut short"])

    def test_wrong_magic(self):
        write(self.data() + "/train-labels-idx1-ubyte.gz", gzip.compress(b"\x12\x34\x08\x01\0\0\0\0"))
        self.refuse(["train-labels-idx1-ubyte.gz", "12340801"])

    def test_label_out_of_range(self):
        write(self.data() + "/t10k-labels-idx1-ubyte.gz", gzip.compress(idx((100,), [3] * 99 + [77])))
        self.refuse(["t10k-labels-idx1-ubyte.gz", "label 77 at index 99", "0 to 9"])

    def test_training_label_that_would_make_classes(self):
        data, labels = self.data(), "/train-labels-idx1-ubyte.gz"
        with gzip.open(data + labels) as f:
            raw = f.read()
        write(data + labels, gzip.compress(raw[:-1] + b"\xc8"))
        self.refuse(["train-labels-idx1-ubyte.gz", "label 200 at index", "classes.txt"])

    def test_no_images(self):
        for split in ("train", "t10k"):
            write(f"{self.data()}/{split}-images-idx3-ubyte.gz", gzip.compress(idx((0, 28, 28), [])))
            write(f"{self.data()}/{split}-labels-idx1-ubyte.gz", gzip.compress(idx((0,), [])))
        self.refuse("0 training and 0 test images")

    def test_empty_and_missing_folders(self):
        os.mkdir(self.path("data"))
        self.refuse(["no train images", "train-images-idx3-ubyte.gz"])
        self.bad("train", "lenet5", "--data", self.path("nowhere"), says="is no folder")

    def write_images(self, split, count, height, width, channels=1, label=None):
        os.makedirs(self.path("data"), exist_ok=True)
        size = channels * height * width
        write(self.path(f"data/x_{split}.npy"), npy((count, channels, height, width), "|u1", bytes(count * size)))
        labels = [i % 10 for i in range(count)]
        labels[-1] = labels[-1] if label is None else label
        write(self.path(f"data/y_{split}.npy"), npy((count,), "<i8", struct.pack(f"<{count}q", *labels)))

    def test_images_of_a_size_the_model_does_not_take(self):
        self.write_images("train", 20, 28, 28)
        self.write_images("test", 20, 28, 28)
        weights = self.path("weights.safetensors")
        self.good(*self.train("--out", self.path("first")))
        os.rename(self.path("first/weights.safetensors"), weights)
        write(self.path("x.npy"), npy((2, 32, 32), "|u1", bytes(2 * 32 * 32)))
        self.bad("predict", weights, self.path("x.npy"), says=["lenet5 takes", "[1, 28, 28]", "x.npy", "[1, 32, 32]"])
        for height, width, channels in ((28, 20, 1), (32, 32, 1), (28, 28, 3)):
            found = f"[{channels}, {height}, {width}]"
            self.write_images("test", 20, height, width, channels)
            self.bad("eval", weights, "--data", self.data(), says=["lenet5 takes", "[1, 28, 28]", "test part", found])
            self.refuse(["lenet5 takes", "[1, 28, 28]", "test part", found])
        self.write_images("train", 20, 28, 20)
        self.refuse(["lenet5 takes", "[1, 28, 28]", "training part", "[1, 28, 20]"])
        # With global pooling every size fits.
        self.write_images("test", 20, 20, 28)
        self.good(*self.train("--batch-size", "4", model="resnet20"))

    def test_labels_beyond_all_classes(self):
        for label in (2**62, 2**63 - 1):
            self.write_images("train", 20, 28, 28, label=label)
            self.write_images("test", 20, 28, 28)
            self.refuse(["y_train.npy", f"label {label} at index 19", "out of range"])

    def test_memory_for_classes(self):
        self.bad(*self.train("--classes", "100000"), says=["confusion matrix", "100000 classes", "fewer classes"],
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)))

    def test_pipe_that_nobody_writes_to(self):
        os.mkfifo(self.path("pipe"))
        for name in (self.path("pipe"), "/dev/null"):
            self.bad("eval", name, "--data", self.data(), says=[name, "no regular file"])

    def test_nan_in_the_data(self):
        os.mkdir(self.path("data"))
        for split, count in (("train", 80), ("test", 20)):
            pixels = [0.25] * (count * 784)
            if split == "train":
                pixels[70 * 784 + 5] = float("nan")
            write(self.path(f"data/x_{split}.npy"), npy((count, 1, 28, 28), "<f4", struct.pack(f"<{len(pixels)}f", *pixels)))
            write(self.path(f"data/y_{split}.npy"), npy((count,), "|u1", bytes(i % 10 for i in range(count))))
        self.bad(*self.train("--out", self.path("run")), says=["1 NaN", "sample 70", "node 'x'"])
        self.assertEqual(content(self.path("run")), {})

    def test_divergence_names_the_node_and_keeps_the_checkpoint(self):
        out = self.path("run")
        self.good(*self.train("--out", out))
        before = content(out)
        self.bad(*self.train("--out", out, "--lr", "1e30", "--check-numerics"), says=["node '", ".cpp:"])
        self.assertEqual(content(out), before)

    def test_checkpoints(self):
        out = self.path("run")
        self.good(*self.train("--out", out))
        weights, last = out + "/weights.safetensors", out + "/last.safetensors"
        self.bad("eval", weights, "--data", self.data(), "--model", "mlp", says=["lenet5", "mlp"])
        self.bad(*self.train("--init", weights, model="mlp"), says=["does not fit", "conv1.weight"])
        with open(last, "rb") as f:
            damaged = bytearray(f.read())
        damaged[len(damaged) // 2] ^= 1
        write(last, damaged)
        with open(weights, "rb") as f:
            whole = f.read()
        write(weights, whole[:len(whole) // 2])
        before = content(out)
        self.bad(*self.train("--out", out, "--resume"), says=["damaged", "checksum"])
        self.bad("eval", last, "--data", self.data(), says="damaged")
        self.bad("eval", weights, "--data", self.data(), says="cut short")
        self.bad("eval", self.path("nowhere"), "--data", self.data(), says="No such file")
        self.assertEqual(content(out), before)

    def test_predict_refuses_a_deviation_of_zero(self):
        out = self.path("run")
        self.good(*self.train("--out", out))
        write(self.path("x.npy"), npy((1, 28, 28), "|u1", bytes(784)))
        self.bad("predict", out + "/weights.safetensors", self.path("x.npy"), "--mean", "0.5", "--stddev", "0",
                 says=["--stddev", "greater than 0"])


class Disk(Program):
    def full(self, limit, *args, **how):
        """Files of the program end at `limit` bytes, as on a full disk."""
        return self.bad(*args, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)), **how)

    def test_full_disk_keeps_the_old_checkpoint(self):
        out = self.path("run")
        self.good(*self.train("--out", out))
        before = content(out)
        self.full(100_000, *self.train("--out", out), says=["last.safetensors", "as it was before"])
        after = content(out)
        for name in ("last.safetensors", "weights.safetensors", "config.json"):
            self.assertEqual(after[name], before[name])
        self.assertEqual(sorted(after), sorted(before))

    def test_full_disk_leaves_no_half_file(self):
        self.full(1000, "plan", "lenet5", "--svg", self.path("p.svg"), says="p.svg")
        self.full(1000, "plan", "lenet5", "--dump-passes", self.path("dump"), says=["00-input.txt", "File too large"])
        self.assertEqual(content(self.dir), {})

    def test_places_that_cannot_be_written(self):
        write(self.path("file"), b"text")
        for out in ("/proc/ingot", self.path("file"), self.path("file/run")):
            self.bad(*self.train("--out", out), says=["cannot create the folder", out])
        self.bad("plan", "lenet5", "--svg", self.path("nowhere/p.svg"), says="nowhere/p.svg")
        self.bad("plan", "lenet5", "--dump-passes", self.path("file"), says=["cannot create the folder", "file"])

    def test_names_of_any_alphabet(self):
        data = self.data()
        for name in ("d\u00e9 \u6570\u636e".encode(), b"not-\xff\xfe-utf8"):
            place = os.path.join(os.fsencode(self.dir), name)
            shutil.copytree(os.fsencode(data), place)
            args = ["train", "lenet5", "--data", place, "--epochs", "1", "--threads", "1", "--out", place + b"-run"]
            for again in ([], ["--resume"]):
                done = self.run_program(*args, *again)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_two_runs_in_one_folder(self):
        out = self.path("run")
        with subprocess.Popen([program_test.PROGRAM, *self.train("--out", out, epochs=100000)], stderr=subprocess.DEVNULL) as first:
            try:
                while not os.path.exists(out + "/last.safetensors"):
                    time.sleep(0.01)
                self.bad(*self.train("--out", out), says=["another process is writing", out])
            finally:
                first.kill()
        self.good(*self.train("--out", out))


class Stopping(Program):
    LONG = 100000

    def stopped(self, signal_number, *args, when):
        with subprocess.Popen([program_test.PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            try:
                while not when():
                    self.assertIsNone(p.poll())
                    time.sleep(0.005)
                p.send_signal(signal_number)
                out, error = p.communicate(timeout=60)
            finally:
                p.kill()
        return p.returncode, out.decode(), error.decode()

    def test_first_signal_saves_and_says_how_to_go_on(self):
        for number, more in ((signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGINT, ["--early-stopping", "1000000"])):
            out = self.path(f"run-{number}-{len(more)}")
            code, text, error = self.stopped(number, *self.train("--out", out, *more, epochs=self.LONG),
                                             when=lambda: os.path.exists(out + "/log.csv"))
            self.assertEqual(code, 130, error)
            self.assertIn("--resume", error)
            self.assertFalse(os.path.exists(out + "/weights.safetensors"), "the run is not finished")

    def test_killed_and_resumed_ends_with_the_same_bits(self):
        rng = random.Random(3)
        options = ["--optimizer", "adam", "--crop-padding", "2", "--clip-norm", "1", "--batch-size", "48",
                   "--checkpoint-every", "3"]
        whole, parts = self.path("whole"), self.path("parts")
        start = time.monotonic()
        self.good(*self.train("--out", whole, *options, epochs=6))
        took = time.monotonic() - start
        kills = 0
        for attempt in range(200):
            # The folder is spelled in two ways: it is the same run.
            p = subprocess.Popen([program_test.PROGRAM, *self.train("--out", parts + "/" * (attempt % 2), "--resume", *options,
                                                       epochs=6)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                p.communicate(timeout=rng.uniform(0.1, 0.7) * took if kills < 6 else 120)
                self.assertEqual(p.returncode, 0)
                break
            except subprocess.TimeoutExpired:
                p.kill()
                p.communicate()
                kills += 1
        self.assertEqual(content(whole)["weights.safetensors"], content(parts)["weights.safetensors"])
        for name in ("log.csv", "log.jsonl"):
            with open(f"{whole}/{name}") as a, open(f"{parts}/{name}") as b:
                self.assertEqual(len(a.readlines()), len(b.readlines()), name)

    def test_nothing_is_trained_after_early_stopping(self):
        out = self.path("run")
        args = self.train("--out", out, "--early-stopping", "1", "--lr", "1e-30", epochs=50)
        self.good(*args)
        before = content(out)
        os.remove(out + "/weights.safetensors")  # as if killed before it was written
        self.good(*args, "--resume")
        after = content(out)
        for name in ("weights.safetensors", "log.csv"):
            self.assertEqual(after[name], before[name], name)
        with open(out + "/log.csv") as f:
            self.assertEqual(len(f.readlines()), 3)


if __name__ == "__main__":
    sys.exit(main(__name__))
