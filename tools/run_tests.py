#!/usr/bin/env python3
"""Configures, builds and tests presets one after another, and ends with one line, "N passed, N failed".

    tools/run_tests.py ci                 every test of the release build
    tools/run_tests.py ci asan tsan       the same, then the fast tests under the sanitizers
    tools/run_tests.py --label plan ci    the tests with that label only
    tools/run_tests.py --only ptx ci      the tests whose names hold that regular expression

A preset that does not configure or build counts as one failure, and the next one is still tried. Tests that a machine
cannot run (they need a GPU, say) are skipped and named above the last line. The exit status is 1 when anything failed
or when nothing ran. What each test did stays in the build folder, in tested.json, junit.xml and
test_results, for tools/verified.py.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Folder and the environment of its tests. The thread sanitizer does not see libgomp's own synchronisation, so under it
# OpenMP stays on one thread: what it proves is the code that uses std::thread.
PRESETS = {
    "ci": ("release", {}),
    "release": ("release", {}),
    "debug": ("debug", {}),
    "asan": ("asan", {"ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
                      "LSAN_OPTIONS": f"suppressions={ROOT}/tests/support/lsan.supp:print_suppressions=0",
                      "UBSAN_OPTIONS": "print_stacktrace=1"}),
    "tsan": ("tsan", {"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1",
                      "TSAN_OPTIONS": f"suppressions={ROOT}/tests/support/tsan.supp:halt_on_error=1"}),
}
SANITIZERS = ("asan", "tsan")


def provenance(root):
    """Commit and date of a record made now; the commit is empty where there is no git or no repository."""
    def git(*arguments):
        try:
            done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        except OSError:
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""
    return {"commit": git("rev-parse", "--short=10", "HEAD"),
            "modified": bool(git("status", "--porcelain", "--untracked-files=no")),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}


def run(command, **options):
    print("+", " ".join(map(str, command)), flush=True)
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, **options).returncode == 0


def read_junit(path):
    """Names of the tests in a JUnit file of ctest, by outcome."""
    passed, failed, skipped = [], [], []
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.get("status") == "fail":
            failed.append(case.get("name"))
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            # ctest marks a test whose program is absent the same way, but says so.
            reason = case.find("skipped")
            missing = reason is not None and "Unable to find executable" in (reason.get("message") or "")
            (failed if missing else skipped).append(case.get("name"))
        else:
            passed.append(case.get("name"))
    return passed, failed, skipped


def test_preset(preset, label, only, jobs):
    folder, settings = PRESETS[preset]
    tested = provenance(ROOT)
    if not run(["cmake", "--preset", preset]):
        return [], [f"{preset}: configure"], []
    if not run(["cmake", "--build", "--preset", preset, "--parallel", str(jobs)]):
        return [], [f"{preset}: build"], []
    # Nothing of an earlier run may stand for this one.
    junit = ROOT / "build" / folder / "junit.xml"
    junit.unlink(missing_ok=True)
    shutil.rmtree(junit.with_name("test_results"), ignore_errors=True)
    junit.with_name("test_results").mkdir()
    command = ["ctest", "--test-dir", f"build/{folder}", "--output-on-failure", "--parallel", str(jobs),
               "--output-junit", str(junit)]
    label = label or ("fast" if preset in SANITIZERS else None)
    if label:
        command += ["-L", f"^{label}$"]
    if only:
        command += ["-R", only]
    # Address-space randomisation of newer kernels is wider than the shadow memory of GCC 12's thread sanitizer.
    if preset == "tsan" and run(["setarch", "-R", "true"], stderr=subprocess.DEVNULL):
        command = ["setarch", "-R"] + command
    junit.with_name("tested.json").write_text(json.dumps(tested) + "\n")
    run(command, env={**os.environ, "OMP_WAIT_POLICY": "passive", **settings})
    if not junit.exists():
        return [], [f"{preset}: ctest"], []
    return tuple([f"{preset}: {name}" for name in names] for names in read_junit(junit))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+", choices=PRESETS, metavar="PRESET", help=", ".join(PRESETS))
    parser.add_argument("--label", help="only tests with this label (default: all, and `fast` under sanitizers)")
    parser.add_argument("--only", metavar="REGEX", help="only tests with such a name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()

    passed, failed, skipped = [], [], []
    for preset in args.presets:
        start = time.monotonic()
        outcome = test_preset(preset, args.label, args.only, args.jobs)
        for total, part in zip((passed, failed, skipped), outcome):
            total += part
        print(f"{preset}: {len(outcome[0])} passed, {len(outcome[1])} failed, {len(outcome[2])} skipped,"
              f" {time.monotonic() - start:.0f} s", flush=True)
    for title, names in (("skipped", skipped), ("FAILED", failed)):
        for name in names:
            print(f"{title} {name}")
    print(f"{len(passed)} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
