#!/usr/bin/env python3
"""Fails when one of a fixed set of small programs executes more instructions than it did: the gate against slowdowns.

    python3 benchmarks/gate.py                     # count and compare: what ctest runs as Benchmarks.Gate
    python3 benchmarks/gate.py --only softmax      # some of them, by a part of the name
    python3 benchmarks/gate.py --accept            # the counts of today become the baseline

Times on a shared machine differ by more than any slowdown worth finding; instructions do not. Each program runs on one
thread under valgrind's callgrind, which counts what happens within one function (benchmarks/counted.cpp): training steps
and ops after a warm-up, and the compilation of ResNet-50. Two runs agree to a thousandth, most to the instruction.
Valgrind shows a program AVX2 and no AVX-512, whatever more the machine has; so the gate cannot see the AVX-512 kernels,
nor caches and threads. compare.py and op_benchmarks measure those.

The baseline, benchmarks/gate_baseline.json, belongs to a compiler, an oneDNN, a C library and a valgrind. With others
nothing is compared: the gate says so and exits with 77, which ctest shows as skipped. Otherwise the exit status is 1
when a count rose by more than 3 %, or a program has no baseline, and 0 when all is well.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
BASELINE = ROOT / "benchmarks" / "gate_baseline.json"
LIMIT = 3  # per cent
SKIPPED = 77

# What counted is asked for, by the name under which its count is kept. The longest come first.
PROGRAMS = {
    "compile resnet50": ["compile", "resnet50", "--batch-size", "8"],
    "train resnet20": ["step", "resnet20", "--batch-size", "2", "--image-size", "16"],
    "train lenet5 bf16": ["step", "lenet5", "--batch-size", "4", "--dtype", "bf16"],
    "train lenet5": ["step", "lenet5", "--batch-size", "4"],
    "infer lenet5": ["step", "lenet5", "--batch-size", "4", "--mode", "infer"],
    "train mlp": ["step", "mlp", "--batch-size", "8"],
    "op conv2d": ["op", "conv2d f32[2, 16, 16, 16] f32[16, 16, 3, 3] {padding=[1, 1]}"],
    "op matmul": ["op", "matmul f32[64, 128] f32[128, 64]"],
    "op max_pool2d": ["op", "max_pool2d f32[2, 16, 28, 28] {kernel=[3, 3], stride=[2, 2], padding=[1, 1]}"],
    "op batch_norm": ["op", "batch_norm f32[4, 16, 14, 14] f32[16] f32[16] f32[16] f32[16]"],
    "op softmax": ["op", "softmax f32[64, 1000]"],
    "op layer_norm": ["op", "layer_norm f32[64, 512] f32[512] f32[512] {axis=1}"],
    "op reduce_sum": ["op", "reduce_sum f32[128, 512] {axes=[0]}"],
    "op transpose": ["op", "transpose f32[256, 256] {perm=[1, 0]}"],
    "op gelu": ["op", "gelu f32[65536]"],
}


class Failure(Exception):
    pass


class NotHere(Exception):
    """Why nothing can be counted or compared on this machine."""


def count(arguments, build):
    """Instructions that `counted` executes in its region when started with `arguments`."""
    program = build / "bin" / "counted"
    if not program.exists():
        raise Failure(f"{program} is not there; build it: cmake --build {build} --target counted")
    if not shutil.which("valgrind"):
        raise NotHere("valgrind is not installed; tools/bootstrap.sh installs it")
    # A short environment, the same everywhere: no variable of the user's chooses a kernel.
    env = {"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--toggle-collect=counted_region",
                   f"--callgrind-out-file={folder}/out", str(program), *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    words = f"counted {' '.join(arguments)}"
    if done.returncode != 0:
        ours = [line for line in done.stderr.splitlines() if not line.startswith("==")]
        raise Failure(f"'{words}' ended with {done.returncode} under valgrind: {(ours or ['no message'])[-1]}")
    found = re.search(r"Collected : (\d+)", done.stderr)
    if not found or int(found.group(1)) == 0:
        raise Failure(f"'{words}': valgrind counted nothing; is counted_region a function of its own?")
    return int(found.group(1))


def count_all(programs, build, jobs):
    """Counts by name."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return dict(zip(programs, pool.map(lambda arguments: count(arguments, build), programs.values())))


def first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return "none"
    return (done.stdout.strip() or "none").splitlines()[0]


def toolchain(build):
    """Everything that decides how many instructions the same source takes."""
    cache = (build / "CMakeCache.txt").read_text()

    def cached(name):
        found = re.search(rf"^{name}:\w+=(.*)$", cache, re.MULTILINE)
        return found.group(1) if found else ""
    onednn = "none"
    version = pathlib.Path(cached("dnnl_DIR")) / "dnnl-config-version.cmake"
    if version.exists() and (found := re.search(r'set\(PACKAGE_VERSION "([^"]+)"\)', version.read_text())):
        onednn = found.group(1)
    # Without the name by which it was called: c++ and g++ are one program.
    compiler = first_line([cached("CMAKE_CXX_COMPILER"), "--version"]).partition(" ")[2]
    return {"compiler": compiler, "build_type": cached("CMAKE_BUILD_TYPE"),
            "flags": cached("CMAKE_CXX_FLAGS"), "onednn": onednn, "libc": " ".join(platform.libc_ver()),
            "valgrind": first_line(["valgrind", "--version"]), "machine": platform.machine()}


def require_avx2(cpuinfo=pathlib.Path("/proc/cpuinfo")):
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    if not flags or "avx2" not in flags.group(1).split():
        raise NotHere("this processor has no AVX2, so valgrind would show another one than the baseline's")


def compare(counts, baseline):
    """Lines to print, and the names of what is too slow or has no baseline."""
    lines, bad = [], []
    for name, now in counts.items():
        before = baseline.get(name)
        if before is None:
            lines.append(f"{name:20} {now:>13,}  NO BASELINE")
            bad.append(name)
            continue
        change = 100 * (now - before)  # in whole numbers: exactly 3 % is no more than 3 %
        verdict = ("TOO MANY" if change > LIMIT * before else "fewer: --accept keeps that" if change < -LIMIT * before else "ok")
        lines.append(f"{name:20} {now:>13,}  {now / before - 1:+8.2%}  {verdict}")
        if change > LIMIT * before:
            bad.append(name)
    return lines, bad


def gate(programs, build, baseline_path, jobs):
    """The exit status."""
    if not baseline_path.exists():
        raise Failure(f"{baseline_path} is not there; make it with benchmarks/gate.py --accept")
    baseline, here = json.loads(baseline_path.read_text()), toolchain(build)
    require_avx2()
    different = [f"{key} is '{here.get(key)}', the baseline's '{value}'" for key, value in baseline["toolchain"].items()
                 if here.get(key) != value]
    if different:
        raise NotHere("the baseline is of another toolchain, so nothing was compared: " + "; ".join(different)
                      + ". benchmarks/gate.py --accept makes one of this")
    lines, bad = compare(count_all(programs, build, jobs), baseline["counts"])
    print("\n".join(lines))
    if bad:
        print(f"gate: more instructions than the baseline allows ({LIMIT} %): {', '.join(bad)}. What executes them: valgrind "
              "--tool=callgrind --toggle-collect=counted_region build/release/bin/counted ..., then callgrind_annotate. "
              "If the rise is meant, say why in the commit and run benchmarks/gate.py --accept", file=sys.stderr)
        return 1
    print(f"gate: {len(lines)} programs within {LIMIT} % of the baseline")
    return 0


def accept(programs, build, baseline_path, jobs):
    require_avx2()
    here = toolchain(build)
    counts = count_all(programs, build, jobs)
    old = json.loads(baseline_path.read_text()) if baseline_path.exists() else {"toolchain": {}, "counts": {}}
    kept = old["counts"] if old["toolchain"] == here else {}  # counts of another toolchain would be no baseline
    print("\n".join(compare(counts, kept)[0]))
    everything = {name: n for name, n in {**kept, **counts}.items() if name in PROGRAMS or name in counts}
    baseline_path.write_text(json.dumps({"toolchain": here, "counts": dict(sorted(everything.items()))}, indent=1) + "\n")
    print(f"{baseline_path.name} holds {len(everything)} counts")
    return 0


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", action="store_true", help="make today's counts the baseline")
    parser.add_argument("--only", metavar="PART", help="programs whose name holds this")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release", help="default: build/release")
    parser.add_argument("--baseline", type=pathlib.Path, default=BASELINE)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args(arguments)
    programs = {n: a for n, a in PROGRAMS.items() if not args.only or args.only in n}
    if not programs or args.jobs < 1:
        parser.error(f"--only {args.only}: there are {', '.join(PROGRAMS)}" if not programs else "--jobs must be positive")
    try:
        return (accept if args.accept else gate)(programs, args.build.absolute(), args.baseline, args.jobs)
    except NotHere as e:
        print(f"skipped: {e}")
        return SKIPPED
    except (Failure, OSError) as e:
        print(f"gate: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
