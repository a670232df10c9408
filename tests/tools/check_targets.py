#!/usr/bin/env python3
"""Plans of the program `ingot` for GPUs that are not here: what they name, what descriptions they refuse, and what
becomes of them where cuDNN is missing, too old or broken.

    check_targets.py --program build/release/bin/ingot --broken-cudnn FOLDER [Targets.test...]
"""

import argparse
import json
import os
import sys
import time

import program_test

arguments = None  # of the command line


class Targets(program_test.Program):
    """Plans for GPUs that are not here."""

    def setUp(self):
        super().setUp()
        done = self.run_program("plan", "mlp", "--target", "h200")
        if done.returncode != 0:
            self.skipTest("this build cannot plan for a GPU: " + done.stderr.decode().strip())

    def plan(self, *args, **options):
        return json.loads(self.good("plan", *args, "--json", **options))

    def has_cudnn(self):
        plan = self.plan("lenet5", "--target", "h200", "--explain")
        reasons = [c["why"] for n in plan["nodes"] for c in n["candidates"] if c["name"] == "cudnn" and "why" in c]
        if any("this build has no cuDNN" in r or "could not be loaded" in r for r in reasons):
            self.skipTest("no cuDNN here: " + reasons[0])

    def described(self, **changes):
        (first, *_) = json.loads(self.good("info", "targets", "--json")).values()
        described = {**first, **changes}
        kept = {key: value for key, value in described.items() if value is not None}
        program_test.write(self.path("gpu.json"), json.dumps(kept).encode())
        return self.path("gpu.json")

    def check_resnet50(self, target, *args):
        self.has_cudnn()
        start = time.monotonic()
        plan = self.plan("resnet50", "--mode", "train", "--batch-size", "256", "--dtype", "f32", "--target", target,
                         "--explain", *args)
        self.assertLess(time.monotonic() - start, 60)
        self.assertTrue(plan["planned_for_a_description"])
        # The bytes alive at once are a bound that no placement need reach: in f32, with an A100's workspaces, a
        # walk twenty times as long ends at the same 1.0106.
        self.assertLessEqual(plan["arena_bytes"], (1.011 if "a100" in target else 1.01) * plan["max_live_bytes"])
        self.assertGreater(plan["launches"], 0)
        predicted = self.check_prediction(plan)
        self.assertEqual(predicted["launches"], plan["launches"] + plan["library_calls"])
        self.assertIn("data sheet", predicted["source"])
        # What is computed again for the sake of memory is named so.
        nodes = {op: [n for n in plan["nodes"] if n["op"] == op and not n["name"].endswith("/again")]
                 for op in ("conv2d", "conv2d_grad_input", "conv2d_grad_weight")}
        self.assertEqual({op: len(found) for op, found in nodes.items()},
                         {"conv2d": 53, "conv2d_grad_input": 52, "conv2d_grad_weight": 53})
        for node in sum(nodes.values(), []):
            first, *others = node["candidates"]
            self.assertEqual((first["name"], first["taken"]), ("cudnn", True), node)
            self.assertTrue(node["kernel"].startswith("cudnn:eng"), node)
            self.assertEqual((node["kernel"], node["workspace_bytes"]), (first["kernel"], first["workspace_bytes"]))
            self.assertEqual([(c["name"], c["taken"]) for c in others], [("own", False)], node)
            self.assertEqual(node["library_calls"], 1)
        # 158 convolutions, and the classifier's three products where cuBLASLt is there too.
        products = [n for n in plan["nodes"] if n["op"] == "matmul" and n["kernel"] == "cublaslt"]
        self.assertIn(len(products), (0, 3))
        again = [n for n in plan["nodes"] if n["op"] == "conv2d" and n["name"].endswith("/again")]
        self.assertEqual(plan["library_calls"], 158 + len(again) + len(products))
        self.assertGreaterEqual(plan["workspace_bytes"], max(n["workspace_bytes"] for n in plan["nodes"]))

    def test_resnet50_in_f16_sums_in_its_convolutions(self):
        """cuDNN makes batch norm's sums in f16 alone: forward but for the stem, whose images have three channels, and
        backward but for what the pooling hands the last and the stem's."""
        self.has_cudnn()
        def plan(dtype, *args):
            found = self.plan("resnet50", "--mode", "train", "--batch-size", "256", "--dtype", dtype, "--target", "h200",
                              "--steps", "10000", *args)
            steps = self.check_prediction(found)["steps"]
            self.assertAlmostEqual(sum(s["bytes"] for s in steps) / 256, found["prediction"]["bytes_per_image"], delta=1)
            return found

        half = plan("f16")
        nodes = {op: [n for n in half["nodes"] if n["op"] == op and not n["name"].endswith("/again")]
                 for op in ("conv2d", "conv2d_sums", "conv2d_grad_input", "conv2d_grad_input_sums", "batch_norm",
                            "batch_norm_grad", "batch_norm_apply_two")}
        self.assertEqual({op: len(found) for op, found in nodes.items()},
                         {"conv2d": 1, "conv2d_sums": 52, "conv2d_grad_input": 5, "conv2d_grad_input_sums": 47,
                          "batch_norm": 1, "batch_norm_grad": 2, "batch_norm_apply_two": 4})
        for node in nodes["conv2d_sums"] + nodes["conv2d_grad_input_sums"]:
            self.assertTrue(node["kernel"].startswith("cudnn:eng"), node)
        self.assertLess(half["prediction"]["bytes_per_image"], 310e6)
        apart = plan("f16", "--skip-pass", "fuse-sums")
        self.assertGreater(apart["prediction"]["bytes_per_image"], 375e6)
        for dtype in ("bf16", "f32"):
            self.assertFalse([n for n in plan(dtype)["nodes"] if n["op"].endswith("_sums")])

    def test_resnet50_on_h200(self):
        self.check_resnet50("h200")

    def test_resnet50_on_a100(self):
        self.check_resnet50("a100")

    def test_resnet50_on_a_description_of_the_users(self):
        self.check_resnet50(self.described(deviceName="My GPU", multiProcessorCount=78, totalGlobalMem=48 * 10**9),
                            "--machine", "h100")
        plan = self.plan("mlp", "--target", self.described(deviceName="My GPU"))
        self.assertNotIn("prediction", plan)
        self.assertIn("My GPU", plan["no_prediction"])
        self.assertIn("--machine", plan["no_prediction"])

    def test_few_launches_in_half_precision(self):
        self.has_cudnn()
        for dtype in ("bf16", "f16"):
            arguments = ("resnet50", "--mode", "train", "--batch-size", "256", "--dtype", dtype, "--target", "h200")
            plan, single = self.plan(*arguments), self.plan(*arguments, "--skip-pass", "join-elementwise")
            launches = plan["launches"] + plan["library_calls"]
            self.assertEqual(launches, plan["prediction"]["launches"])
            self.assertLess(launches, 600)
            self.assertGreater(single["launches"] + single["library_calls"], launches + 150)
            # Casts of weights, and what updates the states of batch norms, are not more of a burden joined.
            self.assertLessEqual(plan["total_bytes"], single["total_bytes"])
            self.assertLess(plan["prediction"]["seconds"], single["prediction"]["seconds"])
            left = [n for n in plan["nodes"] if n["op"] in ("cast", "add", "where")]
            self.assertLess(len(left), 8, left)

    def test_candidates_of_one_op_are_costed(self):
        problem = ["bench", "--op", "conv2d", "--shape", "64x64x56x56", "--shape", "64x64x3x3", "--dtype", "bf16",
                   "--target", "h200", "--candidates", "all"]
        candidates = json.loads(self.good(*problem, "--json"))["candidates"]
        own = [c for c in candidates if c["candidate"] == "own" and c["kernel"]]
        self.assertTrue(own, candidates)
        for c in candidates:
            if c["kernel"]:
                self.assertGreater(c["predicted_ms"], 0)
                self.assertTrue(0 < c["roofline_share"] <= 1, c)
                self.assertNotIn("ms", c)
            else:
                self.assertTrue(c["why"], c)
        self.assertEqual(sum(c["taken"] for c in candidates), 1)
        self.assertIn("conv", self.good(*problem))
        self.bad("bench", "lenet5", "--target", "h200", says=["--target", "ingot plan"])

    def test_text_names_the_description_and_candidates(self):
        text = self.good("plan", "lenet5", "--target", self.described(deviceName="My GPU"), "--explain")
        self.assertIn("My GPU, sm_90, described by ", text)
        self.assertIn("planned from a description; nothing of it has run on that device", text)
        self.assertRegex(text, r"launches a step: [1-9]\d* of Ingot's kernels")
        self.assertRegex(text, r"\(conv2d\)\n  [* ] +cudnn: ")
        self.assertRegex(text, r"\n  [* ] +own: conv")

    def test_workspace_limit_holds_and_says_what_it_passed_over(self):
        self.has_cudnn()
        arguments = ("plan", "resnet18", "--mode", "train", "--batch-size", "16", "--target", "h200")
        limit = 64 << 10
        free = self.plan(*arguments[1:])
        self.assertNotIn("above_workspace_limit", free)
        # By cuBLASLt a product may use any amount; a convolution's engine wants what it wants.
        self.assertGreater(max(n["workspace_bytes"] for n in free["nodes"] if "conv2d" in n["op"]), limit)
        plan = self.plan(*arguments[1:], "--workspace-limit", "64KiB", "--explain")
        passed = [n for n in plan["nodes"] if "above_workspace_limit" in n]
        self.assertEqual(plan["above_workspace_limit"]["steps"], len(passed))
        self.assertGreater(len(passed), 0)
        for node in plan["nodes"]:
            if node["library_calls"] != 0:
                self.assertLessEqual(node["workspace_bytes"], limit, node)
        before = {(n["name"], n["op"]): n for n in free["nodes"]}
        for node in passed:
            first = node["above_workspace_limit"][0]
            self.assertEqual(first["kernel"], before[node["name"], node["op"]]["kernel"])
            self.assertGreater(first["workspace_bytes"], limit)
            why = [c.get("why", "") for c in node["candidates"]]
            self.assertTrue(any("more workspace than the limit of 65536 bytes" in w for w in why), why)
        self.assertLess(plan["total_bytes"], free["total_bytes"])
        text = self.good(*arguments, "--workspace-limit", "64KiB")
        self.assertIn(f"{len(passed)} steps take another kernel because of the workspace limit", text)

    def test_bad_descriptions_are_refused_key_by_key(self):
        self.bad("plan", "lenet5", "--target", "h300", says=["h300", "h200", "a100", "rtx4090"])
        self.bad("plan", "lenet5", "--target", self.described(warpSize=None), says="'warpSize' is missing")
        self.bad("plan", "lenet5", "--target", self.described(deviceVer="9.0", colour=1),
                 says=["'deviceVer': expected", '"9.0"', "'colour' is not a key"])
        self.bad("plan", "lenet5", "--target", self.described(l2CacheSize=2**40), says="'l2CacheSize': expected")
        self.bad("plan", "lenet5", "--target", self.dir, says="directory")
        program_test.write(self.path("bad.json"), b"{")
        self.bad("plan", "lenet5", "--target", self.path("bad.json"), says=["bad.json", "one JSON object"])
        self.bad("plan", "lenet5", "--target", "h200", "--device", "cuda", says=["--target", "--device"])

    # Where cuDNN is no use, every convolution runs on a kernel of our own, and the plan says why.
    def check_broken_cudnn(self, folder, *says):
        environment = {**os.environ, "CUDA_HOME": self.dir,
                       "LD_LIBRARY_PATH": folder + ":" + os.environ.get("LD_LIBRARY_PATH", "")}
        plan = self.plan("lenet5", "--target", "h200", "--explain", env=environment)
        convolutions = [n for n in plan["nodes"] if n["op"].startswith("conv2d")]
        self.assertEqual(len(convolutions), 5)
        for node in convolutions:
            self.assertTrue(node["kernel"].startswith("conv"), node)
            cudnn, own = node["candidates"]
            self.assertEqual((cudnn["taken"], own["taken"]), (False, True))
            for text in (*says, "pip install nvidia-cudnn"):
                self.assertIn(text, cudnn["why"])

    def test_cudnn_too_old(self):
        if arguments.broken_cudnn is None:
            self.skipTest("no broken libraries were built")
        self.has_cudnn()
        self.check_broken_cudnn(arguments.broken_cudnn + "/too_old", "cuDNN 9.1 is too old, 9.8 or later")

    def test_cudnn_that_lacks_a_function(self):
        if arguments.broken_cudnn is None:
            self.skipTest("no broken libraries were built")
        self.has_cudnn()
        self.check_broken_cudnn(arguments.broken_cudnn + "/incomplete", "could not be loaded",
                                "it has no function cudnn")

    def test_cudnn_that_is_no_library(self):
        self.has_cudnn()
        program_test.write(self.path("libcudnn.so.9"), b"this is no library")
        self.check_broken_cudnn(self.dir, "could not be loaded", "libcudnn.so.9")


if __name__ == "__main__":
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--broken-cudnn", help="Folder of libraries named libcudnn.so.9, each in a folder of its own")
    sys.exit(program_test.main(__name__, command))
