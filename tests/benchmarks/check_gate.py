"""benchmarks/gate.py: a planted slowdown fails it, what is the same does not, and another toolchain compares nothing.

    python3 tests/benchmarks/check_gate.py build/release [unittest arguments]

The planted slowdowns are real ones: the baseline is counted, then the same name is given a program that does more of the
same work, or compiles the same model without one of its passes."""

import contextlib
import importlib.util
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("gate", ROOT / "benchmarks" / "gate.py")
gate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gate)
BUILD = ROOT / "build" / "release"


class Gate(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.baseline = self.folder / "baseline.json"
        before = gate.PROGRAMS
        self.addCleanup(setattr, gate, "PROGRAMS", before)

    def run_gate(self, programs, *arguments):
        """Exit status and everything said."""
        gate.PROGRAMS = programs
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            status = gate.main(["--build", str(BUILD), "--baseline", str(self.baseline), *arguments])
        if status == gate.SKIPPED and "another toolchain" not in said.getvalue():
            self.skipTest(said.getvalue())
        return status, said.getvalue()

    def test_planted_slowdown(self):
        rows = lambda n: {"op softmax": ["op", f"softmax f32[{n}, 500]"]}
        self.assertEqual(self.run_gate(rows(100), "--accept")[0], 0)
        self.assertEqual(self.run_gate(rows(100))[0], 0)
        status, said = self.run_gate(rows(102))  # 2 % more work passes, 6 % more does not
        self.assertEqual(status, 0, said)
        status, said = self.run_gate(rows(106))
        self.assertEqual(status, 1, said)
        self.assertIn("TOO MANY", said)
        self.assertRegex(said, r"allows \(3 %\): op softmax\. .*--accept")
        self.assertRegex(said, r"op softmax .* \+[56]\.\d\d%")
        # Accepted, it is the baseline, and the old count is far below it.
        self.assertEqual(self.run_gate(rows(106), "--accept")[0], 0)
        status, said = self.run_gate(rows(100))
        self.assertEqual(status, 0, said)
        self.assertIn("fewer: --accept keeps that", said)

    def test_missing_pass(self):
        step = ["step", "lenet5", "--batch-size", "2"]
        self.assertEqual(self.run_gate({"train lenet5": step}, "--accept")[0], 0)
        first = json.loads(self.baseline.read_text())["counts"]["train lenet5"]
        self.assertAlmostEqual(gate.count(step, BUILD) / first, 1, delta=1e-3)
        status, said = self.run_gate({"train lenet5": [*step, "--skip-pass", "fuse-unpooling"]})
        self.assertEqual(status, 1, said)
        self.assertIn("TOO MANY", said)

    def test_toolchain(self):
        counts = {"op softmax": 100}
        here = gate.toolchain(BUILD)
        self.assertNotIn("none", here["compiler"])
        self.baseline.write_text(json.dumps({"toolchain": {**here, "compiler": "cc 1.0"}, "counts": counts}))
        status, said = self.run_gate({"op softmax": ["op", "softmax f32[1, 1]"]})
        self.assertEqual(status, gate.SKIPPED)
        self.assertIn(f"compiler is '{here['compiler']}', the baseline's 'cc 1.0'", said)

    def test_comparison(self):
        lines, bad = gate.compare({"same": 1030, "more": 1031, "new": 5}, {"same": 1000, "more": 1000})
        self.assertEqual(bad, ["more", "new"])
        self.assertIn("NO BASELINE", lines[2])
        with self.assertRaisesRegex(gate.NotHere, "no AVX2"):
            (self.folder / "cpuinfo").write_text("flags\t\t: fpu sse2 avx\n")
            gate.require_avx2(self.folder / "cpuinfo")

    def test_errors(self):
        with self.assertRaisesRegex((gate.Failure, gate.NotHere), "no model|softmaxx|valgrind is not"):
            gate.count(["op", "softmaxx f32[1]"], BUILD)
        with self.assertRaisesRegex(gate.Failure, "is not there; build it"):
            gate.count(["op", "softmax f32[1]"], self.folder)
        status, said = self.run_gate({"op softmax": ["op", "softmax f32[1, 1]"]})
        self.assertEqual(status, 1)
        self.assertIn("make it with benchmarks/gate.py --accept", said)

    def test_committed_baseline(self):
        """Every program has a count, and no count is of a program that is gone."""
        self.assertEqual(sorted(json.loads(gate.BASELINE.read_text())["counts"]), sorted(gate.PROGRAMS))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        BUILD = pathlib.Path(sys.argv.pop(1)).absolute()
    unittest.main()
