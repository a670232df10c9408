"""tools/gpu_check.sh without a GPU: what it says and leaves, what it takes up again, and with which status it ends. Where a
GPU is needed, small programs stand in for nvidia-smi, compute-sanitizer and the tests; they write down when they run."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import verified  # noqa: E402

SMI = 'echo "Test GPU, 1.2, 9.0, 80 GiB"'
TEST = """
name=$(basename "$0")
case "$*" in *list_tests*) printf 'Softmax.\\n  Rows\\nMatmul.  # TypeParam\\n  Square\\n'; exit 0 ;; esac
echo "$name" >>{ran}
if [ -n "$GTEST_OUTPUT" ]; then cp {folder}/cases.json "${{GTEST_OUTPUT#json:}}"; fi
. {folder}/$name.sh
"""
CASES = {"testsuites": [{"name": "All/CudaBackendTrainings", "testsuite": [
    {"name": "EqualTheCpu/Mlp", "status": "RUN", "result": "COMPLETED"}]}]}


class GpuCheck(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.root = self.folder / "tree"
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.root.mkdir()
        self.ran = self.folder / "ran"
        self.environment = {"PATH": str(self.bin), "HOME": str(self.folder)}
        for tool in ("bash", "sh", "dirname", "basename", "cp", "cat", "sleep", "xz", "git"):
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)
        self.script(self.bin / "python3", f'exec {sys.executable} "$@"')

    def script(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def check(self, *arguments, status):
        done = subprocess.run(["bash", ROOT / "tools" / "gpu_check.sh", "--root", self.root, *arguments], capture_output=True,
                              text=True, env=self.environment, timeout=100)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def portable(self, tests, commit="c0ffee0000"):
        """build/gpu with tests {name: what the shell does}, as --prepare leaves it."""
        stage = self.folder / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        (self.folder / "cases.json").write_text(json.dumps(CASES))
        listed = []
        for name, does in tests.items():
            self.script(stage / "bin" / name, TEST.format(ran=self.ran, folder=self.folder))
            self.does(name, does)
            listed.append({"name": name, "command": [f"bin/{name}", "--gtest_filter=-All/*"], "timeout": 60, "environment": {}})
        folder = self.root / "build" / "gpu"
        folder.mkdir(parents=True, exist_ok=True)
        with tarfile.open(folder / "ingot-gpu.tar.xz", "w:xz") as archive:
            archive.add(stage / "bin", "bin")
        (folder / "manifest.json").write_text(json.dumps({"commit": commit, "modified": False, "date": "2030-01-01T00:00:00Z",
                                                          "bytes": 1, "tests": listed}))

    def does(self, name, text):
        (self.folder / f"{name}.sh").write_text(text)

    def runs(self):
        """Which tests ran since the last call."""
        names = sorted(self.ran.read_text().split()) if self.ran.exists() else []
        self.ran.unlink(missing_ok=True)
        return names

    def with_gpu(self):
        self.script(self.bin / "nvidia-smi", SMI)

    def state(self):
        return json.loads((self.root / "build" / "gpu_check" / "state.json").read_text())["steps"]

    def test_arguments(self):
        self.assertIn("there is no part 'tests'; there are probe, build", self.check("tests", status=2))
        self.assertIn("unrecognized arguments: --reset", self.check("--reset", status=2))
        self.assertIn("must be positive", self.check("--minutes", "0", status=2))
        self.assertIn("80;90, not 'hopper'", self.check("--architectures", "hopper", status=2))
        self.assertIn("stands alone", self.check("--prepare", "test", status=2))
        self.assertIn("77 there is no GPU", self.check("--help", status=0))

    def test_dry_run_does_nothing(self):
        text = self.check("--dry-run", status=0)
        for part in ("test", "sanitizer", "bench"):
            self.assertIn(f"{part}: would be skipped: no GPU (nvidia-smi is not on PATH", text)
        self.assertIn("would run what `ctest -L gpu` names", text)
        self.assertIn("resnet50 train", text)
        self.assertIn("no GPU: nvidia-smi", text)
        self.assertEqual(list(self.root.iterdir()), [])
        self.with_gpu()
        self.portable({"a": "exit 0"})
        text = self.check("--dry-run", status=0)
        self.assertIn("would unpack build/gpu", text)
        self.assertIn("Test GPU, sm_90", text)
        self.assertEqual(self.runs(), [])
        self.assertIn("sm_80, sm_90", self.check("--prepare", "--dry-run", "--architectures", "80;90", status=0))

    def test_without_a_gpu(self):
        self.portable({"a": "exit 0"})
        text = self.check(status=77)
        for part in ("test", "sanitizer", "bench"):
            self.assertIn(f"{part}: skipped: no GPU", text)
        self.assertIn("report: no GPU", text)
        self.assertEqual(self.runs(), [])
        self.assertFalse((self.root / "build" / "gpu_check" / "state.json").exists())

    def test_is_taken_up_again(self):
        self.with_gpu()
        self.portable({"good": "exit 0", "bad": "echo wrong number; exit 1", "absent": "exit 77"})
        text = self.check("test", status=1)
        self.assertEqual(self.runs(), ["absent", "bad", "good"])
        self.assertIn("bad: failed", text)
        self.assertIn("wrong number", text)
        self.assertEqual({n: s["outcome"] for n, s in self.state().items()},
                         {"good": "passed", "bad": "failed", "absent": "skipped"})
        self.does("bad", "exit 0")
        self.does("absent", "exit 0")
        self.assertIn("1 of 3 steps passed before", self.check("test", status=0))
        self.assertEqual(self.runs(), ["absent", "bad"])
        self.assertIn("nothing left to do", self.check("test", status=0))
        self.assertEqual(self.runs(), [])
        self.check("test", "--again", status=0)
        self.assertEqual(self.runs(), ["absent", "bad", "good"])
        self.portable({"good": "exit 0"}, commit="another000")  # what passed for another commit proves nothing for this one
        self.check("test", status=0)
        self.assertEqual(self.runs(), ["good"])

    def test_out_of_time(self):
        self.with_gpu()
        self.portable({"quick": "exit 0", "slow": "sleep 60; exit 0"})
        text = self.check("test", "--minutes", "0.05", "--jobs", "2", status=4)
        self.assertIn("slow: stopped", text)
        self.assertEqual(set(self.state()), {"quick"})
        self.does("slow", "exit 0")
        self.runs()
        self.check("test", status=0)
        self.assertEqual(self.runs(), ["slow"])

    def test_what_is_missing_is_named(self):
        self.with_gpu()
        text = self.check("build", "test", status=3)
        self.assertIn("there is no build/gpu, and to build here", text)
        self.assertIn("cmake", text)
        self.assertIn("--prepare elsewhere", text)

    def test_a_build_of_another_commit_is_refused(self):
        self.with_gpu()
        for command in (["init", "-q"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "x"]):
            subprocess.run(["git", *command], cwd=self.root, check=True)
        self.portable({"good": "exit 0"})
        self.assertIn("build/gpu was made from commit c0ffee0000", self.check("test", status=3))
        self.assertEqual(self.runs(), [])
        head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], cwd=self.root, capture_output=True, text=True).stdout
        self.portable({"good": "exit 0"}, commit=head.strip())
        self.check("test", status=0)

    def test_records(self):
        self.with_gpu()
        self.portable({"cuda_gpu_training": "exit 0"})
        self.environment["OUT"] = str(self.folder / "out")
        self.check("probe", "test", "report", status=0)
        self.assertEqual({p.name for p in (self.folder / "out").iterdir()},
                         {"state.json", "records.json", "probe.json", "logs.tar.gz"})
        record, = json.loads((self.folder / "out" / "records.json").read_text())
        self.assertEqual((record["feature"], record["outcome"], record["commit"], record["gpu"], record["driver"]),
                         ("ten training steps", "passed", "c0ffee0000", "Test GPU", "1.2"))
        records = verified.add_gpu({"tests": None, "gpu": []}, [record])
        _, groups = verified.load_table(verified.TABLE)
        feature, = [f for f in verified.features_of(groups) if f["name"] == "ten training steps"]
        self.assertEqual(verified.gpu_claim(feature, records)[1], ["Test GPU"])

    def test_sanitizer(self):
        self.with_gpu()
        self.script(self.bin / "compute-sanitizer", f'echo "$2 $7" >>{self.folder}/sanitized; [ "$2 $7" != "racecheck '
                    '--gtest_filter=Matmul.*-All/*" ] || exit 86')
        self.portable({"cuda_gpu_kernels": "exit 0"})
        text = self.check("sanitizer", status=1)
        self.assertIn("sanitizer.racecheck.matmul: failed", text)
        self.assertIn("7 passed", text)
        lines = sorted(li for li in (self.folder / "sanitized").read_text().splitlines() if "--gtest_filter" in li)
        self.assertEqual(len(lines), 8)
        self.assertIn("memcheck --gtest_filter=Softmax.*-All/*", lines)
        self.check("report", status=0)
        records = json.loads((self.root / "build" / "gpu_check" / "records.json").read_text())
        outcomes = {r["test"]: r["outcome"] for r in records}
        self.assertEqual(outcomes["sanitizer.memcheck.*"], "passed")
        self.assertEqual(outcomes["sanitizer.racecheck.*"], "failed")
        state = self.root / "build" / "gpu_check" / "state.json"  # as a part that ran out of time leaves it
        steps = {n: s for n, s in self.state().items() if n != "sanitizer.synccheck.softmax"}
        state.write_text(json.dumps({"steps": steps}))
        self.check("report", status=0)
        records = json.loads((self.root / "build" / "gpu_check" / "records.json").read_text())
        self.assertEqual({r["outcome"] for r in records if r["test"] == "sanitizer.synccheck.*"}, {"unfinished"})


if __name__ == "__main__":
    unittest.main()
