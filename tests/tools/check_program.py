#!/usr/bin/env python3
"""Runs the program `ingot` as people do, and as they do by mistake: every verb, bad arguments. An error is one line that says
what to do, and a non-zero exit.

    check_program.py --program build/release/bin/ingot [GROUP[.test]...]
"""

import gzip
import json
import os
import resource
import subprocess
import sys

import program_test
from program_test import Program, content, main, npy, write

VERBS = ["train", "eval", "predict", "plan", "graph", "bench", "info", "machine"]


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

    def test_models_are_listed_with_their_sizes(self):
        listed = {m["name"]: m for m in json.loads(self.good("info", "models", "--json"))}
        self.assertGreaterEqual(len(listed), 30)
        vgg = listed["vgg11"]
        for key, value in (("channels", 3), ("image_size", 224), ("least_image_size", 32), ("classes", 1000),
                           ("parameters", 132863336), ("parameter_bytes", 4 * 132863336)):
            self.assertEqual(vgg[key], value)
        self.assertAlmostEqual(vgg["multiply_adds"] * 1e-9, 7.609, places=3)
        text = self.good("info", "models")
        row = next(line for line in text.splitlines() if line.startswith("vgg11 ")).split()
        self.assertEqual(row[1:13], ["3", "x", "224", "x", "224", "1000", "132863336", "506.83", "MiB", "7.6091", "10^9", "VGG-11"])
        self.bad("plan", "vgg11", "--image-size", "31", says=["vgg11", "32 x 32", "31 x 31"])

    def test_a_model_of_the_zoo_trains(self):
        out = self.path("run")
        self.good(*self.train("--out", out, model="mobilenet_v3_small"))
        result = json.loads(self.good("eval", out + "/weights.safetensors", "--data", self.data(), "--json"))
        self.assertEqual(result["images"], 100)

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
            done = subprocess.run([program_test.PROGRAM, "info", "ops"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)


if __name__ == "__main__":
    sys.exit(main(__name__))
