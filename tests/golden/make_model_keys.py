"""Writes tests/golden/model_keys.txt: the state dict of every model of the zoo that has a twin in PyTorch.

    python tests/golden/make_model_keys.py

It needs torch and torchvision, and downloads nothing. A line "model NAME ..." opens a model: how many parameters it has, and
for torchvision's models the multiply-adds for one image, in 10^9, that torchvision publishes. One line for each module that
has entries in the state dict follows, with their shapes; norm=C stands for a batch norm's five: weight, bias, running_mean
and running_var of C, and num_batches_tracked.
"""

import pathlib

import torch
import torchvision

import torch_models

NORM = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


def lines_of(name):
    with torch.device("meta"):
        model = torch_models.make(name, 10 if name in torch_models.SMALL else 1000)
    head = f"model {name} parameters={sum(p.numel() for p in model.parameters())}"
    if name in torch_models.TORCHVISION:
        head += f" gmacs={torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta['_ops']}"
    modules = {}
    for key, value in model.state_dict().items():
        module, _, entry = key.rpartition(".")
        modules.setdefault(module, {})[entry] = ",".join(map(str, value.shape))
    yield head
    for module, entries in modules.items():
        if set(entries) == NORM:
            entries = {"norm": entries["weight"]}
        yield " ".join([module, *(f"{entry}={shape}" for entry, shape in entries.items())])


def main():
    lines = ["# Written by make_model_keys.py, which says what the lines mean."]
    for name in torch_models.NAMES:
        lines += lines_of(name)
    path = pathlib.Path(__file__).resolve().parent / "model_keys.txt"
    path.write_text("\n".join(lines) + "\n")
    print(f"{path.name}: {len(torch_models.NAMES)} models, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
