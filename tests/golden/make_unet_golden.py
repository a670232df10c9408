"""Writes tests/golden/unet.json: state-dict keys with shapes, and the logits that PyTorch computes in float64, of a narrow
U-Net with the modules of mateuszbuda/brain-segmentation-pytorch's `unet` and weights from formula.py.

    python tests/golden/make_unet_golden.py
"""

import json
import pathlib
from collections import OrderedDict

import numpy as np
import torch
from torch import nn

import formula

HERE = pathlib.Path(__file__).resolve().parent


def block(prefix, inputs, outputs):
    layers = OrderedDict()
    for i, (a, b) in enumerate(((inputs, outputs), (outputs, outputs)), 1):
        layers[f"{prefix}conv{i}"] = nn.Conv2d(a, b, 3, padding=1, bias=False)
        layers[f"{prefix}norm{i}"] = nn.BatchNorm2d(b)
        layers[f"{prefix}relu{i}"] = nn.ReLU()
    return nn.Sequential(layers)


class UNet(nn.Module):
    def __init__(self, inputs, outputs, width):
        super().__init__()
        for i in range(1, 5):
            wide = width << (i - 1)
            setattr(self, f"encoder{i}", block(f"enc{i}", inputs if i == 1 else wide // 2, wide))
            setattr(self, f"upconv{i}", nn.ConvTranspose2d(2 * wide, wide, 2, stride=2))
            setattr(self, f"decoder{i}", block(f"dec{i}", 2 * wide, wide))
        self.bottleneck = block("bottleneck", 8 * width, 16 * width)
        self.conv = nn.Conv2d(width, outputs, 1)

    def forward(self, x):
        skipped = []
        for i in range(1, 5):
            skipped.append(getattr(self, f"encoder{i}")(x))
            x = nn.functional.max_pool2d(skipped[-1], 2)
        x = self.bottleneck(x)
        for i in range(4, 0, -1):
            x = getattr(self, f"decoder{i}")(torch.cat((getattr(self, f"upconv{i}")(x), skipped[i - 1]), 1))
        return self.conv(x)


def main():
    net = UNet(2, 3, 3).double().eval()
    weights = net.state_dict()
    for key, tensor in weights.items():
        if tensor.is_floating_point():
            fan = max(1, tensor[0].numel())
            # Variances lie between 1 and 2.
            scale, offset = (1.5 / fan**0.5, 0.0) if tensor.dim() > 1 else (0.5, 1.5 if key.endswith("running_var") else 0.5)
            tensor.copy_(torch.from_numpy(offset + scale * formula.unit(key, tuple(tensor.shape)).astype(np.float64)))
    x = torch.from_numpy(formula.unit("unet/x", (2, 2, 32, 16)).astype(np.float64))
    with torch.no_grad():
        y = net(x)
    data = {"made_with": {"torch": torch.__version__},
            "keys": {k: list(v.shape) for k, v in weights.items()},
            "logits": [round(v, 9) for v in y.flatten()[::7].tolist()]}
    path = HERE / "unet.json"
    path.write_text(json.dumps(data) + "\n")
    print(f"{path.name}: {path.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
