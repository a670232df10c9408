#!/usr/bin/env python3
"""Checks Ingot on a machine with a GPU, in parts of at most ten minutes that can be taken up again.

    tools/gpu_check.sh                     all parts: probe build test sanitizer bench report
    tools/gpu_check.sh test report         these parts
    tools/gpu_check.sh --dry-run           what would be done; does nothing
    tools/gpu_check.sh --prepare           on a machine without a GPU: build/gpu, a build to carry to one

  probe      which GPU, compilers, libraries and tools there are, and what is left out for want of others
  build      unpacks build/gpu if that was carried here, else builds for this GPU
  test       what `ctest -L gpu` names: kernels, every OpCase alone and as a program, ten training steps against the CPU
  sanitizer  compute-sanitizer's memcheck, racecheck, synccheck and initcheck over the kernels' tests
  bench      `ingot bench` beside PyTorch (benchmarks/compare.py --gpu): LeNet-5, ResNet-20, -18, -50, training and inference
  report     records for docs/verified.md: tools/verified.py --add build/gpu_check/records.json

What was done is kept in build/gpu_check/state.json after each step. A step that passed for this commit, with its changes, on
this GPU is not repeated unless --again. Results are also copied to $OUT where that is set; to go on elsewhere, bring
state.json back into build/gpu_check. No setting of the GPU is changed.

Exit status: 0 all that was asked for passed, now or before; 1 something failed; 2 wrong arguments; 3 a part was left out
because something is missing, which is named; 4 a part ran out of time: run again to go on; 77 there is no GPU, so the parts
that need one were skipped.
"""

import argparse
import concurrent.futures
import datetime
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time

import gpu_machine
import gpu_portable
import run_tests
import test_results
import verified

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("probe", "build", "test", "sanitizer", "bench", "report")
NEEDS_GPU = ("test", "sanitizer", "bench")
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
BENCHES = [(model, mode) for model in ("lenet5", "resnet20", "resnet18", "resnet50") for mode in ("train", "infer")]
FAILED, LEFT_OUT, OUT_OF_TIME, NO_GPU = 1, 3, 4, 77
SKIPPED_BY_TEST = 77  # what a test of ours exits with where it cannot run
SANITIZER_FOUND = 86  # what compute-sanitizer is told to exit with when it found something


def say(text):
    print(f"gpu_check: {text}", flush=True)


# ---------------------------------------------------------------- what this run is about

def tree_key(root, portable):
    """Commit of the tree and a mark of its changes; without git, the commit that the carried build was made from."""
    facts = run_tests.provenance(root)
    if not facts["commit"]:
        made = {k: portable[k] for k in ("commit", "modified", "changes") if k in portable} if portable else {}
        return {**facts, "commit": "unknown", **made}
    if facts["modified"]:
        diff = subprocess.run(["git", "diff", "HEAD"], cwd=root, capture_output=True)
        facts["changes"] = hashlib.sha256(diff.stdout).hexdigest()[:10]
    return facts


class State:
    """state.json: what each step did, for which commit and GPU. Saved after each step, by a rename."""

    def __init__(self, folder, key):
        self.path, self.key, self.lock = folder / "state.json", key, threading.Lock()
        self.steps = json.loads(self.path.read_text())["steps"] if self.path.exists() else {}

    def of(self, name):
        """The step as it was done for this very commit and GPU, or None."""
        step = self.steps.get(name)
        return step if step and all(step.get(k) == v for k, v in self.key.items()) else None

    def passed(self, name):
        step = self.of(name)
        return step is not None and step["outcome"] == "passed"

    def add(self, name, **step):
        with self.lock:
            self.steps[name] = {**self.key, **step}
            temporary = self.path.with_suffix(".new")
            temporary.write_text(json.dumps({"steps": self.steps}, indent=1, sort_keys=True) + "\n")
            temporary.replace(self.path)

    def results(self, names):
        """As test_results.tally() wants them."""
        return {n: {"outcome": s["outcome"], "cases": s.get("cases")} for n in names if (s := self.of(n))}


class Check:
    def __init__(self, args):
        self.args, self.folder = args, args.folder
        self.portable = gpu_portable.read_manifest(args.root / "build" / "gpu")
        self.facts = tree_key(args.root, self.portable)
        self.found = gpu_machine.probe(args.root, look_for_torch="bench" in args.parts and not args.dry_run)
        gpu = self.found["gpu"] or {}
        self.key = {"commit": self.facts["commit"], "changes": self.facts.get("changes", ""), "gpu": gpu.get("name", "none"),
                    "driver": gpu.get("driver", "none")}
        self.codes = set()
        self.state = None  # opened when something is done

    def open(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        self.state = State(self.folder, self.key)

    def left_out(self, part, text):
        say(f"{part}: left out: {text}")
        self.codes.add(LEFT_OUT)

    # ------------------------------------------------------------ which programs

    def source(self):
        """("build", folder), ("portable", folder) or ("none", why)."""
        if self.args.build_dir:
            return "build", self.args.build_dir
        if self.portable:
            made = self.portable
            same = made["commit"] == self.facts["commit"] and made.get("changes", "") == self.facts.get("changes", "")
            if not same:
                return "none", (f"build/gpu was made from commit {made['commit']}"
                                f"{' with changes' if made.get('modified') else ''} and this tree is another; run "
                                "tools/gpu_check.sh --prepare again, or remove build/gpu to build here")
            return "portable", self.folder / "portable"
        missing = [n for n in ("cmake", "build tool", "c++", "nvcc", "GoogleTest", "oneDNN") if n in self.found["why"]]
        if missing:
            return "none", (f"there is no build/gpu, and to build here {', '.join(missing)} is missing; run "
                            "tools/gpu_check.sh --prepare elsewhere and carry build/gpu here")
        return "build", self.folder / "build"

    def tests(self):
        """The tests with their programs; raises where there is nothing built."""
        kind, where = self.source()
        if kind == "none":
            raise gpu_portable.Failure(where)
        if kind == "portable":
            return gpu_portable.unpack(self.args.root / "build" / "gpu", where)
        if not (where / "CTestTestfile.cmake").exists():
            raise gpu_portable.Failure(f"{where} holds no build; run the part build first")
        return gpu_portable.ctest_tests(where)

    def ingot(self, tests):
        return pathlib.Path(tests[0]["command"][0]).parent / "ingot"

    def kernel_tests(self, tests):
        """The test whose suites the sanitizer goes through one by one, and these suites."""
        test = next((t for t in tests if t["name"] == "cuda_gpu_kernels"), None)
        if test is None:
            raise gpu_portable.Failure("this build has no test cuda_gpu_kernels; it was made without the CUDA backend")
        listed = subprocess.run([*test["command"], "--gtest_list_tests"], capture_output=True, text=True, timeout=60,
                                env={**os.environ, **test["environment"]})
        if listed.returncode != 0:
            raise gpu_portable.Failure(f"{test['command'][0]} does not start: {(listed.stderr or listed.stdout).strip()}")
        return test, [line.split("#")[0].strip() for line in listed.stdout.splitlines() if line and not line.startswith(" ")
                      and line.split("#")[0].strip().endswith(".")]

    # ------------------------------------------------------------ steps

    def plan(self, part):
        """Steps of a part: {"name", "command", "environment", "timeout", ...}. Uses what the part build left."""
        tests = self.tests()
        if part == "test":
            return [{**t, "gtest": t["name"] != "test_cuda_gpu"} for t in tests]
        if part == "sanitizer":
            tool = self.found["programs"]["compute-sanitizer"]
            test, suites = self.kernel_tests(tests)
            chosen = next(a for a in test["command"] if a.startswith("--gtest_filter=")).split("=", 1)[1]
            without = chosen.partition("-")[2]
            return [{"name": f"sanitizer.{check}.{suite[:-1].lower()}", "environment": test["environment"], "timeout": 600,
                     "command": [tool, "--tool", check, "--error-exitcode", str(SANITIZER_FOUND), test["command"][0],
                                 "--gtest_brief=1", f"--gtest_filter={suite}*-{without}"]}
                    for check in SANITIZERS for suite in suites]
        return [self.bench(model, mode, tests) for model, mode in BENCHES]

    def bench(self, model, mode, tests):
        python = self.found["programs"].get("torch")
        peers = ["--python", python, "--rounds", "3", "--seconds", "1"] if python else ["--variants"]
        output = self.folder / "bench" / f"{model}.{mode}.json"
        return {"name": f"bench.{model}.{mode}", "timeout": 600, "environment": {**tests[0]["environment"]}, "alone": not python,
                "output": output,
                "command": [sys.executable, str(ROOT / "benchmarks" / "compare.py"), "--gpu", "--models", model, "--modes", mode,
                            "--ingot", str(self.ingot(tests)), "--output", str(output), "--threads",
                            str(min(4, len(os.sched_getaffinity(0)))), *peers]}

    def run_steps(self, part, steps, jobs):
        deadline = time.monotonic() + 60 * self.args.minutes
        todo = [s for s in steps if self.args.again or not self.state.passed(s["name"])]
        if len(todo) < len(steps):
            say(f"{part}: {len(steps) - len(todo)} of {len(steps)} steps passed before for this commit")
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            outcomes = list(pool.map(lambda s: self.run_step(part, s, deadline), todo))
        counts = {o: outcomes.count(o) for o in sorted(set(outcomes))}
        say(f"{part}: " + (", ".join(f"{n} {o}" for o, n in counts.items()) or "nothing left to do"))
        if "failed" in outcomes:
            self.codes.add(FAILED)
        if "unfinished" in outcomes:
            self.codes.add(OUT_OF_TIME)
        if "skipped" in outcomes:
            self.codes.add(LEFT_OUT)

    def run_step(self, part, step, deadline):
        name, start = step["name"], time.monotonic()
        left = deadline - start
        if left < 2:
            return "unfinished"
        log = self.folder / "logs" / f"{name}.log"
        cases = self.folder / "test_results" / f"{name}.json"
        cases.unlink(missing_ok=True)
        environment = {**os.environ, "INGOT_CACHE_DIR": str(self.folder / "kernels"), **step["environment"]}
        if step.get("gtest"):
            environment["GTEST_OUTPUT"] = f"json:{cases}"
        status = run_logged(step["command"], environment, log, min(left, step["timeout"]))
        seconds = time.monotonic() - start
        if status is None and seconds < step["timeout"]:
            say(f"  {name}: stopped after {seconds:.0f} s, the part's time is over")
            return "unfinished"
        outcome = {0: "passed", SKIPPED_BY_TEST: "skipped"}.get(status, "failed")
        if outcome == "passed" and step.get("alone"):
            outcome = "skipped"  # the figures are kept, but there was nothing to compare with
        message = "" if outcome == "passed" else last_line(log)
        self.state.add(name, part=part, outcome=outcome, seconds=round(seconds, 1), date=now(), message=message,
                       versions=self.versions(), **({"cases": test_results.read_gtest(cases)} if cases.exists() else {}))
        say(f"  {name}: {outcome}, {seconds:.0f} s" + (f" ({message}; see {log})" if message else ""))
        return outcome

    def versions(self):
        return {k: v.split(" (")[0] for k, v in self.found["what"].items() if k in ("nvcc", "torch", "compute-sanitizer")}

    # ------------------------------------------------------------ parts

    def do(self, part):
        if part in NEEDS_GPU and self.found["gpu"] is None:
            say(f"{part}: skipped: no GPU ({self.found['no_gpu']})")
            self.codes.add(NO_GPU)
            return
        try:
            getattr(self, f"do_{part}")()
        except (gpu_portable.Failure, subprocess.TimeoutExpired) as e:
            if part == "build" and isinstance(e, subprocess.TimeoutExpired):
                say(f"build: not done after {self.args.minutes:g} minutes; run again to go on")
                self.codes.add(OUT_OF_TIME)
            else:
                self.left_out(part, str(e))

    def do_probe(self):
        say(f"probe: commit {self.facts['commit']}{' with changes' if self.facts['modified'] else ''}")
        print("\n".join(gpu_machine.report(self.found)), flush=True)
        (self.folder / "probe.json").write_text(json.dumps({**self.facts, **self.found}, indent=1) + "\n")

    def do_build(self):
        kind, where = self.source()
        if kind == "none":
            raise gpu_portable.Failure(where)
        if kind == "build" and not self.args.build_dir:
            if self.found["gpu"] is None:
                say(f"build: skipped: no GPU ({self.found['no_gpu']}); --prepare builds for another machine")
                self.codes.add(NO_GPU)
                return
            start = time.monotonic()
            gpu_portable.configure_and_build(self.args.root, where, [self.found["gpu"]["sm"]], self.args.jobs,
                                             gpu_portable.TARGETS, timeout=60 * self.args.minutes)
            say(f"build: {time.monotonic() - start:.0f} s")
        say(f"build: {len(self.tests())} tests for a GPU, from {where}")

    def do_test(self):
        (self.folder / "test_results").mkdir(exist_ok=True)
        self.run_steps("test", self.plan("test"), min(self.args.jobs, 8))

    def do_sanitizer(self):
        if "compute-sanitizer" not in self.found["programs"]:
            self.left_out("sanitizer", "compute-sanitizer was not found; it is part of the CUDA Toolkit")
            return
        self.run_steps("sanitizer", self.plan("sanitizer"), min(self.args.jobs, 4))

    def do_bench(self):
        (self.folder / "bench").mkdir(exist_ok=True)
        self.run_steps("bench", self.plan("bench"), 1)
        steps = [f"bench.{model}.{mode}" for model, mode in BENCHES]
        runs = [json.loads(p.read_text()) for model, mode in BENCHES if self.state.of(f"bench.{model}.{mode}")
                and (p := self.folder / "bench" / f"{model}.{mode}.json").exists()]
        if runs:
            path = write_bench(runs, self.args.results)
            say(f"bench: {len(runs)} of {len(steps)} workloads in {path}")
            shutil.copy(path, self.folder)

    def do_report(self):
        if self.found["gpu"] is None:
            say("report: no GPU, so there is nothing to record")
            return
        records = self.records()
        (self.folder / "records.json").write_text(json.dumps(records, indent=1) + "\n")
        counts = {o: sum(r["outcome"] == o for r in records) for o in ("passed", "failed", "unfinished")}
        say(f"report: {len(records)} records in {self.folder / 'records.json'}: "
            + ", ".join(f"{n} {o}" for o, n in counts.items()))

    def records(self):
        """One for each feature and each piece of its evidence on a GPU, as tools/verified.py --add takes them."""
        _, groups = verified.load_table(verified.TABLE)
        planned = {f"bench.{model}.{mode}" for model, mode in BENCHES}
        try:
            planned |= {t["name"] for t in self.tests()}
            if "compute-sanitizer" in self.found["programs"]:
                planned |= {s["name"] for s in self.plan("sanitizer")}
        except gpu_portable.Failure as e:
            say(f"report: {e}")
        records = []
        for feature in verified.features_of(groups):
            for evidence in feature["evidence"].get(verified.GPU, []):
                name, _ = test_results.split_evidence(evidence)
                steps = [n for n in sorted(planned) if test_results.matches(name, n)]
                done = [self.state.of(n) for n in steps]
                counts = test_results.tally(evidence, self.state.results(steps))
                if not any(done):
                    continue
                outcome = test_results.outcome_of(counts)
                if outcome == "passed" and (not all(done) or any(d["outcome"] == "skipped" for d in done)):
                    outcome = "unfinished"
                newest = max((d for d in done if d), key=lambda d: d["date"])
                records.append({"feature": feature["name"], "level": verified.GPU, "test": evidence, "outcome": outcome,
                                "counts": counts, "commit": self.facts["commit"], "modified": self.facts["modified"],
                                "date": newest["date"], "gpu": self.key["gpu"], "driver": self.key["driver"],
                                "versions": newest["versions"]})
        return records

    def deliver(self):
        """Copies results to $OUT: few files, the logs packed."""
        out = os.environ.get("OUT")
        if not out or pathlib.Path(out).resolve() == self.folder.resolve():
            return
        target = pathlib.Path(out)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("state.json", "records.json", "probe.json"):
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, target)
        for path in sorted(self.folder.glob("gpu-*.json"))[-1:]:
            shutil.copy(path, target)
        with tarfile.open(target / "logs.tar.gz", "w:gz") as archive:
            archive.add(self.folder / "logs", "logs")

    # ------------------------------------------------------------ --dry-run

    def describe(self, part):
        gpu = self.found["gpu"]
        if part in NEEDS_GPU and gpu is None:
            return [f"would be skipped: no GPU ({self.found['no_gpu']}); with one:", *self.describe_steps(part)]
        if part in NEEDS_GPU:
            return self.describe_steps(part)
        if part == "probe":
            return ["would print and write:", *gpu_machine.report(self.found)]
        if part == "build":
            kind, where = self.source()
            if kind == "none":
                return [f"would be left out: {where}"]
            if self.args.build_dir:
                return [f"would use {where}"]
            if kind == "portable":
                return [f"would unpack build/gpu into {where}"]
            if gpu is None:
                return [f"would be skipped: no GPU ({self.found['no_gpu']}); --prepare builds for another machine"]
            return [f"would build {', '.join(gpu_portable.TARGETS)} for sm_{gpu['sm']} in {where}"]
        return [f"would write {self.folder / 'records.json'}"]

    def describe_steps(self, part):
        limit = f"at most {self.args.minutes:g} minutes"
        if part == "test":
            return [f"would run what `ctest -L gpu` names, {limit}"]
        if part == "sanitizer":
            if "compute-sanitizer" not in self.found["programs"]:
                return ["would be left out: compute-sanitizer was not found"]
            return [f"would run compute-sanitizer --tool {', '.join(SANITIZERS)} over each suite of cuda_gpu_kernels, {limit}"]
        return [f"would run benchmarks/compare.py --gpu, {limit}: " + ", ".join(f"{model} {mode}" for model, mode in BENCHES)]


# ---------------------------------------------------------------- processes and files

def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_logged(command, environment, log, seconds):
    """Exit status, or None when it ran out of time; then all that it started is ended."""
    with open(log, "wb") as out:
        try:
            child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
                                     cwd=ROOT, start_new_session=True)
        except OSError as e:
            out.write(f"{command[0]}: {e.strerror}\n".encode())
            return 127
        try:
            return child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            return None


def last_line(log):
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip()[:200] if lines else "no output"


def write_bench(runs, folder):
    """The workloads of several runs of compare.py as one file of benchmarks/results."""
    first = min(runs, key=lambda r: r["date"])
    merged = {**first, "workloads": [w for r in runs for w in r["workloads"]],
              "versions": {k: v for r in runs for k, v in r["versions"].items()}}
    folder.mkdir(parents=True, exist_ok=True)
    stamp = first["date"].replace("-", "").replace(":", "")
    path = folder / f"gpu-{stamp}-{first['commit'] or 'nocommit'}.json"
    path.write_text(json.dumps(merged, indent=1) + "\n")
    return path


# ---------------------------------------------------------------- the command line

def parse(arguments):
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS) + "; all of them by default")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    parser.add_argument("--prepare", action="store_true", help="make build/gpu, to carry to a machine with a GPU")
    parser.add_argument("--architectures", default=";".join(map(str, gpu_portable.ARCHITECTURES)),
                        help="for --prepare; those that the toolkit does not know are left out (default: %(default)s)")
    parser.add_argument("--with-nvrtc", action="store_true", help="for --prepare: pack NVRTC too, if the other machine has none")
    parser.add_argument("--build-dir", type=pathlib.Path, help="use the programs of this build folder")
    parser.add_argument("--minutes", type=float, default=10, help="the most a part may take (default: %(default)g)")
    parser.add_argument("--again", action="store_true", help="repeat steps that passed for this commit")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=pathlib.Path, help="where results are kept (default: build/gpu_check)")
    parser.add_argument("--results", type=pathlib.Path, help="where figures go (default: benchmarks/results)")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if strangers := [p for p in args.parts if p not in PARTS]:
        parser.error(f"there is no part '{strangers[0]}'; there are {', '.join(PARTS)}")
    if args.minutes <= 0 or args.jobs < 1:
        parser.error("--minutes and --jobs must be positive")
    try:
        args.architectures = [int(a) for a in args.architectures.replace(",", ";").split(";")]
    except ValueError:
        parser.error(f"--architectures wants numbers such as 80;90, not '{args.architectures}'")
    if args.prepare and args.parts:
        parser.error("--prepare stands alone: it makes build/gpu and runs no part")
    args.parts = [p for p in PARTS if p in args.parts] if args.parts else list(PARTS)
    args.root = args.root.absolute()
    args.folder = (args.folder or args.root / "build" / "gpu_check").absolute()
    args.results = (args.results or args.root / "benchmarks" / "results").absolute()
    args.build_dir = args.build_dir.absolute() if args.build_dir else None
    return args


def main(arguments=None):
    args = parse(arguments)
    if args.prepare:
        if args.dry_run:
            say("would build " + ", ".join(gpu_portable.TARGETS) + " for "
                + ", ".join(f"sm_{a}" for a in args.architectures) + " and pack them into build/gpu")
            return 0
        try:
            gpu_portable.prepare(args.root, tree_key(args.root, None), args.architectures, args.jobs, args.with_nvrtc)
        except gpu_portable.Failure as e:
            say(str(e))
            return LEFT_OUT
        return 0
    check = Check(args)
    if args.dry_run:
        for part in args.parts:
            for line in check.describe(part):
                print(f"{part}: {line}" if not line.startswith("  ") else line)
        return 0
    check.open()
    for part in args.parts:
        check.do(part)
    check.deliver()
    return next((code for code in (FAILED, LEFT_OUT, OUT_OF_TIME, NO_GPU) if code in check.codes), 0)


if __name__ == "__main__":
    sys.exit(main())
