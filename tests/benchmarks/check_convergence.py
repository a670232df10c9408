"""benchmarks/convergence.py with a small program in the place of ingot: what it trains, what it writes down, the table of
it, and that a page which disagrees with the results is found."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import convergence  # noqa: E402

INGOT = """
import json, sys
if sys.argv[1] == "info":
    print(json.dumps({"version": "1.2.3"}))
    sys.exit()
assert sys.argv[1] == "train" and "--json" in sys.argv, sys.argv
after = lambda name: sys.argv[sys.argv.index(name) + 1]
assert (after("--data"), after("--epochs"), after("--threads")) == ("toys", "2", "1"), sys.argv
lost = {"f32": 0.0, "bf16": 0.001, "f16": float(after("--seed")) / 1000}[after("--dtype")]
result = {"test_accuracy": 0.9 + float(after("--seed")) / 100 - lost, "test_loss": 0.5, "steps": 20}
if after("--dtype") == "f16":
    result.update(loss_scale=32768.0, skipped_steps=float(after("--seed")))
print(json.dumps(result))
"""


class Convergence(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.results = self.folder / "run.json"

    def call(self, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = convergence.main([str(a) for a in arguments])
        return status, out.getvalue(), err.getvalue()

    def train(self, *arguments, program=INGOT):
        ingot = self.folder / "ingot"
        ingot.write_text(f"#!{sys.executable}\n{program}")
        ingot.chmod(0o755)
        return self.call("--run", "--ingot", ingot, "--output", self.results, "--data", "toys", "--epochs", 2, "--threads", 1,
                         "--models", "lenet5", *arguments)

    def test_run(self):
        status, out, err = self.train()
        self.assertEqual(status, 0, err)
        run = json.loads(self.results.read_text())
        self.assertEqual((len(run["runs"]), run["version"], run["epochs"]), (9, "1.2.3", 2))
        self.assertIn("| lenet5 | f32 | 92.00 | 91.00 to 93.00 |  |  |", out)
        self.assertIn("| lenet5 | bf16 | 91.90 | 90.90 to 92.90 | -0.10 |  |", out)
        self.assertIn("| lenet5 | f16 | 91.80 | 90.90 to 92.70 | -0.20 | 1, 2, 3 |", out)
        self.assertIn("largest difference of two means is 0.20 points; the goal, at most 0.4, is met", out)
        for r in run["runs"]:
            if r["dtype"] == "bf16":
                r["test_accuracy"] += 0.01
        self.assertIn("0.90 points; the goal, at most 0.4, is missed", convergence.table(run))

    def test_page(self):
        self.train()
        page = self.folder / "page.md"
        page.write_text(f"before\n{convergence.MARK_BEGIN}\n{convergence.MARK_END}\nafter\n")
        check = ("--page", page, "--check", self.results)
        status, _, err = self.call(*check)
        self.assertEqual(status, 1)
        self.assertIn("page.md does not hold the table", err)
        for _ in range(2):  # the second time changes nothing
            self.assertEqual(self.call("--page", page, "--docs", self.results)[0], 0)
            text = page.read_text()
            self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
            self.assertEqual(text.count("| lenet5 | f16 |"), 1)
            self.assertEqual(self.call(*check)[0], 0)
        page.write_text(text.replace("91.80", "91.81"))
        self.assertEqual(self.call(*check)[0], 1)

    def test_failures(self):
        status, _, err = self.train(program=INGOT.replace("print(json.dumps(result))",
                                                          "print(json.dumps(result)) if after('--seed') < '3' else sys.exit(4)"))
        self.assertEqual(status, 1)
        self.assertIn("ended with 4", err)
        self.assertEqual(len(json.loads(self.results.read_text())["runs"]), 6, "what was done is kept")
        self.assertIn("holds no whole run", self.call("--show", self.results)[2])
        self.assertIn("is not there; build it", self.call("--run", "--ingot", "/nonexistent/ingot")[2])
        with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as said:
            convergence.parse([])
        self.assertIn("say what to do", said.getvalue())


if __name__ == "__main__":
    unittest.main()
