#!/usr/bin/env python3
"""`ingot train` killed (SIGKILL) at random moments and resumed each time ends with the very bytes of a run that was left
alone; so does one that is interrupted with Ctrl-C. The moments come from --seed, which is printed."""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import data


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ingot", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    print(f"seed {seed}", flush=True)
    draw = random.Random(seed)

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        folder = data.make(scratch / "data")

        def command(out, *more):
            return [args.ingot, "train", "lenet5", "--data", folder, "--epochs", "10", "--batch-size", "24", "--optimizer",
                    "adam", "--crop-padding", "2", "--checkpoint-every", "3", "--seed", "11", "--threads", "2", "--json",
                    "--out", out, *more]

        def start(out, *more):
            return subprocess.Popen(command(out, *more), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True)

        whole = scratch / "whole"
        begin = time.monotonic()
        child = start(whole)
        text = child.communicate()[0]
        length = time.monotonic() - begin
        if child.returncode != 0:
            sys.exit(f"training failed with {child.returncode}:\n{text}")
        wanted = (whole / "weights.safetensors").read_bytes()
        accuracy = json.loads(text)
        print(f"uninterrupted: {length:.2f} s, {accuracy}", flush=True)

        for name, send in (("killed", signal.SIGKILL), ("interrupted", signal.SIGINT)):
            out = scratch / name
            kills = 0
            while True:
                child = start(out, *(["--resume"] if (out / "last.safetensors").exists() else []))
                try:
                    moment = draw.uniform(0.0, 0.4 * length) if kills < args.kills else 600
                    text = child.communicate(timeout=moment)[0]
                except subprocess.TimeoutExpired:
                    child.send_signal(send)
                    text = child.communicate()[0]
                    kills += 1
                    if send == signal.SIGINT and child.returncode == 0 and (out / "weights.safetensors").exists():
                        break  # it was already done
                    continue
                if child.returncode != 0:
                    sys.exit(f"{name} {kills} times, then training failed with {child.returncode}:\n{text}")
                break
            if (out / "weights.safetensors").read_bytes() != wanted:
                sys.exit(f"{name} {kills} times and resumed (seed {seed}): other weights than in one go")
            left = sorted(p.name for p in out.iterdir() if ".tmp" in p.name)
            if left and send == signal.SIGINT:
                sys.exit(f"interrupted, and left {left}")
            print(f"{name} {kills} times: the same bytes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
