#!/usr/bin/env python3
"""docs/verified.md from records: what has been verified, and how far. It is never written by hand.

    tools/verified.py --record build/release              # the outcome of tools/run_tests.py ci
    tools/verified.py --add build/gpu_check/records.json  # what tools/gpu_check.sh found on a GPU
    tools/verified.py --write                             # docs/verified.md
    tools/verified.py --check                             # is docs/verified.md what --write makes?
    tools/verified.py --names build/release               # does every test named there exist?

docs/verified.json is the table: for each feature, which files it covers and which tests show each level. Records are
docs/verified_records.json: the outcome of those tests in one run of all tests, and in the runs on GPUs, with commit and
date. A level below "on a GPU" that the table claims and no passing test of the records shows is an error, and so is a file
of cuda/ that no feature covers. A GPU level is a claim only where records of a GPU have it. Exit status: 0, 1 for errors
found, 2 for wrong arguments.

In the table, `evidence` lists tests by level, as tools/test_results.py reads them. Four short forms stand for the usual ones:
`kernels` (files of cuda/kernels), `ops` (files of cuda/ops), `suites` (tests that run simulated, as PTX and on a GPU) and
`cases` (OpCases, which run alone and as programs everywhere).
"""

import argparse
import fnmatch
import json
import pathlib
import platform
import re
import subprocess
import sys

import test_results

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "verified.json"
RECORDS = ROOT / "docs" / "verified_records.json"
PAGE = ROOT / "docs" / "verified.md"
GPU = "gpu"
PTX_TESTS, SIM_TESTS, GPU_TESTS = "test_cuda_kernels_ptx_sm_*", "test_cuda_sim", "cuda_gpu_kernels"
# Tests that stand for others where a machine lacks what those need, and the level that they then leave unproven.
PLACEHOLDERS = {"cuda_kernels_compile_to_ptx": "compiled", "test_cuda_ptx": "ptx", "cuda_gpu": GPU}
# Names of steps of tools/gpu_check.sh that are no CTest tests.
GPU_STEPS = re.compile(r"(sanitizer|bench)\.[a-z0-9_.*]+")


class Failure(Exception):
    pass


# ---------------------------------------------------------------- the table

def expand(feature):
    """Replaces the short forms of a feature by what they stand for."""
    covers, evidence = list(feature.get("covers", [])), {}
    def show(level, *tests):
        evidence.setdefault(level, []).extend(tests)
    for kernel in feature.get("kernels", []):
        covers.append(f"cuda/kernels/{kernel}.cu")
        show("compiled", f"cuda_ptx_{kernel}.cu_sm_*")
    covers += [f"cuda/ops/{name}.cpp" for name in feature.get("ops", [])]
    if suites := ":".join(feature.get("suites", [])):
        show("ptx", f"{PTX_TESTS}: {suites}")
        show("simulated", f"{SIM_TESTS}: {suites}")
        show(GPU, f"{GPU_TESTS}: {suites}")
    if cases := feature.get("cases"):
        alone = ":".join(f"*/Lowerings.*/{c}" for c in cases)
        programs = ":".join(f"*/CasePrograms.*/{c}" for c in cases)
        show("ptx", f"{PTX_TESTS}: {alone}:{programs}")
        show("simulated", f"{SIM_TESTS}: {alone}:{programs}")
        show(GPU, f"cuda_gpu_Lowerings_*: {alone}", f"cuda_gpu_CasePrograms_*: {programs}")
    for level, tests in feature.get("evidence", {}).items():
        show(level, *tests)
    return {"name": feature["name"], "what": feature.get("what", ""), "covers": covers, "evidence": evidence}


def load_table(path):
    """(levels, groups) of docs/verified.json; every feature in its long form."""
    table = json.loads(path.read_text())
    levels = table["levels"]
    known, names = [level["id"] for level in levels], set()
    groups = []
    for group in table["groups"]:
        features = [expand(f) for f in group["features"]]
        for f in features:
            if unknown := set(f["evidence"]) - set(known):
                raise Failure(f"{f['name']}: there is no level {', '.join(sorted(unknown))}; {path.name} has {', '.join(known)}")
            if not any(f["evidence"].values()):
                raise Failure(f"{f['name']} is listed without a test; name tests in {path.name}, or take it out")
            if f["name"] in names:
                raise Failure(f"{f['name']} is listed twice in {path.name}")
            names.add(f["name"])
        groups.append({**group, "features": features})
    return levels, groups


def features_of(groups):
    return [f for group in groups for f in group["features"]]


def files_to_cover(root):
    """What must be listed: kernels, families of lowerings, library wrappers and lowerings to cuDNN, and the rooms that they
    stand on."""
    families = re.findall(r"^INGOT_CUDA_FAMILY\((\w+)\)", (root / "cuda/ops/families.def").read_text(), re.MULTILINE)
    files = {f"cuda/ops/{name}.cpp" for name in families}
    for pattern in ("cuda/kernels/*.cu", "cuda/libs/*.h", "cuda/libs/*/*.h", "cuda/base/*.h", "cuda/jit/*.h", "cuda/backend/*.h",
                    "cuda/ops/*cudnn*.cpp", "cuda/ops/*cudnn*.h"):
        files |= {str(p.relative_to(root)) for p in root.glob(pattern)}
    return files


def uncovered(groups, root):
    files, errors = files_to_cover(root), []
    patterns = [(f["name"], c) for f in features_of(groups) for c in f["covers"]]
    for file in sorted(files):
        if not any(fnmatch.fnmatchcase(file, pattern) for _, pattern in patterns):
            errors.append(f"{file} belongs to no feature; give it one in docs/verified.json")
    for name, pattern in patterns:
        if not any(fnmatch.fnmatchcase(file, pattern) for file in files):
            errors.append(f"{name} covers {pattern}, and there is no such file")
    return errors


# ---------------------------------------------------------------- the records

def load_records(path):
    if not path.exists():
        return {"tests": None, "gpu": []}
    return json.loads(path.read_text())


def save_records(records, path):
    path.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")


def toolchain(build):
    """Compilers of a build folder, as its cache names them."""
    found = {}
    for key in ("CMAKE_CXX_COMPILER", "INGOT_NVCC"):
        cache = (build / "CMakeCache.txt").read_text()
        line = re.search(rf"^{key}:\w+=(.+)$", cache, re.MULTILINE)
        if line is None or line[1].endswith("NOTFOUND"):
            continue
        done = subprocess.run([line[1], "--version"], capture_output=True, text=True)
        version = re.search(r"V?\d+\.\d+\.\d+", done.stdout)
        found["g++" if key.startswith("CMAKE") else "nvcc"] = version[0].lstrip("V") if version else "unknown"
    return found


def record(groups, build, before):
    """The last test run of a build folder. Another run of the same commit, of other tests, adds to the record before."""
    results = test_results.read_results(build / "junit.xml", build / "test_results")
    evidence = {e for f in features_of(groups) for level, tests in f["evidence"].items() if level != GPU for e in tests}
    tallies = {e: test_results.tally(e, results) for e in sorted(evidence)}
    tested = json.loads((build / "tested.json").read_text())
    known = {}
    if before and not tested["modified"] and not before["modified"] and before["commit"] == tested["commit"]:
        known = {e: counts for e, counts in before["evidence"].items() if e in evidence}
    return {**tested, "machine": platform.machine(), "versions": toolchain(build),
            "evidence": {**known, **{e: counts for e, counts in tallies.items() if counts}}}


def add_gpu(records, new):
    """The newest record of each feature, test and GPU stays. One of a step that did not end, or was skipped, says nothing."""
    for r in new:
        if missing := {"feature", "test", "outcome", "commit", "date", "gpu", "driver"} - set(r):
            raise Failure(f"a GPU record lacks {', '.join(sorted(missing))}: {r}")
        if r.get("modified"):
            raise Failure(f"'{r['test']}' was recorded with changes that are in no commit; commit first, then run gpu_check.sh")
    kept = {(r["feature"], r["test"], r["gpu"]): r for r in records["gpu"]}
    for r in (r for r in new if r["outcome"] in ("passed", "failed")):
        key = (r["feature"], r["test"], r["gpu"])
        if key not in kept or kept[key]["date"] <= r["date"]:
            kept[key] = r
    records["gpu"] = [kept[key] for key in sorted(kept)]
    return records


# ---------------------------------------------------------------- claims

def total(tallies):
    return {o: sum(t.get(o, 0) for t in tallies) for o in test_results.OUTCOMES}


def claim(feature, level, records):
    """({passed, failed, skipped}, errors) for a level below the GPU."""
    errors, tallies = [], []
    known = (records["tests"] or {}).get("evidence", {})
    for test in feature["evidence"].get(level, []):
        counts = known.get(test, {})
        outcome = test_results.outcome_of(counts)
        if outcome != "passed":
            said = {"missing": "is in no record", "failed": f"failed ({counts.get('failed')} of it)",
                    "skipped": "was skipped"}[outcome]
            errors.append(f"{feature['name']}: level '{level}' rests on the test '{test}', which {said}; run all tests and "
                          "record them (tools/verified.py --help), or take the claim out of docs/verified.json")
        tallies.append(counts)
    return total(tallies), errors


def gpu_claim(feature, records):
    """What GPU records say of a feature: {gpu: newest records}, and the word for the table."""
    wanted = feature["evidence"].get(GPU, [])
    by_gpu = {}
    for r in records["gpu"]:
        if r["feature"] == feature["name"] and r["test"] in wanted:
            by_gpu.setdefault(r["gpu"], []).append(r)
    passed = [gpu for gpu, rs in sorted(by_gpu.items())
              if len(rs) == len(wanted) and all(r["outcome"] == "passed" for r in rs)
              and len({r["commit"] for r in rs}) == 1 and not any(r.get("modified") for r in rs)]
    failed = [gpu for gpu, rs in sorted(by_gpu.items()) if any(r["outcome"] == "failed" for r in rs)]
    return by_gpu, passed, failed


def all_errors(groups, records, root):
    errors = uncovered(groups, root)
    if records["tests"] is None:
        return errors + ["docs/verified_records.json holds no run of the tests; see tools/verified.py --help"]
    if records["tests"]["modified"]:
        errors.append("the tests were recorded with changes that are in no commit; commit first, then record")
    for feature in features_of(groups):
        for level in feature["evidence"]:
            if level != GPU:
                errors += claim(feature, level, records)[1]
    return errors


# ---------------------------------------------------------------- the page

def cell(feature, level, records):
    if level == GPU:
        by_gpu, passed, failed = gpu_claim(feature, records)
        words = [f"{gpu}, {by_gpu[gpu][0]['commit']}, {by_gpu[gpu][0]['date'][:10]}" for gpu in passed]
        return "; ".join(words + [f"failed on {gpu}" for gpu in failed])
    counts, _ = claim(feature, level, records)
    if not counts["passed"]:
        return ""
    return f"{counts['passed']:,}" + (f" ({counts['skipped']:,} skipped)" if counts["skipped"] else "")


def page(levels, groups, records):
    tests = records["tests"]
    title = {level["id"]: level["title"] for level in levels}
    lines = ["# What has been verified, and how far", "",
             "<!-- Made by tools/verified.py from docs/verified.json and docs/verified_records.json: change those. -->", "",
             "Machines with a GPU are rare where Ingot is built, so each feature says which levels it has passed:", ""]
    lines += [f"{i}. **{level['title']}**: {level['what']}" for i, level in enumerate(levels, 1)]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(tests["versions"].items()))
    lines += ["", "A number is how many tests passed at that level; an empty cell claims nothing. "
              f"Tests were recorded on {tests['date'][:10]} at commit {tests['commit']} ({tests['machine']}, {versions}).", ""]
    if not any(gpu_claim(f, records)[0] for f in features_of(groups)):
        lines += ["Nothing has run on a GPU so far; `tools/gpu_check.sh` is what a machine with one is for.", ""]
    for group in groups:
        shown = [level["id"] for level in levels if any(level["id"] in f["evidence"] for f in group["features"])]
        lines += [f"## {group['title']}", ""]
        if group.get("what"):
            lines += [group["what"], ""]
        lines += ["| feature | " + " | ".join(title[level] for level in shown) + " |", "|---" * (len(shown) + 1) + "|"]
        for f in group["features"]:
            what = f"{f['name']}: {f['what']}" if f["what"] else f["name"]
            lines.append("| " + " | ".join([what] + [cell(f, level, records) for level in shown]) + " |")
        lines.append("")
    failures = [r for r in records["gpu"] if r["outcome"] == "failed"]
    if failures:
        lines += ["## Failed on a GPU", "", "| feature | test | GPU | commit | date |", "|---|---|---|---|---|"]
        lines += [f"| {r['feature']} | `{r['test']}` | {r['gpu']} | {r['commit']} | {r['date'][:10]} |" for r in failures]
        lines.append("")
    lines += ["## The tests", "",
              "`name: filter` is a CTest test and the tests within it, as `--gtest_filter` takes them.", ""]
    for f in features_of(groups):
        lines += [f"- {f['name']}"]
        lines += [f"  - {title[level['id']]}: " + ", ".join(f"`{e}`" for e in f["evidence"][level["id"]])
                  for level in levels if f["evidence"].get(level["id"])]
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- do the tests exist?

def listed_tests(build):
    """{CTest name: command} of a build folder, and the names of those that only say why others are absent."""
    done = subprocess.run(["ctest", "--test-dir", str(build), "--show-only=json-v1"], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"ctest --test-dir {build} failed: {done.stderr.strip() or done.stdout.strip()}")
    commands = {test_results.plain(t["name"]): t.get("command", []) for t in json.loads(done.stdout)["tests"]}
    return commands, {n for n, c in commands.items() if any(a.startswith("skipped: ") for a in c)}


class GtestLists:
    """What --gtest_list_tests of a program says; asked once."""

    def __init__(self):
        self.lists = {}

    def of(self, program):
        if program not in self.lists:
            done = subprocess.run([program, "--gtest_list_tests"], capture_output=True, text=True)
            if done.returncode != 0:
                raise Failure(f"{program} --gtest_list_tests failed: {done.stderr.strip() or done.stdout.strip()}")
            names, suite = [], ""
            for line in done.stdout.splitlines():
                text = line.split("#")[0].rstrip()
                if line.startswith("  "):
                    names.append(suite + text.strip())
                elif text.endswith("."):
                    suite = text
            self.lists[program] = names
        return self.lists[program]


def command_filter(command):
    chosen = [a.split("=", 1)[1] for a in command if a.startswith("--gtest_filter=")]
    return chosen[-1] if chosen else "*"


def unknown_tests(groups, build):
    """(errors, notes): evidence that names no test of this build."""
    commands, placeholders = listed_tests(build)
    absent = {PLACEHOLDERS[n]: n for n in placeholders if n in PLACEHOLDERS}
    lists, errors, notes = GtestLists(), [], set()
    for feature in features_of(groups):
        for level, tests in feature["evidence"].items():
            if level in absent:
                notes.add(f"level '{level}' was not looked at: {commands[absent[level]][-1]}")
                continue
            for test in tests:
                name, chosen = test_results.split_evidence(test)
                if stand_ins := [p for p in placeholders if test_results.matches(name, p)]:
                    notes.add(f"'{name}' was not looked at: {commands[stand_ins[0]][-1]}")
                    continue
                if level == GPU and GPU_STEPS.fullmatch(name):
                    continue
                found = [n for n in commands if n not in placeholders and test_results.matches(name, n)]
                if not found:
                    errors.append(f"{feature['name']}: there is no test '{name}' in {build}")
                    continue
                # Each pattern must mean something, or a renamed test would go unseen.
                for pattern in (p for p in chosen.partition("-")[0].split(":") if p):
                    if not any(test_results.matches(pattern, t) and test_results.gtest_selects(command_filter(commands[n]), t)
                               for n in found for t in lists.of(commands[n][0])):
                        errors.append(f"{feature['name']}: '{name}' runs no test '{pattern}'")
    return errors, sorted(notes)


# ---------------------------------------------------------------- the command line

def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    do = parser.add_mutually_exclusive_group(required=True)
    do.add_argument("--record", metavar="BUILD", type=pathlib.Path, help="take the outcome of the last test run")
    do.add_argument("--add", metavar="FILE", type=pathlib.Path, help="take records of a GPU")
    do.add_argument("--write", action="store_true", help="write the page")
    do.add_argument("--check", action="store_true", help="is the page what --write would make?")
    do.add_argument("--names", metavar="BUILD", type=pathlib.Path, help="do the tests exist in this build folder?")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    parser.add_argument("--records", type=pathlib.Path, default=RECORDS)
    parser.add_argument("--page", type=pathlib.Path, default=PAGE)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the tree whose files must be covered")
    return parser.parse_args(arguments)


def run(args):
    """Errors; empty when all is well."""
    levels, groups = load_table(args.table)
    records = load_records(args.records)
    if args.record:
        records["tests"] = record(groups, args.record, records["tests"])
        save_records(records, args.records)
        return all_errors(groups, records, args.root)
    if args.add:
        save_records(add_gpu(records, json.loads(args.add.read_text())), args.records)
        return []
    if args.names:
        errors, notes = unknown_tests(groups, args.names)
        for note in notes:
            print(f"verified: {note}")
        return errors
    errors = all_errors(groups, records, args.root)
    if errors:
        return errors
    text = page(levels, groups, records)
    if args.write:
        args.page.write_text(text)
    elif not args.page.exists() or args.page.read_text() != text:
        return [f"{args.page} is not what the table and the records make; run tools/verified.py --write"]
    return []


def main(arguments=None):
    args = parse(arguments)
    try:
        errors = run(args)
    except (Failure, OSError, ValueError, KeyError) as e:
        errors = [f"{type(e).__name__}: {e}" if isinstance(e, KeyError) else str(e)]
    for error in errors:
        print(f"verified: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
