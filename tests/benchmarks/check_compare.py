"""benchmarks/compare.py from end to end, with small programs in the place of ingot, fma_peak and PyTorch's interpreter:
what it starts, what it writes down, which ratios it makes of it, and what it says when something is missing."""

import contextlib
import importlib.util
import io
import json
import os
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("compare", ROOT / "benchmarks" / "compare.py")
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)
report = compare.report

INGOT = """
import json, os, sys
assert not [k for k in os.environ if k.startswith("MALLOC_")], "tuning variables must not reach a measurement"
if sys.argv[1] == "info":
    print(json.dumps({"version": "1.2.3"}))
else:
    assert sys.argv[1:3] == ["bench", "lenet5"], sys.argv
    assert sys.argv[sys.argv.index("--threads") + 1] == os.environ["OMP_NUM_THREADS"] == "1"
    ballast = bytearray(40_000_000)
    print("a line before the figures")
    print(json.dumps({"images_per_second": 3000.0, "step_ms": 21.3, "flops": 64 * 1.1e6, "model_flops": 64 * 2.1e6, "gflops": 1, "peak_bytes": 7}))
"""
PEER = """
import json, sys
if "--flops" in sys.argv:
    print(json.dumps({"lenet5": {"train": 2e6, "infer": 1e6}}))
    sys.exit()
if "--losses" in sys.argv:
    print(json.dumps({"losses": [2.5 - 0.01 * i for i in range(20)]}))
    sys.exit()
variant = sys.argv[sys.argv.index("--variant") + 1]
if variant == "compile":
    sys.exit("no compiler here")
print(json.dumps({"images_per_second": {"nchw": 500.0, "channels_last": 1000.0}[variant], "step_ms": 64.0,
                  "peak_bytes": {"nchw": 400e6, "channels_last": 500e6}[variant], "steps": 5, "torch": "9.9",
                  "onednn": "8.8", "capability": "NONE"}))
"""
FMA_PEAK = 'print(\'{"gflops": 60.0, "threads": 1, "isa": "none", "bf16_gflops": 120.0, "bf16_isa": "pairs"}\')'
# bf16 rounds: the losses are a little apart.
LOSSES = """
import json, sys
factor = 1.001 if sys.argv[sys.argv.index("--dtype") + 1] == "bf16" else 1.0
print(json.dumps({"losses": [factor * (2.5 - 0.01 * i) for i in range(20)]}))
"""


SMI = 'print("Test GPU, 1.2, 80 GiB, 1980 MHz, 2619 MHz, 700 W")'


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        cpus = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, cpus)

    def program(self, name, text):
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        return str(path)

    def arguments(self, **programs):
        chosen = {"ingot": INGOT, "fma-peak": FMA_PEAK, "train-losses": LOSSES, "python": PEER, **programs}
        out = ["--cpu", "--models", "lenet5", "--modes", "train", "--threads", "1", "--rounds", "3", "--dtype", "f32",
               "--output", str(self.folder / "run.json")]
        for name, text in chosen.items():
            out += [f"--{name}", self.program(name, text)]
        return out

    def test_run(self):
        os.environ["MALLOC_ARENA_MAX"] = "1"
        self.addCleanup(os.environ.pop, "MALLOC_ARENA_MAX")
        self.assertEqual(compare.main(self.arguments()), 0)
        run = json.loads((self.folder / "run.json").read_text())
        self.assertEqual(len(run["fma_peak"]), 3)
        self.assertEqual(run["versions"]["torch"], "9.9")
        self.assertEqual(run["versions"]["ingot"], {"version": "1.2.3"})
        work, = run["workloads"]
        self.assertEqual(len(work["ingot"]), 3)
        self.assertEqual(len(work["pytorch"]["channels_last"]), 3)
        self.assertIn("no compiler here", work["unavailable"]["compile"])
        self.assertEqual(work["pytorch"]["compile"], [])
        # What the system counted, not what the program said of itself.
        self.assertGreater(work["ingot"][0]["peak_bytes"], 40e6)
        self.assertEqual(work["ingot"][0]["announced_peak_bytes"], 7)

        figures = report.summary(work, 60.0)
        self.assertEqual(figures["best"], "channels_last")  # the fastest
        self.assertAlmostEqual(figures["ratio"], 3.0)
        self.assertAlmostEqual(figures["ingot_share"], 3000 * 2e6 / 60e9)
        self.assertEqual(figures["lean"], "nchw")  # the one with the least memory
        self.assertAlmostEqual(figures["bytes_ratio"], figures["ingot_bytes"] / 400e6)

        readme = self.folder / "README.md"
        readme.write_text(f"before\n{report.MARK_BEGIN}\nold\n{report.MARK_END}\nafter\n")
        for _ in range(2):  # the second time changes nothing
            report.write(self.folder / "run.json", self.folder)
            text = readme.read_text()
            self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
            self.assertNotIn("old", text)
            self.assertEqual(text.count("**3.00x**"), 1)
            self.assertIn("10% against 3%", text)
            self.assertIn("](docs/speed_ratio.svg)", text)
        speed = (self.folder / "docs" / "speed_ratio.svg").read_text()
        self.assertIn("3.00x PyTorch channels-last", speed)
        share = (self.folder / "docs" / "share_of_peak.svg").read_text()
        self.assertIn("10% Ingot", share)
        for svg in (speed, share):
            xml.etree.ElementTree.fromstring(svg)
        # Above the peak only by computing less than was counted.
        self.assertNotIn("direct convolutions", text)
        work["flops_per_image"] *= 20
        self.assertIn("direct convolutions", report.table(run))

    def test_bf16(self):
        # In bf16 the eager variant in the default layout is no peer, and the peak is that of bf16.
        self.assertEqual(compare.main(self.arguments() + ["--dtype", "f32", "bf16"]), 0)
        run = json.loads((self.folder / "run.json").read_text())
        f32, bf16 = run["workloads"]
        self.assertEqual((f32["dtype"], bf16["dtype"]), ("f32", "bf16"))
        self.assertEqual(list(bf16["pytorch"]), ["channels_last", "compile"])
        self.assertEqual([c["tolerance"] for c in run["losses"]], [1e-4, 2 ** -8])
        self.assertAlmostEqual(run["losses"][1]["deviation"], 1e-3)
        text = report.table(run)
        self.assertIn("| LeNet-5 training, batch 64, bf16 | ", text)
        self.assertIn("| 5% against 2% |", text)
        self.assertIn("120 GFLOP/s in bf16 (pairs)", text)
        self.assertIn("0.001 apart in bf16", text)
        # The same losses in f32 are refused.
        self.assertIn("the loss of step 0 is 2.5025, PyTorch's 2.5; 0.001 apart where 0.0001 is allowed", self.failure_of(
            self.arguments(**{"train-losses": LOSSES.replace('== "bf16"', '== "f32"')})))
        self.assertIn("nan", self.failure_of(self.arguments(**{
            "train-losses": "import json; print(json.dumps({'losses': [2.5 - 0.01 * i for i in range(19)] + [float('nan')]}))"})))
        run["fma_peak"] = [{**p, "bf16_gflops": None} for p in run["fma_peak"]]  # as where AMX is
        self.assertIn("| **3.00x** |  | ", report.table(run))

    def test_onnxruntime(self):
        # The export needs packages that the stand-in "python" does not have; measuring goes on without.
        said = io.StringIO()
        without = PEER.replace("import json, sys", "import json, sys\nif '-c' in sys.argv: sys.exit('No module named onnx')")
        with contextlib.redirect_stderr(said):
            arguments = self.arguments(ingot=INGOT.replace("2.1e6", "1.1e6"), python=without)
            arguments[arguments.index("train")] = "infer"
            self.assertEqual(compare.main(arguments), 0)
        self.assertIn("Without ONNX Runtime: No module named onnx", said.getvalue())
        work, = json.loads((self.folder / "run.json").read_text())["workloads"]
        self.assertEqual((work["onnxruntime"], work["unavailable"]["onnxruntime"]), ([], "No module named onnx"))
        present = PEER.replace("import json, sys", "import json, sys\nif '-c' in sys.argv: sys.exit()\n"
                               "if '--export' in sys.argv: print('{}'); sys.exit()\n"
                               "if '--model' in sys.argv: print(json.dumps({'images_per_second': 2000.0, 'step_ms': 1.0, "
                               "'peak_bytes': 3e8, 'onnxruntime': '7.7'})); sys.exit()")
        arguments = self.arguments(ingot=INGOT.replace("2.1e6", "1.1e6"), python=present)
        arguments[arguments.index("train")] = "infer"
        self.assertEqual(compare.main(arguments), 0)
        run = json.loads((self.folder / "run.json").read_text())
        self.assertEqual(report.summary(run["workloads"][0], 60.0)["best"], "onnxruntime")
        self.assertIn("ONNX Runtime 7.7", report.table(run))
        self.assertIn("1.50x ONNX Runtime", report.plots(run)["docs/speed_ratio.svg"])

    def test_rounds(self):
        # What was measured before an error is there; a budget of time ends a run between rounds.
        counter = self.folder / "count"
        failing = INGOT.replace("    ballast", f"    path = {str(counter)!r}\n    n = len(open(path).read()) if os.path.exists(path) "
                                "else 0\n    open(path, 'a').write('x')\n    assert n < 2, 'third round'\n    ballast")
        self.assertIn("third round", self.failure_of(self.arguments(ingot=failing)))
        self.assertEqual(len(json.loads((self.folder / "run.json").read_text())["workloads"][0]["ingot"]), 2)
        self.assertEqual(compare.main(self.arguments() + ["--minutes", "0.001"]), 0)
        self.assertEqual(len(json.loads((self.folder / "run.json").read_text())["fma_peak"]), 1)

    def test_readme_is_generated(self):
        """README's table and plots are those of the newest file of results: compare.py --write makes them."""
        result = json.loads(report.newest(ROOT / "benchmarks" / "results").read_text())
        text = (ROOT / "README.md").read_text()
        self.assertEqual(text, report.readme_text(result, text))
        for path, svg in report.plots(result).items():
            self.assertEqual((ROOT / path).read_text(), svg, path)
        with self.assertRaises(report.Failure):
            report.newest(self.folder)

    def test_gpu(self):
        self.program("nvidia-smi", SMI)
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        os.environ["PATH"] = f"{self.folder}{os.pathsep}{path}"
        cuda = 'assert sys.argv[sys.argv.index("--device") + 1] == "cuda", sys.argv\n'
        ingot = INGOT.replace("    ballast", "    " + cuda + "    ballast").replace('"peak_bytes": 7', '"planned_bytes": 9e6, "peak_bytes": 7')
        peer = PEER.replace("variant = sys", cuda + "variant = sys").replace('"nchw": 500.0', '"graph": 4000.0').replace(
            '"nchw": 400e6', '"graph": 600e6').replace('"onednn": "8.8", "capability": "NONE"', '"cudnn": 91900, "cuda": "13.0"')
        arguments = ["--gpu" if a == "--cpu" else a for a in self.arguments(ingot=ingot, python=peer)]
        self.assertEqual(compare.main(arguments + ["--variants", "channels_last", "graph", "compile"]), 0)
        run = json.loads((self.folder / "run.json").read_text())
        self.assertEqual((run["kind"], run["gpu"]["name"], run["versions"]["pytorch_cudnn"]), ("gpu", "Test GPU", 91900))
        work, = run["workloads"]
        figures = report.summary(work, None)
        self.assertEqual((figures["best"], figures["lean"]), ("graph", "channels_last"))
        self.assertAlmostEqual(figures["ratio"], 0.75)
        self.assertAlmostEqual(figures["bytes_ratio"], 9e6 / 500e6)  # of the GPU, not of the process
        text = report.table(run)
        self.assertIn("**0.75x** | 9 MB against 500 MB", text)
        self.assertIn("Test GPU, driver 1.2, f32 without TF32", text)
        self.assertNotIn("share of peak", text)
        self.assertEqual(compare.main(arguments + ["--variants"]), 0)  # Ingot alone
        work, = json.loads((self.folder / "run.json").read_text())["workloads"]
        self.assertEqual((len(work["ingot"]), work["pytorch"]), (3, {}))
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as said:
            compare.parse(["--cpu", "--variants", "graph"])
        self.assertIn("--variants graph: here there are nchw", said.getvalue())
        self.program("nvidia-smi", "import sys; sys.exit('no driver')")
        self.assertIn("--gpu needs one", self.failure_of(arguments))

    def failure_of(self, arguments):
        args = compare.parse(arguments)
        with self.assertRaises(compare.Failure) as caught:
            compare.measure(args)
        return str(caught.exception)

    def test_failures(self):
        self.assertIn("ended with 3: out of order", self.failure_of(
            self.arguments(ingot="import sys; print('out of order', file=sys.stderr); sys.exit(3)")))
        self.assertIn("not the same model", self.failure_of(self.arguments(ingot=INGOT.replace("2.1e6", "9e6"))))
        self.assertIn("printed no JSON object", self.failure_of(self.arguments(**{"fma-peak": "print('fast')"})))
        self.assertIn("ran longer than", self.failure_of(
            self.arguments(python="import time; time.sleep(60)") + ["--timeout", "0.3"]))
        self.assertIn("is not there; build it", self.failure_of(self.arguments() + ["--ingot", "/nonexistent/ingot"]))
        readme = self.folder / "README.md"
        readme.write_text("no marks")
        run = {"fma_peak": []}
        with self.assertRaises(report.Failure):
            report.readme_text(run, readme.read_text())
        self.assertEqual(readme.read_text(), "no marks")


if __name__ == "__main__":
    unittest.main()
