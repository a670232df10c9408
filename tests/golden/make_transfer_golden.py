"""Writes tests/golden/train_transfer.json: fine-tuning as PyTorch does it, which Ingot must reproduce.

    python tests/golden/make_transfer_golden.py

Like make_golden.py (whose steps, data and limits these are), on a ResNet of one block a stage and 16 x 16 images. A case has
parameter groups of their own learning rate and weight decay, frozen parameters (requires_grad = False), and whether
the batch norms among those are in evaluation mode.
"""

import fnmatch
import sys

import torch
from torch import nn

import make_golden
import torch_models

SIZES = (8, (3, 16, 16))
SGD = {"type": "sgd", "lr": 0.01, **make_golden.SGD, "weight_decay": 0.01}
ADAMW = {"type": "adamw", "lr": 0.0002, **make_golden.ADAM, "eps": 1e-5, "weight_decay": 10.0}
GROUPS = [{"pattern": "layer*", "lr_scale": 0.1, "weight_decay": 0.5}, {"pattern": "*.bias", "lr_scale": 2.0, "weight_decay": 0.0}]
FREEZE = ["conv1.*", "bn1.*", "layer1.*"]
CASES = [
    {"optimizer": SGD, "groups": GROUPS, "freeze": [], "freeze_batch_norm": False},
    {"optimizer": ADAMW, "groups": GROUPS, "freeze": [], "freeze_batch_norm": False},
    {"optimizer": SGD, "groups": [], "freeze": FREEZE, "freeze_batch_norm": False},
    {"optimizer": SGD, "groups": GROUPS, "freeze": FREEZE, "freeze_batch_norm": True},
]


def run(case, dtype):
    model = torch_models.CifarResNet(1, make_golden.CLASSES)
    frozen = [name for name, _ in model.named_parameters() if any(fnmatch.fnmatch(name, p) for p in case["freeze"])]

    def optimizer_of(model):
        common = case["optimizer"]
        lists = [[] for _ in range(len(case["groups"]) + 1)]
        for name, parameter in model.named_parameters():
            if name in frozen:
                parameter.requires_grad = False
                continue
            k = next((k for k, g in enumerate(case["groups"]) if fnmatch.fnmatch(name, g["pattern"])), len(case["groups"]))
            lists[k].append(parameter)
        groups = [{"params": lists[-1]}]
        for g, parameters in zip(case["groups"], lists):
            if parameters:
                groups.append({"params": parameters, "lr": common["lr"] * g["lr_scale"], "weight_decay": g["weight_decay"]})
        return make_golden.make_optimizer(common, groups)

    def mode(model):
        model.train()
        for name, module in model.named_modules():
            if case["freeze_batch_norm"] and isinstance(module, nn.BatchNorm2d) and name + ".weight" in frozen:
                module.eval()

    return make_golden.train(model, SIZES, optimizer_of, dtype, mode)


def main():
    cases, failed = [], False
    for case in CASES:
        label = f"{case['optimizer']['type']}, {len(case['groups'])} groups, {len(case['freeze'])} frozen patterns:"
        found = make_golden.compared(label, lambda dtype: run(case, dtype))
        failed = failed or found["float32_deviation"]["loss"] > make_golden.LIMIT
        cases.append({**case, **found})
    text = {"model": "resnet of one block a stage", "batch_size": SIZES[0], "sample_shape": list(SIZES[1]),
            "classes": make_golden.CLASSES, "steps": make_golden.STEPS, "batches": make_golden.BATCHES,
            "made_with": make_golden.made_with(), "cases": cases}
    if not failed:
        make_golden.write(make_golden.HERE / "train_transfer.json", text)
    return 1 if failed else 0


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
