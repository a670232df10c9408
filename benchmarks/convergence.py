#!/usr/bin/env python3
"""Does training in bf16 and f16 end where training in f32 ends?

    python3 benchmarks/convergence.py --run                  # train: about an hour on two cores
    python3 benchmarks/convergence.py --run --models lenet5 --epochs 1 --output try.json
    python3 benchmarks/convergence.py --show                 # the table of the newest file of results
    python3 benchmarks/convergence.py --docs                 # write it into docs/convergence.md; --check compares it

Each model learns Fashion-MNIST by `ingot train` with its defaults, once for every type and seed; a seed decides weights,
order and augmentation, so the same seed in two types is the same run but for rounding. What counts is the accuracy on the
10,000 test images after the last epoch, in the type of the training. It does not depend on how busy the machine is.

A run is one JSON file in benchmarks/results, written after each training so that what was done is not lost; --docs takes the
newest that is complete.
"""

import argparse
import datetime
import json
import pathlib
import statistics
import sys

import compare
import report
from compare import Failure, ROOT

PAGE = ROOT / "docs" / "convergence.md"
MARK_BEGIN, MARK_END = "<!-- convergence.py: begin -->", "<!-- convergence.py: end -->"
MODELS, DTYPES, SEEDS = ["lenet5", "simple_cnn"], ["f32", "bf16", "f16"], [1, 2, 3]
GOAL = 0.4  # points of accuracy, means over the seeds


def plan(result):
    return [(m, d, s) for m in result["models"] for s in result["seeds"] for d in result["dtypes"]]


def train(args):
    if not args.ingot.exists():
        raise Failure(f"{args.ingot} is not there; build it: cmake --preset release && cmake --build --preset release")
    env = compare.clean_environment(args.threads)
    env["OMP_WAIT_POLICY"] = "passive"  # no timing here: leave the cores to others while there is nothing to do
    now = datetime.datetime.now(datetime.timezone.utc)
    result = {"kind": "convergence", "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
              "commit": compare.git("rev-parse", "--short=10", "HEAD"),
              "modified": bool(compare.git("status", "--porcelain", "--untracked-files=no")),
              "machine": compare.machine(args.threads, compare.pin(args.threads)),
              "version": compare.ingot_version(args, env).get("version"), "data": args.data, "epochs": args.epochs,
              "models": args.models, "dtypes": args.dtypes, "seeds": args.seeds, "runs": []}
    stamp = result["date"].replace("-", "").replace(":", "")
    path = args.output or compare.RESULTS / f"convergence-{stamp}-{result['commit'] or 'nocommit'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for model, dtype, seed in plan(result):
        command = [args.ingot, "train", model, "--data", args.data, "--epochs", args.epochs, "--dtype", dtype,
                   "--seed", seed, "--threads", args.threads, "--json"]
        value, _ = compare.run(command, env, args.timeout)
        result["runs"].append({"model": model, "dtype": dtype, "seed": seed, **value})
        path.write_text(json.dumps(result, indent=1) + "\n")
        print(f"{model} {dtype} seed {seed}: accuracy {value['test_accuracy']:.4f}, loss {value['test_loss']:.4f}", flush=True)
    print(f"Written to {path}")
    return result


def complete(result):
    return [(r["model"], r["dtype"], r["seed"]) for r in result["runs"]] == plan(result)


def of(result, model, dtype, key):
    return [r.get(key, 0) for r in result["runs"] if (r["model"], r["dtype"]) == (model, dtype)]


def accuracies(result, model, dtype):
    return [100 * a for a in of(result, model, dtype, "test_accuracy")]


def difference(result, model, dtype):
    """In points: what the type adds to the mean accuracy of f32."""
    return statistics.mean(accuracies(result, model, dtype)) - statistics.mean(accuracies(result, model, "f32"))


def table(result):
    """The run as Markdown."""
    if not complete(result) or "f32" not in result["dtypes"]:
        raise Failure("the file holds no whole run in f32 and other types; make one with convergence.py --run")
    lines = ["| model | type | accuracy, mean (%) | lowest to highest | against f32 (points) | skipped steps |", "|---" * 6 + "|"]
    largest = 0.0
    for model in result["models"]:
        for dtype in result["dtypes"]:
            a = accuracies(result, model, dtype)
            by = ""
            if dtype != "f32":
                by = f"{difference(result, model, dtype):+.2f}"
                largest = max(largest, abs(difference(result, model, dtype)))
            skipped = ", ".join(f"{s:.0f}" for s in of(result, model, dtype, "skipped_steps")) if dtype == "f16" else ""
            lines.append(f"| {model} | {dtype} | {statistics.mean(a):.2f} | {min(a):.2f} to {max(a):.2f} | {by} | {skipped} |")
    verdict = "met" if largest <= GOAL else "missed"
    where = f"commit {result['commit']}" + (" with changes" if result["modified"] else "")
    lines += ["", f"Fashion-MNIST, {result['epochs']} epochs, seeds {', '.join(map(str, result['seeds']))}, on the CPU. The "
              f"largest difference of two means is {largest:.2f} points; the goal, at most {GOAL}, is {verdict}. "
              f"{result['date'][:10]}, {where}."]
    return "\n".join(lines)


def load(given):
    if given:
        return json.loads(pathlib.Path(given).read_text())
    runs = [json.loads(p.read_text()) for p in sorted(compare.RESULTS.glob("convergence-*.json"))]
    runs = [r for r in runs if complete(r)]
    if not runs:
        raise Failure(f"{compare.RESULTS.relative_to(ROOT)} holds no complete run; make one with convergence.py --run")
    return max(runs, key=lambda r: r["date"])


def parts(page):
    text = page.read_text() if page.exists() else ""
    return report.between(text, page.name, MARK_BEGIN, MARK_END)


def read_page(page):
    return parts(page)[1].strip("\n")


def write_page(page, body):
    before, _, after = parts(page)
    page.write_text(f"{before}\n{body}\n{after}")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", action="store_true", help="train, and write the results")
    for name, doc in (("show", "print the table of FILE, by default the newest run"),
                      ("docs", "write that table into the page"), ("check", "fail where the page holds another table")):
        parser.add_argument(f"--{name}", nargs="?", const="", metavar="FILE", help=doc)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--dtypes", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--data", default="fashion-mnist", help="what ingot train takes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=3600, help="seconds after which one training is given up")
    parser.add_argument("--ingot", type=pathlib.Path, default=ROOT / "build" / "release" / "bin" / "ingot")
    parser.add_argument("--output", type=pathlib.Path, help="where to write the run's JSON")
    parser.add_argument("--page", type=pathlib.Path, default=PAGE, help="where the table lies between two marks")
    args = parser.parse_args(arguments)
    if not args.run and args.show is None and args.docs is None and args.check is None:
        parser.error("say what to do: --run, --show, --docs or --check")
    args.ingot = args.ingot.absolute()
    return args


def main(arguments=None):
    args = parse(arguments)
    try:
        if args.run:
            print(table(train(args)))
        if args.show is not None:
            print(table(load(args.show)))
        if args.docs is not None:
            write_page(args.page, table(load(args.docs)))
        if args.check is not None and read_page(args.page) != table(load(args.check)):
            raise Failure(f"{args.page.name} does not hold the table of the results; convergence.py --docs writes it")
    except (Failure, OSError) as e:
        print(f"convergence: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
