"""Writes tests/golden/train_<model>.json: losses of twenty PyTorch training steps that Ingot must reproduce.

    python tests/golden/make_golden.py [--models lenet5 resnet20 resnet18]

It needs torch, torchvision and numpy. Weights and data come from formula.py, so the files hold results only.
Each case runs in float32 and in float64; the script fails when the two disagree by more than 2e-5 relative in any
loss, because then rounding alone could use up the 1e-4 that Ingot is allowed.

What one case is:
  - the model in training mode, cross-entropy loss (mean over the batch), one optimiser over all parameters;
  - step s uses batch b = s mod 4: inputs unit("input/b"), labels label("label/b"), both over the whole batch;
  - losses[s] is the loss before update s;
  - after the last step: for every float entry of the state dict its element count, sum and sum of squares
    (float64 run), and the loss in evaluation mode on batch 0, where the running statistics count.

The models are those of torch_models.py, with ten classes.
"""

import argparse
import json
import pathlib
import platform
import re
import sys

import numpy as np
import torch
import torchvision
from torch import nn

import formula
import torch_models

HERE = pathlib.Path(__file__).resolve().parent
STEPS, BATCHES, CLASSES, LIMIT = 20, 4, 10, 2e-5


# Batch size and shape of a sample.
MODELS = {"lenet5": (16, (1, 28, 28)), "resnet20": (8, (3, 32, 32)), "resnet18": (8, (3, 64, 64))}

# Options are PyTorch's; every option that Ingot reads is spelt out, so that no default is assumed. Learning rates are
# as high as the agreement of float32 with float64 allows. The ResNets use a larger eps, because Adam and RMSprop
# otherwise turn the rounding of a gradient near zero into a step of full size. Weight decay is chosen so strong that
# leaving it out changes the losses by more than 1e-3.
SGD = {"momentum": 0.9, "dampening": 0.0, "nesterov": False}
ADAM = {"beta1": 0.9, "beta2": 0.999}
RMSPROP = {"alpha": 0.99, "weight_decay": 0.0, "momentum": 0.0, "centered": False}
CASES = {
    "lenet5": [
        {"type": "sgd", "lr": 0.05, **SGD, "weight_decay": 0.01},
        {"type": "sgd", "lr": 0.05, **SGD, "weight_decay": 0.01, "nesterov": True},
        {"type": "adam", "lr": 0.003, **ADAM, "eps": 1e-8, "weight_decay": 0.0},
        {"type": "adamw", "lr": 0.003, **ADAM, "eps": 1e-8, "weight_decay": 0.5},
        {"type": "rmsprop", "lr": 0.0003, **RMSPROP, "eps": 1e-8},
    ],
    "resnet20": [
        {"type": "sgd", "lr": 0.01, **SGD, "weight_decay": 0.01},
        {"type": "adam", "lr": 0.0002, **ADAM, "eps": 1e-5, "weight_decay": 0.0},
        {"type": "adamw", "lr": 0.0002, **ADAM, "eps": 1e-5, "weight_decay": 10.0},
        {"type": "rmsprop", "lr": 0.00004, **RMSPROP, "eps": 1e-4},
    ],
    "resnet18": [
        {"type": "sgd", "lr": 0.0005, **SGD, "weight_decay": 0.1},
        {"type": "adam", "lr": 0.00001, **ADAM, "eps": 1e-5, "weight_decay": 0.0},
        {"type": "adamw", "lr": 0.00001, **ADAM, "eps": 1e-5, "weight_decay": 100.0},
        {"type": "rmsprop", "lr": 0.0000015, **RMSPROP, "eps": 1e-4},
    ],
}


def make_optimizer(options, parameters):
    options = dict(options)
    kind = options.pop("type")
    if "beta1" in options:
        options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW,
             "rmsprop": torch.optim.RMSprop}
    return kinds[kind](parameters, **options)


def run(name, options, dtype):
    model = torch_models.make(name, CLASSES)
    return train(model, MODELS[name], lambda m: make_optimizer(options, m.parameters()), dtype)


def unit_input(key, shape, dtype):
    return torch.from_numpy(formula.unit(key, shape)).to(dtype)


def train(model, sizes, optimizer_of, dtype, mode=lambda model: model.train(), input_of=unit_input):
    """What one case is, above; `mode` puts the model into its mode of training, `input_of` makes its inputs."""
    batch_size, sample = sizes
    model = model.to(dtype)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            value.copy_(torch.from_numpy(formula.parameter(key, tuple(value.shape))))
    batches = []
    for b in range(BATCHES):
        x = input_of(f"input/{b}", (batch_size, *sample), dtype)
        y = torch.from_numpy(formula.labels(f"label/{b}", batch_size, CLASSES))
        batches.append((x, y))
    optimizer = optimizer_of(model)
    loss_of = nn.CrossEntropyLoss()
    losses = []
    mode(model)
    for step in range(STEPS):
        x, y = batches[step % BATCHES]
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    model.eval()
    with torch.no_grad():
        eval_loss = float(loss_of(model(batches[0][0]), batches[0][1]))
    sums = {}
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value = value.double()
            sums[key] = [value.numel(), float(value.sum()), float(value.square().sum())]
    return losses, eval_loss, sums


def relative(a, b):
    return max(abs(x - y) / abs(y) for x, y in zip(a, b))


def made_with():
    return {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__,
            "machine": platform.machine()}


def compared(label, run):
    """A case's results, with how far float32 is from float64; says so, and complains above LIMIT."""
    losses32, eval32, sums32 = run(torch.float32)
    losses64, eval64, sums64 = run(torch.float64)
    deviation = relative(losses32 + [eval32], losses64 + [eval64])
    # Of sums, cancellation makes a plain relative error meaningless; the scale is sqrt(count * sum of squares).
    pairs = [(a, b) for a, b in zip(sums32.values(), sums64.values()) if b[2] > 0]  # not means that stayed 0
    sum_deviation = max(abs(a[1] - b[1]) / (b[0] * b[2]) ** 0.5 for a, b in pairs)
    square_deviation = max(abs(a[2] - b[2]) / b[2] for a, b in pairs)
    print(f"{label} loss {losses64[0]:.4f} -> {losses64[-1]:.4f}, eval {eval64:.4f}; float32 off by "
          f"{deviation:.1e} in losses, {sum_deviation:.1e} in sums, {square_deviation:.1e} in squares", flush=True)
    if not deviation <= LIMIT:
        print(f"  above {LIMIT:g}: lower the learning rate of this case", file=sys.stderr)
    return {"losses_f32": losses32, "losses_f64": losses64, "eval_loss_f32": eval32, "eval_loss_f64": eval64,
            "float32_deviation": {"loss": deviation, "sum": sum_deviation, "square": square_deviation}, "state": sums64}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    args = parser.parse_args()
    failed = False
    for name in args.models:
        batch_size, sample = MODELS[name]
        cases = []
        for options in CASES[name]:
            label = options["type"] + (" nesterov" if options.get("nesterov") else "")
            case = compared(f"{name:9} {label:13}", lambda dtype: run(name, options, dtype))
            failed = failed or case["float32_deviation"]["loss"] > LIMIT
            cases.append({"optimizer": options, **case})
        text = {"model": name, "batch_size": batch_size, "sample_shape": list(sample), "classes": CLASSES,
                "steps": STEPS, "batches": BATCHES,
                "made_with": made_with(), "cases": cases}
        if not failed:
            write(HERE / f"train_{name}.json", text)
    return 1 if failed else 0


def write(path, value):
    """JSON with each list of numbers on one line, so that a changed figure shows as one line in a diff."""
    text = json.dumps(value, indent=1)
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda m: "[" + re.sub(r"\s*\n\s*", " ", m.group(1)) + "]", text)
    path.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
