"""tools/verified.py on a small tree: what it claims, and that it refuses a claim that no passing test shows."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import test_results  # noqa: E402
import verified  # noqa: E402

LEVELS = [{"id": i, "title": t, "what": t} for i, t in
          (("compiled", "compiled"), ("ptx", "executed as PTX"), ("simulated", "simulated"), ("gpu", "on a GPU"))]
SIMULATED, ON_GPU = "test_cuda_sim: Softmax.*", "cuda_gpu_kernels: Softmax.*"


def case(name, **more):
    return {"name": name, "status": "RUN", "result": "COMPLETED", **more}


class Verified(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.root = self.folder / "tree"
        for file in ("cuda/kernels/softmax.cu", "cuda/ops/softmax.cpp"):
            path = self.root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (self.root / "cuda/ops/families.def").write_text("// one line each\nINGOT_CUDA_FAMILY(softmax)\n")
        self.feature = {"name": "softmax", "kernels": ["softmax"], "ops": ["softmax"],
                        "evidence": {"simulated": [SIMULATED], "gpu": [ON_GPU]}}
        self.records = {"gpu": [], "tests": {"commit": "abc", "modified": False, "date": "2030-01-02T00:00:00Z",
                                             "machine": "x86_64", "versions": {}, "evidence": {
            "cuda_ptx_softmax.cu_sm_*": {"passed": 3, "failed": 0, "skipped": 0},
            SIMULATED: {"passed": 9, "failed": 0, "skipped": 1}}}}

    def call(self, *arguments, status=0):
        (self.folder / "table.json").write_text(json.dumps(
            {"levels": LEVELS, "groups": [{"title": "Kernels", "features": [self.feature]}]}))
        (self.folder / "records.json").write_text(json.dumps(self.records))
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            got = verified.main([*map(str, arguments), "--table", str(self.folder / "table.json"), "--records",
                                 str(self.folder / "records.json"), "--page", str(self.folder / "page.md"), "--root",
                                 str(self.root)])
        self.assertEqual(got, status, errors.getvalue())
        return errors.getvalue()

    def page(self):
        self.call("--write")
        return (self.folder / "page.md").read_text()

    def gpu_record(self, **more):
        return {"feature": "softmax", "level": "gpu", "test": ON_GPU, "outcome": "passed", "commit": "abc", "modified": False,
                "date": "2030-01-03T00:00:00Z", "gpu": "Test GPU", "driver": "1", **more}

    def test_page(self):
        text = self.page()
        self.assertIn("| softmax | 3 | 9 (1 skipped) |  |", text)
        self.assertIn("Nothing has run on a GPU so far", text)
        self.call("--check")

    def test_stale_page(self):
        self.assertIn("run tools/verified.py --write", self.call("--check", status=1))
        self.page()
        (self.folder / "page.md").write_text(self.page().replace("| 3 |", "| 4 |"))
        self.assertIn("is not what the table and the records make", self.call("--check", status=1))

    def test_claims_without_a_passing_test(self):
        known = self.records["tests"]["evidence"]
        for counts, said in (({"passed": 8, "failed": 1, "skipped": 0}, "failed (1 of it)"),
                             ({"passed": 0, "failed": 0, "skipped": 4}, "was skipped"), (None, "is in no record")):
            known.pop(SIMULATED)
            if counts:
                known[SIMULATED] = counts
            for verb in ("--write", "--check"):
                self.assertIn(f"rests on the test '{SIMULATED}', which {said}", self.call(verb, status=1))
            self.assertFalse((self.folder / "page.md").exists())
            known[SIMULATED] = {}
        self.feature["evidence"]["ptx"] = ["test_cuda_ptx: Softmax.*"]
        self.assertIn("level 'ptx' rests on the test 'test_cuda_ptx: Softmax.*'", self.call("--write", status=1))

    def test_records_of_a_changed_tree_are_refused(self):
        self.records["tests"]["modified"] = True
        self.assertIn("commit first, then record", self.call("--write", status=1))

    def test_complete(self):
        (self.root / "cuda/kernels/new.cu").touch()
        (self.root / "cuda/libs").mkdir()
        (self.root / "cuda/libs/cudnn.h").touch()
        errors = self.call("--write", status=1)
        self.assertIn("cuda/kernels/new.cu belongs to no feature", errors)
        self.assertIn("cuda/libs/cudnn.h belongs to no feature", errors)
        (self.root / "cuda/kernels/new.cu").unlink()
        self.feature["covers"] = ["cuda/libs/*.h", "cuda/kernels/gone.cu"]
        errors = self.call("--write", status=1)
        self.assertIn("softmax covers cuda/kernels/gone.cu, and there is no such file", errors)
        self.assertNotIn("cudnn", errors)

    def test_gpu_claims(self):
        good = self.gpu_record()
        self.records["gpu"] = [good]
        self.assertIn("Test GPU, abc, 2030-01-03", self.page())
        for bad in ({"outcome": "unfinished"}, {"outcome": "skipped"}, {"modified": True}, {"test": "another"},
                    {"feature": "another"}):
            self.records["gpu"] = [self.gpu_record(**bad)]
            self.assertNotIn("Test GPU, abc", self.page(), bad)
        self.records["gpu"] = [self.gpu_record(outcome="failed")]
        text = self.page()
        self.assertNotIn("Test GPU, abc", text)
        self.assertIn("failed on Test GPU", text)
        self.assertIn("## Failed on a GPU", text)
        self.feature["evidence"]["gpu"].append("test_cuda_gpu")  # one of two is not enough, nor two of two commits
        for second in ([], [self.gpu_record(test="test_cuda_gpu", commit="other")]):
            self.records["gpu"] = [good, *second]
            self.assertNotIn("Test GPU, abc", self.page())
        self.records["gpu"] = [good, self.gpu_record(test="test_cuda_gpu")]
        self.assertIn("Test GPU, abc", self.page())

    def test_add_keeps_the_newest(self):
        new = self.folder / "new.json"
        for date, outcome, kept in (("2030-02-01", "failed", "failed"), ("2030-01-01", "passed", "failed"),
                                    ("2030-03-01", "passed", "passed"), ("2030-04-01", "skipped", "passed"),
                                    ("2030-05-01", "unfinished", "passed")):
            new.write_text(json.dumps([self.gpu_record(date=date, outcome=outcome)]))
            self.call("--add", new)
            self.records = json.loads((self.folder / "records.json").read_text())
            self.assertEqual([r["outcome"] for r in self.records["gpu"]], [kept])
        new.write_text(json.dumps([self.gpu_record(modified=True)]))
        self.assertIn("recorded with changes that are in no commit", self.call("--add", new, status=1))
        new.write_text(json.dumps([{"feature": "softmax"}]))
        self.assertIn("a GPU record lacks commit, date", self.call("--add", new, status=1))

    def test_record(self):
        build = self.folder / "build"
        (build / "test_results").mkdir(parents=True)
        (build / "CMakeCache.txt").write_text("")
        (build / "tested.json").write_text('{"commit": "abc", "modified": false, "date": "2030-01-02T00:00:00Z"}')
        (build / "junit.xml").write_text(
            '<testsuite><testcase name="cuda_ptx_softmax.cu_sm_80" status="run"/><testcase name="cuda_ptx_softmax.cu_sm_90" '
            'status="run"/><testcase name="test_cuda_sim" status="fail"><failure/></testcase></testsuite>')
        self.assertIn("failed (1 of it)", self.call("--record", build, status=1))  # it crashed: no file
        suites = {"testsuites": [{"name": "Softmax", "testsuite": [
            case("Rows"), case("Columns"), case("Later", result="SKIPPED"), case("Elsewhere", status="NOTRUN")]},
            {"name": "Matmul", "testsuite": [case("Square", failures=[{}])]}]}
        (build / "test_results" / "test_cuda_sim.json").write_text(json.dumps(suites))
        self.call("--record", build)
        tests = json.loads((self.folder / "records.json").read_text())["tests"]
        self.assertEqual((tests["commit"], tests["modified"]), ("abc", False))
        evidence = tests["evidence"]
        self.assertEqual(evidence[SIMULATED], {"passed": 2, "failed": 0, "skipped": 1})
        self.assertEqual(evidence["cuda_ptx_softmax.cu_sm_*"], {"passed": 2, "failed": 0, "skipped": 0})
        # Other tests of the same commit add to that; those of another begin anew.
        self.records = json.loads((self.folder / "records.json").read_text())
        (build / "junit.xml").write_text('<testsuite><testcase name="cuda_ptx_softmax.cu_sm_80" status="run"/></testsuite>')
        self.call("--record", build)
        evidence = json.loads((self.folder / "records.json").read_text())["tests"]["evidence"]
        self.assertEqual([c["passed"] for _, c in sorted(evidence.items())], [1, 2])
        (build / "tested.json").write_text('{"commit": "def", "modified": false, "date": "2030-01-03T00:00:00Z"}')
        self.assertIn("is in no record", self.call("--record", build, status=1))

    def test_names(self):
        build = self.folder / "build"
        build.mkdir()
        program = build / "prog"
        program.write_text("#!/bin/sh\nprintf 'Softmax.\\n  Rows\\nMatmul.\\n  Square  # GetParam() = 4\\n'\n")
        program.chmod(0o755)
        tests = [f'add_test("test_cuda_sim" "{program}" "--gtest_filter=-*Square")', f'add_test("cuda_gpu_kernels" "{program}")',
                 'add_test("cuda_kernels_compile_to_ptx" "cmake" "-E" "echo" "skipped: no nvcc")']
        (build / "CTestTestfile.cmake").write_text("\n".join(tests))
        self.call("--names", build)  # the level that cannot be looked at here is not
        self.feature["evidence"]["simulated"] = ["test_cuda_cudnn: Cudnn.*"]
        (build / "CTestTestfile.cmake").write_text("\n".join(
            [*tests, 'add_test("test_cuda_cudnn" "cmake" "-E" "echo" "skipped: no cudnn.h")']))
        self.call("--names", build)  # nor is a program of which only the reason of its absence is here
        (build / "CTestTestfile.cmake").write_text("\n".join(tests))
        self.assertIn("there is no test 'test_cuda_cudnn'", self.call("--names", build, status=1))
        self.feature["evidence"]["simulated"] = ["test_cuda_sim: Softmax.*:Matmul.Square", "test_gone"]
        self.feature["evidence"]["gpu"] = ["cuda_gpu_kernels: Matmul.Square:Renamed.*-Softmax.*", "sanitizer.memcheck.*"]
        errors = self.call("--names", build, status=1)
        self.assertIn("'test_cuda_sim' runs no test 'Matmul.Square'", errors)  # the test's own filter leaves it out
        self.assertIn("there is no test 'test_gone'", errors)
        self.assertIn("'cuda_gpu_kernels' runs no test 'Renamed.*'", errors)
        self.assertEqual(len(errors.splitlines()), 3, errors)
        (build / "CTestTestfile.cmake").write_text("\n".join(tests[:2]))
        self.assertIn("there is no test 'cuda_ptx_softmax.cu_sm_*'", self.call("--names", build, status=1))

    def test_table(self):
        self.feature["evidence"] = {"simulatd": ["x"]}
        self.assertIn("there is no level simulatd", self.call("--write", status=1))
        self.feature = {"name": "softmax"}
        self.assertIn("listed without a test", self.call("--write", status=1))

    def test_filters(self):
        for chosen, name, selected in (("Softmax.*", "Softmax.Rows", True), ("Softmax.*-*.Rows", "Softmax.Rows", False),
                                       ("-*.Rows", "Matmul.Square", True), ("A.*:B.?", "B.x", True), ("A.*:B.?", "B.xy", False),
                                       ("*/softmax_*", "All/Lowerings.EqualTheReference/softmax_f32", True)):
            self.assertEqual(test_results.gtest_selects(chosen, name), selected, (chosen, name))


if __name__ == "__main__":
    unittest.main()
