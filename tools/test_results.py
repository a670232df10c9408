"""What a run of tests has shown, and whether a piece of evidence is in it: shared by verified.py and gpu_check.py.

Evidence is text: "NAME" or "NAME: FILTER". NAME is a CTest name, * standing for anything; FILTER chooses tests within that
program, as --gtest_filter does.

    results = read_results(junit, folder)               # {"test_cuda_sim": {"outcome": "passed", "cases": {...}}, ...}
    tally("test_cuda_sim: Softmax.*", results)          # {"passed": 9, "failed": 0, "skipped": 0}
"""

import fnmatch
import json
import pathlib
import re

import run_tests

OUTCOMES = ("passed", "failed", "skipped")


def plain(name):
    """A test's name without what GoogleTest adds for a parameter that it cannot print well."""
    return name.split("  # GetParam()")[0]


def matches(pattern, name):
    """With * and ? alone: names of tests may hold brackets."""
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), name) is not None


def gtest_selects(chosen, name):
    """--gtest_filter: patterns, separated by colons; those behind the first that begins with - are exclusions."""
    wanted, _, unwanted = chosen.partition("-")
    def any_of(patterns):
        return any(matches(p, name) for p in patterns.split(":") if p)
    return (not wanted or any_of(wanted)) and not any_of(unwanted)


def split_evidence(evidence):
    name, _, chosen = evidence.partition(":")
    return name.strip(), chosen.strip()


def read_gtest(path):
    """{test: outcome} of a GoogleTest JSON file. Tests of other shards are not in it."""
    cases = {}
    for suite in json.loads(pathlib.Path(path).read_text())["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("status") != "RUN":
                continue
            outcome = "failed" if case.get("failures") else "skipped" if case.get("result") == "SKIPPED" else "passed"
            cases[f"{suite['name']}.{case['name']}"] = outcome
    return cases


def read_results(junit, folder):
    """A JUnit file of ctest, and for programs of many tests the files that they left in `folder`."""
    results = {}
    for outcome, names in zip(OUTCOMES, run_tests.read_junit(junit)):
        for name in names:
            cases = pathlib.Path(folder) / f"{name}.json"
            # A program that crashed left no file, or an old one: then it proves nothing.
            known = read_gtest(cases) if outcome != "skipped" and cases.exists() else None
            results[plain(name)] = {"outcome": outcome, "cases": known}
    return results


def tally(evidence, results):
    """How many tests the evidence names, by outcome; {} where none of that name ran."""
    name, chosen = split_evidence(evidence)
    found = [r for n, r in results.items() if matches(name, n)]
    counts = dict.fromkeys(OUTCOMES, 0)
    for result in found:
        if not chosen:
            counts[result["outcome"]] += 1
        elif result["cases"] is None:
            # The program was skipped, or fell before it could say what of it passed.
            counts["skipped" if result["outcome"] == "skipped" else "failed"] += 1
        else:
            for case, outcome in result["cases"].items():
                if gtest_selects(chosen, case):
                    counts[outcome] += 1
    return counts if any(counts.values()) else {}


def outcome_of(counts):
    """One word for a tally: passed means that something passed and nothing failed."""
    if not counts:
        return "missing"
    return "failed" if counts["failed"] else "passed" if counts["passed"] else "skipped"
