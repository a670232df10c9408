#!/usr/bin/env python3
"""Runs the program `ingot` as people do, and as they do by mistake: every verb, bad arguments, bad files, full disks,
runs that are killed. An error is one line that says what to do, a non-zero exit, and nothing lost on the disk.

    check_program.py --program build/release/bin/ingot [GROUP[.test]...]
"""

import argparse
import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = "ingot"
VERBS = ["train", "eval", "predict", "plan", "graph", "bench", "info", "machine"]


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


class Verbs(Program):
    def test_help_has_an_example(self):
        for verb in VERBS:
            text = self.good(verb, "--help")
            self.assertIn("Example:\n  ingot " + verb, text)
            self.assertIn("--json", text, verb)

    def test_json_is_one_object(self):
        out = self.path("run")
        result = json.loads(self.good(*self.train("--out", out, "--json")))
        self.assertEqual(result["steps"], 7)
        weights = out + "/weights.safetensors"
        self.assertEqual(json.loads(self.good("eval", weights, "--data", self.data(), "--json"))["images"], 100)
        write(self.path("x.npy"), npy((3, 28, 28), "|u1", bytes(3 * 28 * 28)))
        self.assertEqual(len(json.loads(self.good("predict", weights, self.path("x.npy"), "--json"))), 3)
        plan = json.loads(self.good("plan", "lenet5", "--json"))
        for key in ("arena_bytes", "max_live_bytes", "parameter_bytes", "gradient_bytes", "state_bytes",
                    "workspace_bytes", "staging_bytes", "total_bytes", "flops", "bytes_moved", "steps"):
            self.assertIn(key, plan)
        bench = json.loads(self.good("bench", "lenet5", "--batch-size", "2", "--seconds", "0.01", "--warmup", "0",
                                     "--json"))
        for key in ("images_per_second", "step_ms", "flops", "gflops", "peak_bytes"):
            self.assertIn(key, bench)
        self.assertNotIn("profile", bench)
        self.assertIn("version", json.loads(self.good("info", "--json")))

    def test_plans_predict(self):
        for args in (["lenet5"], ["resnet20", "--mode", "infer", "--batch-size", "8", "--dtype", "bf16"]):
            self.check_prediction(json.loads(self.good("plan", *args, "--json")))
        text = self.good("plan", "lenet5", "--steps", "3")
        for word in ("predicted on", "images/s", "roofline", "bound by", "lowering", "the other"):
            self.assertIn(word, text)
        table = text[text.index("lowering"):].splitlines()
        self.assertEqual(len(table), 1 + 3 + 1)
        slow = json.loads(self.good("machine", "cpu", "--json"))
        slow["matrix_flops"] = {"f32": slow["matrix_flops"]["f32"] / 10}
        write(self.path("slow.json"), json.dumps(slow).encode())
        seconds = [json.loads(self.good("plan", "lenet5", "--machine", m, "--json"))["prediction"]["seconds"]
                   for m in ("cpu", self.path("slow.json"))]
        self.assertGreater(seconds[1], 3 * seconds[0])

    def test_machines(self):
        listed = self.good("machine", "list")
        for name in ("h200", "h100", "a100", "rtx4090", "cpu"):
            self.assertIn(name, listed)
            described = json.loads(self.good("machine", name, "--json"))
            write(self.path("again.json"), json.dumps(described).encode())
            self.assertEqual(json.loads(self.good("machine", self.path("again.json"), "--json")), described)
            self.assertIn(described["name"], self.good("machine", name))
        self.good("machine", "--measure", "--seconds", "0.01", "--out", self.path("here.json"))
        here = json.loads(self.good("machine", self.path("here.json"), "--json"))
        self.assertGreater(here["matrix_flops"]["f32"], 1e9)
        self.assertIn("Measured", here["source"])
        self.assertIn("predicted on " + here["name"], self.good("plan", "lenet5", "--machine", self.path("here.json")))
        self.bad("machine", "h200", "--out", self.path("here.json"), says=["--out", "--measure"])
        write(self.path("bad.json"), b'{"name": 3}')
        self.bad("machine", self.path("bad.json"), says=["'name'", "'memory' is missing", "bad.json"])
        self.bad("plan", "lenet5", "--machine", "h300", says=["h300", "h200"])

    def test_profile_is_part_of_the_json(self):
        args = ["bench", "lenet5", "--batch-size", "2", "--seconds", "0.01", "--warmup", "0", "--profile"]
        profile = json.loads(self.good(*args, "--json"))["profile"]
        self.assertGreaterEqual(profile["runs"], 3)
        self.assertIn("conv1.conv2d", " ".join(n["node"] for n in profile["nodes"]))
        self.assertAlmostEqual(sum(n["ms"] for n in profile["nodes"]), profile["total_ms"])
        for key in ("op", "kernel", "gflops", "gigabytes_per_second"):
            self.assertTrue(all(key in n for n in profile["nodes"]), key)
        self.assertAlmostEqual(sum(n["predicted_ms"] for n in profile["nodes"]), profile["predicted_ms"])
        self.assertTrue(all(n["predicted_ms"] > 0 for n in profile["nodes"] if n["kernel"] != "view"))
        text = self.good(*args, "--machine", "cpu")
        self.assertIn("GFLOP/s", text)
        self.assertIn("predicted for a CPU that was not measured", text)
        self.bad(*args, "--machine", "h300", says=["h300", "h200"])

    def test_bench_of_one_op(self):
        problem = ["bench", "--op", "conv2d", "--shape", "2x8x12x12", "--shape", "16x8x3x3", "--attr", "padding=[1, 1]",
                   "--seconds", "0.01", "--threads", "1"]
        found = json.loads(self.good(*problem, "--candidates", "all", "--json"))
        self.assertEqual(found["flops"], 2 * 2 * 16 * 12 * 12 * 8 * 9)
        candidates = found["candidates"]
        self.assertEqual([c["taken"] for c in candidates], [True] + [False] * (len(candidates) - 1))
        self.assertEqual(candidates[-1]["kernel"], "reference")
        self.assertTrue(all(c["ms"] > 0 and c["predicted_ms"] > 0 for c in candidates))
        best = min(c["ms"] for c in candidates if c["library"])
        for c in candidates:
            self.assertAlmostEqual(c["times_library"], best / c["ms"])
            self.assertAlmostEqual(c["gflops"], found["flops"] / c["ms"] / 1e6)
        taken = json.loads(self.good(*problem, "--json"))["candidates"]
        self.assertEqual([c["kernel"] for c in taken], [candidates[0]["kernel"]])
        half = json.loads(self.good(*problem, "--dtype", "bf16", "--candidates", "all", "--json"))["candidates"]
        self.assertTrue(any(c["kernel"].startswith("f32:") for c in half), half)
        text = self.good(*problem, "--candidates", "all")
        for word in ("GFLOP/s", "x library", "reference", "* is what a program takes"):
            self.assertIn(word, text)
        self.bad("bench", says=["--op", "ingot info models"])
        self.bad("bench", "lenet5", "--op", "relu", "--shape", "3", says=["--op", "ingot info models"])
        self.bad("bench", "--op", "relu", says=["--shape", "relu"])
        self.bad("bench", "--op", "relu", "--shape", "3xa", says=["--shape", "3xa"])
        self.bad("bench", "--op", "conv3d", "--shape", "3", says="conv3d")
        self.bad("bench", "--op", "softmax", "--shape", "3x3", "--attr", "axes=[1]", says="axes")
        self.bad("bench", "lenet5", "--shape", "3", says=["--shape", "--op"])

    def test_graph_as_json(self):
        written = json.loads(self.good("graph", "lenet5", "--mode", "infer", "--json"))
        self.assertEqual([i["name"] for i in written["inputs"]], ["x"])
        self.assertIn("conv2d", [n["op"] for n in written["nodes"]])
        self.assertEqual(written["outputs"][0]["name"], "logits")
        compiled = json.loads(self.good("graph", "lenet5", "--compiled", "--json"))
        self.assertTrue(all(n["kernel"] and n["runs"] in ("once", "every step") for n in compiled["nodes"]))
        self.assertTrue(compiled["updates"])

    def test_dump_passes_writes_one_graph_a_pass(self):
        self.good("plan", "lenet5", "--dump-passes", self.path("dump"))
        names = sorted(os.listdir(self.path("dump")))
        self.assertEqual(names[0], "00-input.txt")
        for name in ("constant-folding", "cse", "dce", "layout", "fold-batch-norm", "fuse-elementwise",
                     "fuse-epilogues", "recompute"):
            self.assertTrue(any(n.endswith(f"-{name}.txt") for n in names), name)

    def test_fit_finds_the_largest_batch(self):
        limit = 5_000_000
        for text in ("5MB", "5000000", "5000KB", "4.76837158203125MiB"):
            plan = json.loads(self.good("plan", "lenet5", "--fit", text, "--json"))
            self.assertLessEqual(plan["total_bytes"], limit)
            more = str(plan["batch_size"] + 1)
            self.assertGreater(json.loads(self.good("plan", "lenet5", "--batch-size", more, "--json"))["total_bytes"],
                               limit)

    def test_predict_takes_the_normalisation_of_the_training(self):
        out = self.path("run")
        self.good(*self.train("--out", out, epochs=3))
        with gzip.open(self.data() + "/t10k-images-idx3-ubyte.gz") as f:
            images = f.read()[16:]
        with gzip.open(self.data() + "/t10k-labels-idx1-ubyte.gz") as f:
            labels = f.read()[8:]
        write(self.path("x.npy"), npy((100, 28, 28), "|u1", images))
        weights = out + "/weights.safetensors"
        classes = json.loads(self.good("predict", weights, self.path("x.npy"), "--top", "1", "--json"))
        right = sum(row[0]["class"] == label for row, label in zip(classes, labels))
        result = json.loads(self.good("eval", weights, "--data", self.data(), "--json"))
        self.assertEqual(right / 100, result["accuracy"])
        # The training part may be gone: the file knows what the network was fed.
        for name in os.listdir(self.data()):
            if name.startswith("train"):
                os.remove(os.path.join(self.data(), name))
        self.assertEqual(json.loads(self.good("eval", weights, "--data", self.data(), "--json")), result)


class Arguments(Program):
    def test_numbers(self):
        for option, value in (("--epochs", "-1"), ("--epochs", "x"), ("--batch-size", "0"), ("--lr", "0"),
                              ("--lr", "nan"), ("--lr", "0,05"), ("--workers", "-1"), ("--checkpoint-every", "-3"),
                              ("--early-stopping", "-1"), ("--crop-padding", "-1"), ("--threads", "-1"),
                              ("--warmup", "-1")):
            error = self.bad("train", "lenet5", "--data", self.data(), f"{option}={value}", says=[option, value])
            self.assertLess(len(error), 200, error)
        for value in ("0", "-2"):
            self.bad("predict", "w", "x", "--top", value, says="--top")
            self.bad("plan", "lenet5", "--batch-size=" + value, says="--batch-size")
        self.bad("plan", "lenet5", "--image-size", "99999999", says=["--image-size", "65535", "99999999"])
        for option in ("--image-size", "--channels", "--classes"):
            self.bad("plan", "lenet5", option, "0", says=[option, "from 1 to", "got 0"])
        for value in ("-5", "nan", "inf"):
            self.bad("bench", "lenet5", "--warmup", value, says=["--warmup", "at least 0", value])

    def test_numbers_that_no_type_holds(self):
        huge = "99999999999999999999"
        for option, most in (("--seed", 2**64 - 1), ("--batch-size", 2**63 - 1), ("--warmup", 2**63 - 1),
                             ("--epochs", 10**6), ("--workers", 1024), ("--threads", 2**31 - 1)):
            for value in (huge, "-" + huge, "-1"):
                self.bad(*self.train(f"{option}={value}"), says=[option, f"to {most}, got {value}"])
        self.bad("plan", "lenet5", "--top", huge, says=["--top", f"to {2**31 - 1}", huge])
        self.bad("plan", "lenet5", "--classes", huge, says=["--classes", huge])
        self.good(*self.train("--seed", str(2**64 - 1), epochs=0))

    def test_schedule_of_very_long_runs(self):
        for epochs in (2**63 - 1, 2**58, 10**6 + 1):
            self.bad(*self.train("--schedule", "step", epochs=epochs), says=["--epochs", "0 to 1000000", str(epochs)])
        self.good(*self.train("--batch-size", "400", epochs=0))

    def test_crop_padding_wider_than_the_image(self):
        out = self.path("run")
        self.bad(*self.train("--crop-padding", "29", "--out", out), says=["--crop-padding", "at most 28", "got 29"])
        self.assertFalse(os.path.exists(out))
        self.good(*self.train("--crop-padding", "28"))

    def test_verbs_and_options_that_do_not_exist(self):
        self.bad("foo", says="no verb or option 'foo'")
        self.bad("--foo", says="no verb or option '--foo'")
        self.bad(says="ingot --help")
        self.bad("train", "lenet5", "--foo", says=["--foo", "ingot train --help"])
        self.bad("train", says="model is required")

    def test_names(self):
        self.bad(*self.train(model="resnet19"), says=["resnet19", "resnet18"])
        self.bad(*self.train("--optimizer", "foo"), says=["foo", "adamw"])
        self.bad(*self.train("--schedule", "foo"), says=["foo", "one-cycle"])
        self.bad(*self.train("--device", "gpu"), says=["gpu", "cpu", "cuda:N"])
        for device in ("cuda:x", "cuda:-1", "cuda:", "cuda:99999999999", "banana"):
            for verb in [self.train(), ["graph", "lenet5"], ["plan", "lenet5", "--mode", "infer"], ["eval", "w"]]:
                self.bad(*verb, "--device", device, says=[f"no device '{device}'", "cuda:N with N from 0"])
        for verb in ("plan", "graph", "bench"):
            self.bad(verb, "lenet5", "--mode", "infer", "--optimizer", "banana", says=["banana", "adamw"])
        # No machine has so many GPUs; one without any, and a build without the backend, say how to get them.
        for verb in [self.train("--device", "cuda:4095"), ["bench", "mlp", "--device", "cuda:4095"],
                     ["plan", "mlp", "--device", "cuda:4095"], ["graph", "mlp", "--compiled", "--device", "cuda:4095"]]:
            self.bad(*verb, says="CUDA")
        self.bad("plan", "lenet5", "--skip-pass", "foo", says=["foo", "fuse-elementwise"])

    def test_contradictions(self):
        self.bad(*self.train("--image-size", "64"), says=["--image-size 64", "28"])
        self.bad(*self.train("--channels", "3"), says=["--channels 3", "28"])
        self.bad(*self.train("--classes", "3"), says=["10 classes", "3"])
        self.bad(*self.train("--resume"), says="--out")
        self.bad(*self.train("--checkpoint-every", "2"), says="--out")
        self.good(*self.train("--image-size", "28"))
        self.bad("graph", "lenet5", "--dump-passes", self.path("dump"), says=["--dump-passes", "--compiled"])
        self.bad("graph", "lenet5", "--skip-pass", "cse", says=["--skip-pass", "--compiled"])
        self.assertFalse(os.path.exists(self.path("dump")))
        self.good("graph", "lenet5", "--compiled", "--dump-passes", self.path("dump"))

    def test_more_threads_than_there_can_be(self):
        self.bad("train", "lenet5", "--data", self.data(), "--threads", "100000", says=["1024", "100000"])
        self.bad(*self.train("--workers", "1000000"), says=["--workers", "0 to 1024", "1000000"])
        self.bad(*self.train("--workers", "1024"), says=["1024 loader workers", "use fewer"],
                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)))

    def test_bytes(self):
        for text in ("foo", "-1GiB", "5XB", "5MBx", "1e30GiB", "0", "GiB", "nan"):
            self.bad("plan", "lenet5", f"--fit={text}", says=[text, "2GiB"])

    def test_dtypes(self):
        plan = {d: json.loads(self.good("plan", "resnet20", "--mode", m, "--batch-size", "8", "--dtype", d, "--json"))
                for d, m in (("f32", "train"), ("bf16", "train"), ("f16", "train"))}
        self.assertLess(plan["f16"]["arena_bytes"], 0.7 * plan["f32"]["arena_bytes"])
        self.assertLess(plan["bf16"]["arena_bytes"], 0.7 * plan["f32"]["arena_bytes"])
        # The f32 master weights, padded where the kernels want other blocks of channels.
        self.assertAlmostEqual(plan["bf16"]["parameter_bytes"] / plan["f32"]["parameter_bytes"], 1.0, delta=0.001)
        self.good("plan", "resnet20", "--mode", "infer", "--batch-size", "8", "--dtype", "f16")
        self.bad("plan", "lenet5", "--dtype", "bf16", "--keep-f32", "conv9", says="conv9")
        self.bad("plan", "lenet5", "--keep-f32", "conv1", says=["--keep-f32", "--dtype"])
        self.good("plan", "lenet5", "--dtype", "bf16", "--keep-f32", "conv1")
        out = self.path("run")
        self.good(*self.train("--out", out, "--dtype", "bf16"))
        self.bad(*self.train("--out", out, "--resume"), says=["dtype", "bf16", "f32"])
        for dtype in ("f32", "bf16", "f16"):
            self.good("eval", out + "/last.safetensors", "--data", self.data(), "--dtype", dtype)

    def test_loss_scale(self):
        graph = lambda *a: self.good("graph", "lenet5", "--mode", "train", *a)
        self.assertIn("optim/growth_tracker", graph("--dtype", "f16"))
        self.assertNotIn("optim/growth_tracker", graph("--dtype", "f16", "--loss-scale", "512"))
        self.assertIn("optim/loss_scale", graph("--dtype", "bf16", "--loss-scale", "512"))
        for a in (("--dtype", "bf16"), (), ("--dtype", "f16", "--loss-scale", "none")):
            self.assertNotIn("optim/loss_scale", graph(*a))
        for bad in ("0", "-1", "much", "nan", "1e60"):
            self.bad("graph", "lenet5", f"--loss-scale={bad}", says=["--loss-scale", "loss scale"])
        self.bad("plan", "lenet5", "--mode", "infer", "--loss-scale", "2", says=["--loss-scale", "infer"])
        self.bad(*self.train("--dtype", "f16", "--check-numerics"), says=["check_numerics", "--loss-scale 1024"])
        out = self.path("scaled")
        self.good(*self.train("--out", out, "--dtype", "f16"))
        header, row = (line.split(",") for line in open(out + "/log.csv").read().splitlines())
        self.assertIn(float(row[header.index("loss_scale")]), (65536, 32768, 16384))
        self.bad(*self.train("--out", out, "--dtype", "f16", "--loss-scale", "8", "--resume"), says="growth_tracker")
        self.good(*self.train("--out", out, "--dtype", "f16", "--loss-scale", "dynamic", "--resume"))
        out = self.path("fixed")
        self.good(*self.train("--out", out, "--dtype", "bf16", "--loss-scale", "512"))
        self.bad(*self.train("--out", out, "--dtype", "bf16", "--loss-scale", "8", "--resume"), says=["loss_scale", "512", "8"])

    def test_resume_with_other_options(self):
        out = self.path("run")
        self.good(*self.train("--out", out))
        before = content(out)
        for option, value in (("--lr", "0.1"), ("--epochs", "3"), ("--batch-size", "32"), ("--seed", "5"),
                              ("--threads", "2")):
            args = ["train", "lenet5", "--data", self.data(), "--out", out, "--resume", option, value]
            for other, usual in (("--epochs", "1"), ("--threads", "1")):
                args += [] if option == other else [other, usual]
            self.bad(*args, says=value)
        self.bad(*self.train("--out", out, "--resume", model="mlp"), says=["lenet5", "mlp"])
        self.assertEqual(content(out), before)

    def test_closed_and_full_outputs(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "info", "ops"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


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
        with subprocess.Popen([PROGRAM, *self.train("--out", out, epochs=100000)], stderr=subprocess.DEVNULL) as first:
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
        with subprocess.Popen([PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
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
            p = subprocess.Popen([PROGRAM, *self.train("--out", parts + "/" * (attempt % 2), "--resume", *options,
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


def main(module=__name__, parser=None):
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


if __name__ == "__main__":
    sys.exit(main())
