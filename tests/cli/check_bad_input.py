#!/usr/bin/env python3
"""Bad input ends `ingot` with one message that names what is wrong, a non-zero exit, and nothing lost: a finished run in the
same folder keeps every byte, and no half-written file stays."""

import argparse
import gzip
import hashlib
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

import data

FAILURES = []


def snapshot(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}


class Bench:
    def __init__(self, ingot, scratch):
        self.ingot, self.scratch = ingot, scratch
        self.data = data.make(scratch / "data")

    def run(self, *arguments):
        return subprocess.run([self.ingot, *map(str, arguments)], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=120)

    def train(self, *arguments, folder=None, model="lenet5"):
        return self.run("train", model, "--data", folder or self.data, "--epochs", 1, "--batch-size", 32, "--seed", 3,
                        "--json", *arguments)

    def refuses(self, what, result, *patterns, keeps=None, before=None):
        """One message on stderr that matches every pattern, and the folder `keeps` as it was `before`."""
        problems = []
        if result.returncode <= 0:  # negative: killed by a signal
            problems.append(f"exit status {result.returncode}")
        message = result.stderr.strip()
        if not message or len(message.splitlines()) > 6:
            problems.append("not one short message")
        problems += [f"nothing about /{p}/" for p in patterns if not re.search(p, message)]
        if keeps is not None and snapshot(keeps) != before:
            problems.append(f"{keeps.name} changed: {sorted(set(snapshot(keeps).items()) ^ set(before.items()))}")
        print(f"{'ok  ' if not problems else 'FAIL'} {what}: {message}", flush=True)
        if problems:
            FAILURES.append(f"{what}: {'; '.join(problems)}\n  stdout: {result.stdout.strip()[-500:]}\n  stderr: {message}")

    def spoiled(self, name, **changes):
        """A copy of the data with some files replaced by what `changes` makes of their bytes."""
        folder = self.scratch / name
        shutil.copytree(self.data, folder)
        for file, change in changes.items():
            path = folder / {"images": "train-images-idx3-ubyte.gz", "labels": "train-labels-idx1-ubyte.gz"}[file]
            path.write_bytes(change(path.read_bytes()))
        return folder


def check_data(b):
    def zipped(change):
        return lambda raw: gzip.compress(change(gzip.decompress(raw)), mtime=0)

    images = "train-images-idx3-ubyte.gz"
    b.refuses("truncated gzip", b.train(folder=b.spoiled("cut", images=lambda raw: raw[: len(raw) // 2])), images, "(?i)trunc|end")
    b.refuses("corrupt gzip", b.train(folder=b.spoiled("bent", images=lambda raw: raw[:3000] + b"\x55" * 64 + raw[3064:])), images)
    b.refuses("wrong magic", b.train(folder=b.spoiled("magic", images=zipped(lambda raw: b"\1\2\3\4" + raw[4:]))), images, "(?i)magic")
    b.refuses("short IDX", b.train(folder=b.spoiled("short", images=zipped(lambda raw: raw[:-5]))), images)
    b.refuses("more labels than images",
              b.train(folder=b.spoiled("more", labels=zipped(lambda raw: raw[:4] + struct.pack(">I", 321) + raw[8:] + b"\0"))), "320", "321")
    b.refuses("label out of range", b.train(folder=b.spoiled("range", labels=zipped(lambda raw: raw[:-1] + b"\x63"))), r"\b99\b", r"\b10\b")
    b.refuses("no such folder", b.train(folder=b.scratch / "nowhere"), "nowhere")
    empty = b.scratch / "empty"
    empty.mkdir()
    b.refuses("empty folder", b.train(folder=empty), "empty", images.replace(".gz", ""))

    # NaN in the data: an .npy set of float images.
    floats = b.scratch / "floats"
    floats.mkdir()
    for part, count in (("train", 64), ("test", 16)):
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 1, 28, 28), }}"
        header += " " * (63 - (10 + len(header)) % 64) + "\n"
        body = bytearray(struct.pack("<f", 0.25) * (count * 784))
        if part == "train":
            body[4 * 784 * 40:4 * 784 * 40 + 4] = struct.pack("<f", float("nan"))
        (floats / f"x_{part}.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + body)
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count},), }}"
        header += " " * (63 - (10 + len(header)) % 64) + "\n"
        (floats / f"y_{part}.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + bytes(i % 10 for i in range(count)))
    out = b.scratch / "nan"
    b.refuses("NaN in the data", b.train("--out", out, folder=floats), "NaN")
    if (out / "weights.safetensors").exists():
        FAILURES.append("NaN in the data: weights were written all the same")


def check_arguments(b):
    b.refuses("unknown model", b.train(model="lenet6"), "lenet6", "lenet5")
    for flags, patterns in ((("--batch-size", 0), ("(?i)batch", r"\b0\b")), (("--batch-size", -3), ("(?i)batch", "-3")),
                            (("--optimizer", "sdg"), ("sdg", "sgd")), (("--schedule", "cosin"), ("cosin", "cosine")),
                            (("--lr", "0"), ("lr",)), (("--lr", "nan"), ("lr",)), (("--threads", "100000"), ("100000",)),
                            (("--device", "cuda"), ("cuda", "(?i)CUDA Toolkit")), (("--device", "tpu"), ("tpu", "cpu")),
                            (("--resume",), ("--out",)), (("--label-smoothing", "1.5"), ("1.5",)), (("--image-size", "4"), ("4",))):
        b.refuses(" ".join(map(str, flags)), b.train(*flags), *patterns)
    b.refuses("plan, batch 0", b.run("plan", "resnet18", "--batch-size", 0), "(?i)batch", r"\b0\b")
    b.refuses("plan, unknown pass", b.run("plan", "lenet5", "--skip-pass", "nonsense"), "nonsense", "cse")
    b.refuses("plan, does not fit", b.run("plan", "resnet50", "--fit", "1MiB"), "1")
    b.refuses("no verb", b.run(), "(?i)verb|subcommand|help")


def check_checkpoints(b):
    out = b.scratch / "run"
    result = b.train("--out", out)
    if result.returncode != 0:
        sys.exit(f"a good run failed: {result.stderr}")
    before = snapshot(out)
    weights = out / "weights.safetensors"

    b.refuses("resume as another model", b.train("--out", out, "--resume", "--epochs", 2, model="mlp"), "mlp", "lenet5", keeps=out, before=before)
    b.refuses("start from another model's weights", b.train("--init", weights, model="mlp"), "fc1", keeps=out, before=before)

    for what, change in (("cut", lambda raw: raw[: len(raw) // 2]), ("empty", lambda raw: b""),
                         ("flipped bit", lambda raw: raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:]),
                         ("header of 2^63 bytes", lambda raw: struct.pack("<Q", 1 << 63) + raw[8:]),
                         ("header that is no JSON", lambda raw: raw[:8] + b"#" + raw[9:])):
        folder = b.scratch / f"corrupt {what}"
        shutil.copytree(out, folder)
        for name in ("weights.safetensors", "last.safetensors"):
            (folder / name).write_bytes(change((folder / name).read_bytes()))
        damaged = snapshot(folder)
        b.refuses(f"eval of a checkpoint: {what}", b.run("eval", folder / "weights.safetensors", "--data", b.data), "weights.safetensors", keeps=folder, before=damaged)
        b.refuses(f"resume of a checkpoint: {what}", b.train("--out", folder, "--resume", "--epochs", 2), "last.safetensors", keeps=folder, before=damaged)
    b.refuses("eval of nothing", b.run("eval", b.scratch / "none.safetensors"), "none.safetensors")
    b.refuses("predict on no array", b.run("predict", weights, weights), "weights.safetensors")
    return out


def mounted(folder, size):
    """A file system of that size on the folder, where this user may mount one."""
    folder.mkdir()
    return subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode == 0


def check_disks(b, run):
    b.refuses("output below a file", b.train("--out", run / "config.json" / "x"), "config.json")
    small = b.scratch / "small"
    if not mounted(small, "1300k"):  # a checkpoint of LeNet-5 with its momenta takes half a megabyte
        print("skip full disk and read-only directory: no right to mount")
        return
    try:
        shutil.copytree(run, small / "run")
        (small / "filler").write_bytes(b"\0" * (shutil.disk_usage(small).free - 150_000))
        before = snapshot(small / "run")
        b.refuses("full disk", b.train("--out", small / "run", "--resume", "--epochs", 3), "safetensors", "(?i)space", keeps=None)
        after = snapshot(small / "run")
        for name in ("last.safetensors", "weights.safetensors"):
            if after.get(name) != before[name]:
                FAILURES.append(f"full disk: {name} changed or went")
        if any(".tmp" in name for name in after):
            FAILURES.append(f"full disk: left {sorted(after)}")
        (small / "filler").unlink()
        again = b.train("--out", small / "run", "--resume", "--epochs", 3)
        if again.returncode != 0:
            FAILURES.append(f"full disk: the run could not go on when there was room again: {again.stderr}")
        before = snapshot(small / "run")
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        b.refuses("read-only directory", b.train("--out", small / "run", "--resume", "--epochs", 5), "(?i)read-only", keeps=small / "run", before=before)
        b.refuses("plan drawn on a read-only disk", b.run("plan", "lenet5", "--svg", small / "plan.svg"), "plan.svg")
    finally:
        subprocess.run(["umount", small], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ingot", type=pathlib.Path, required=True)
    args = parser.parse_args()
    os.environ["OMP_WAIT_POLICY"] = "passive"
    with tempfile.TemporaryDirectory() as scratch:
        b = Bench(args.ingot.absolute(), pathlib.Path(scratch))
        check_data(b)
        check_arguments(b)
        check_disks(b, check_checkpoints(b))
    for failure in FAILURES:
        print(f"FAILED {failure}")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
