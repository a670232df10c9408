#!/usr/bin/env python3
"""How well the cost model predicts this CPU: measures it, then each model's step, and puts the two side by side.

    benchmarks/predict.py --program build/release/bin/ingot                # every model, 3 rounds
    benchmarks/predict.py --models lenet5:64 resnet20:128 --rounds 5

Run it on a machine that does nothing else. A step is right where the prediction is within a quarter of the median of the
rounds, and its three costliest steps where each of the three that are predicted to be costliest took at least nine tenths
of what the third costliest took: many models have steps that do the same work, of which any may come first. The exit
status is 1 where a prediction is not right.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

MODELS = ["lenet5:64", "resnet20:128", "resnet18:16", "resnet50:8"]
WITHIN, TIE = 0.25, 0.9


def ingot(program, *args):
    return json.loads(subprocess.run([program, *args, "--json"], check=True, stdout=subprocess.PIPE).stdout)


def costliest(profiles):
    """The three steps that are predicted to be costliest, and whether they are."""
    nodes = {}
    for profile in profiles:
        for place, node in enumerate(sorted(profile["nodes"], key=lambda n: n["node"] + n["op"])):
            nodes.setdefault(place, []).append(node)
    steps = [(statistics.median(n["ms"] for n in of), of[0]["predicted_ms"], of[0]["node"]) for of in nodes.values()]
    third = sorted((ms for ms, _, _ in steps), reverse=True)[2]
    named = sorted(steps, key=lambda s: -s[1])[:3]
    return [name for _, _, name in named], all(ms >= TIE * third for ms, _, _ in named)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/ingot")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="NAME:BATCH")
    parser.add_argument("--modes", nargs="+", default=["train", "infer"])
    parser.add_argument("--dtypes", nargs="+", default=["f32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", default="1", help="of each measurement")
    parser.add_argument("--threads", default="0", help="0: every core")
    parser.add_argument("--least", action="store_true", help="where others use the machine too: judge by the fastest "
                        "step of all, not by the median")
    parser.add_argument("--machine", help="a description, instead of measuring one now")
    a = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        machine = a.machine
        if not machine:
            machine = folder + "/here.json"
            subprocess.run([a.program, "machine", "--measure", "--threads", a.threads, "--out", machine], check=True, stdout=subprocess.DEVNULL)
        print(f"{'':38} {'measured':>10} {'predicted':>10} {'apart':>7}  costliest")
        for model in a.models:
            name, batch = model.split(":")
            for mode in a.modes:
                for dtype in a.dtypes:
                    runs = [ingot(a.program, "bench", name, "--batch-size", batch, "--mode", mode, "--dtype", dtype,
                                  "--threads", a.threads, "--seconds", a.seconds, "--warmup", "0.3", "--profile", "--machine", machine)
                            for _ in range(a.rounds)]
                    measured = (min(r["step_ms_min"] for r in runs) if a.least else
                                statistics.median(r["step_ms"] for r in runs))
                    predicted = runs[0]["profile"]["predicted_ms"]
                    apart = predicted / measured - 1
                    names, named = costliest([r["profile"] for r in runs])
                    good = abs(apart) <= WITHIN
                    wrong += (not good) + (not named)
                    label = f"{name}, {mode}, batch {batch}, {dtype}"
                    print(f"{label:38} {measured:10.3f} {predicted:10.3f} {apart:+7.1%}{' ' if good else '!'} "
                          f"{'right' if named else 'wrong'}: {', '.join(names)}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
