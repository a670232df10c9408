#!/usr/bin/env python3
"""Writes pixel_ops.json: every seventh value of what torchvision makes of a small image, for
tests/data/test_pixel_ops.cpp.

    python tests/golden/pixel_ops.py        # with torch, torchvision and pillow
"""

import json
import pathlib

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as F

HEIGHT, WIDTH = 17, 18


def image():
    """The test's image: values by a linear congruence, so that both sides can make it."""
    state, out = 12345, []
    for _ in range(HEIGHT * WIDTH * 3):
        state = (state * 1103515245 + 12345) % 2**31
        out.append(40 + (state >> 16) % 180)
    return torch.tensor(out, dtype=torch.uint8).reshape(HEIGHT, WIDTH, 3).permute(2, 0, 1)


def main():
    x = image()
    pillow = Image.fromarray(x.permute(1, 2, 0).numpy())
    results = {
        "brightness 1.4": F.adjust_brightness(x, 1.4),
        "contrast 0.5": F.adjust_contrast(x, 0.5),
        "contrast 1.7": F.adjust_contrast(x, 1.7),
        "saturation 0.3": F.adjust_saturation(x, 0.3),
        "saturation 1.8": F.adjust_saturation(x, 1.8),
        "hue 0.2": F.adjust_hue(x, 0.2),
        "hue -0.4": F.adjust_hue(x, -0.4),
        "sharpness 0.2": F.adjust_sharpness(x, 0.2),
        "sharpness 1.9": F.adjust_sharpness(x, 1.9),
        "posterize 3": F.posterize(x, 3),
        "solarize 128": F.solarize(x, 128),
        "autocontrast": F.autocontrast(x),
        "equalize": F.equalize(x),
        "shear 0.3": torch.from_numpy(np.array(pillow.transform(
            pillow.size, Image.Transform.AFFINE, (1, 0.3, 0, 0, 1, 0)))).permute(2, 0, 1),
        "translate 2 -3": F.affine(x, 0, [2, -3], 1.0, [0.0, 0.0]),
        "rotate 25": F.rotate(x, 25),
    }
    out = {name: value.permute(1, 2, 0).reshape(-1)[::7].tolist() for name, value in results.items()}
    text = ",\n".join(f" {json.dumps(name)}: {json.dumps(values, separators=(',', ':'))}" for name, values in out.items())
    pathlib.Path(__file__).with_suffix(".json").write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
