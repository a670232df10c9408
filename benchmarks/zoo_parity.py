#!/usr/bin/env python3
"""The logits of every model of the zoo beside those of its twin in PyTorch, for the same weights and images.

    build/venv-torch/bin/python benchmarks/zoo_parity.py                           # all that have a twin
    build/venv-torch/bin/python benchmarks/zoo_parity.py densenet121 convnext_tiny --batch-size 1

For each model: a state dict of random weights and running statistics goes to Ingot as safetensors, the model runs in evaluation
mode on both sides, and the logits may differ by at most 1e-4 of the largest. No parameter is 0 or 1, so that leaving any of them
out changes the logits; the script refuses logits that hardly depend on the image. Exit status 1 where a model differs. model_logits is Ingot's side; the twins are
those of tests/golden/torch_models.py, with the images and classes that `ingot info models` gives.
"""

import argparse
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torchvision.models import efficientnet, mobilenetv2, mobilenetv3, resnet

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import torch_models  # noqa: E402

TOLERANCE = 1e-4
# Blocks that add their input to what a branch makes of it.
BRANCHES = (resnet.BasicBlock, resnet.Bottleneck, mobilenetv2.InvertedResidual, mobilenetv3.InvertedResidual, efficientnet.MBConv)
DTYPES = {torch.float32: "F32", torch.int64: "I64"}


def randomise(model, x, generator):
    """Other values for every entry of the state dict. The running statistics are near those of `x`, and residual branches end
    small: a deep network would otherwise amplify rounding, and no two programs would agree on its logits."""
    def uniform(value, low, high):
        value.copy_(low + (high - low) * torch.rand(value.shape, generator=generator))

    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("layer_scale") or (value.dim() == 1 and key.endswith("weight")):
                uniform(value, 0.5, 1.5)
            elif value.dim() == 1:  # a bias
                uniform(value, -0.2, 0.2)
            else:
                fan_in = value.numel() // value.shape[0]
                value.copy_(math.sqrt(2.0 / fan_in) * torch.randn(value.shape, generator=generator))
        for block in model.modules():
            if isinstance(block, BRANCHES):
                last = [m for n, m in block.named_modules() if isinstance(m, torch.nn.BatchNorm2d) and "downsample" not in n][-1]
                last.weight *= 0.25
        norms = [m for m in model.eval().modules() if isinstance(m, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        model(x)
        for norm in norms:
            norm.eval()
            shift, scale = torch.empty_like(norm.running_mean), torch.empty_like(norm.running_var)
            uniform(shift, -0.2, 0.2)
            uniform(scale, 0.7, 1.4)
            norm.running_mean += shift * norm.running_var.sqrt()
            norm.running_var *= scale


def write_safetensors(path, tensors):
    """The format is a length, a JSON header and the elements: too little to install a package for."""
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())  # so that each lies aligned
    header, offset = {}, 0
    for key, value in ordered:
        end = offset + value.numel() * value.element_size()
        header[key] = {"dtype": DTYPES[value.dtype], "shape": list(value.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, value in ordered:
            file.write(value.contiguous().numpy().tobytes())


def read_logits(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8:8 + length])["logits"]
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[8 + length + begin:8 + length + end], dtype="<f4").reshape(entry["shape"])


def compare(args, folder, info, generator):
    """Returns the largest difference, and the difference that the image makes, both in shares of the largest logit."""
    model = torch_models.make(info["name"], info["classes"])
    size = args.image_size or info["image_size"]

    def images(count):
        return torch.randn((count, info["channels"], size, size), generator=generator)

    randomise(model, images(max(args.batch_size, 4)), generator)
    x = images(args.batch_size)
    given, out = folder / "given.safetensors", folder / "logits.safetensors"
    write_safetensors(given, {**model.state_dict(), "x": x})
    done = subprocess.run([str(args.model_logits), info["name"], str(given), str(out), "--threads", str(args.threads)],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr or done.stdout).strip())
    with torch.no_grad():
        theirs, other = model(x).double().numpy(), model(-x).double().numpy()
    ours = read_logits(out)
    if ours.shape != theirs.shape:
        raise RuntimeError(f"logits of shape {ours.shape}, PyTorch's {theirs.shape}")
    largest = np.abs(theirs).max()
    return np.abs(ours - theirs).max() / largest, np.abs(other - theirs).max() / largest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="default: every model that has a twin")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--image-size", type=int, help="default: each model's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    programs = ROOT / "build" / "release" / "bin"
    parser.add_argument("--ingot", type=pathlib.Path, default=programs / "ingot")
    parser.add_argument("--model-logits", type=pathlib.Path, default=programs / "model_logits")
    args = parser.parse_args()
    for program in (args.ingot, args.model_logits):
        if not program.exists():
            sys.exit(f"zoo_parity: {program} is not there; build it: cmake --preset release && cmake --build --preset release")
    torch.set_num_threads(args.threads)
    listed = json.loads(subprocess.run([str(args.ingot), "info", "models", "--json"], check=True, capture_output=True).stdout)
    zoo = {info["name"]: info for info in listed if info["name"] in torch_models.NAMES}
    unknown = [name for name in args.models if name not in zoo]
    if unknown:
        sys.exit(f"zoo_parity: no twin in PyTorch for {', '.join(unknown)}; choose from {', '.join(zoo)}")
    failures = 0
    print(f"{'model':20} {'difference':>10} {'of the image':>12}   (of the largest logit)")
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models or zoo:
            try:
                apart, image = compare(args, pathlib.Path(folder), zoo[name], torch.Generator().manual_seed(args.seed))
            except RuntimeError as e:
                failures += 1
                print(f"{name:20} {e}", flush=True)
                continue
            why = "" if apart <= TOLERANCE else f"  more than {TOLERANCE:g}"  # so is NaN
            if not image > 100 * TOLERANCE:
                why += "  the logits hardly depend on the image"
            failures += bool(why)
            print(f"{name:20} {apart:10.1e} {image:12.1e}{why}", flush=True)
    print(f"{failures} of {len(args.models or zoo)} differ")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
