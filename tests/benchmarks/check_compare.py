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

ROOT = pathlib.Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("compare", ROOT / "benchmarks" / "compare.py")
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)

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
variant = sys.argv[sys.argv.index("--variant") + 1]
if variant == "compile":
    sys.exit("no compiler here")
print(json.dumps({"images_per_second": {"nchw": 500.0, "channels_last": 1000.0}[variant], "step_ms": 64.0,
                  "peak_bytes": {"nchw": 400e6, "channels_last": 500e6}[variant], "steps": 5, "torch": "9.9",
                  "onednn": "8.8", "capability": "NONE"}))
"""
FMA_PEAK = 'print(\'{"gflops": 60.0, "threads": 1, "isa": "none"}\')'


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
        chosen = {"ingot": INGOT, "fma-peak": FMA_PEAK, "python": PEER, **programs}
        out = ["--cpu", "--models", "lenet5", "--modes", "train", "--threads", "1", "--repeats", "3",
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

        figures = compare.summary(work, 60.0)
        self.assertEqual(figures["best"], "channels_last")  # the fastest
        self.assertAlmostEqual(figures["ratio"], 3.0)
        self.assertAlmostEqual(figures["ingot_share"], 3000 * 2e6 / 60e9)
        self.assertEqual(figures["lean"], "nchw")  # the one with the least memory
        self.assertAlmostEqual(figures["bytes_ratio"], figures["ingot_bytes"] / 400e6)

        readme = self.folder / "README.md"
        readme.write_text(f"before\n{compare.MARK_BEGIN}\nold\n{compare.MARK_END}\nafter\n")
        for _ in range(2):  # the second time changes nothing
            compare.rewrite_readme(self.folder / "run.json", readme)
            text = readme.read_text()
            self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
            self.assertNotIn("old", text)
            self.assertEqual(text.count("**3.00x**"), 1)
            self.assertIn("10% against 3%", text)

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
        figures = compare.summary(work, None)
        self.assertEqual((figures["best"], figures["lean"]), ("graph", "channels_last"))
        self.assertAlmostEqual(figures["ratio"], 0.75)
        self.assertAlmostEqual(figures["bytes_ratio"], 9e6 / 500e6)  # of the GPU, not of the process
        text = compare.table(run)
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
        with self.assertRaises(compare.Failure):
            compare.rewrite_readme(self.folder / "run.json", readme)
        self.assertEqual(readme.read_text(), "no marks")


if __name__ == "__main__":
    unittest.main()
