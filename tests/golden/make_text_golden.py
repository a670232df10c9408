"""Writes tests/golden/train_text_cnn.json: Kim's network of texts as PyTorch trains it, which Ingot must reproduce.

    python tests/golden/make_text_golden.py

Like make_golden.py (whose steps, data and limits these are) without dropout, on texts of 1 to 12 words out of 39, filled up
with zeros: the shorter ones are shorter than the widest filter. Beside the steps the file holds the state-dict keys
with their shapes, and the logits of the weights from formula.py in float64.
"""

import sys

import numpy as np
import torch
from torch import nn

import formula
import make_golden

VOCABULARY, WIDTH, FILTERS, WIDTHS = 40, 12, 6, (3, 4, 5)
SIZES = (8, (12,))
CASES = [
    {"type": "sgd", "lr": 0.05, **make_golden.SGD, "weight_decay": 0.01},
    {"type": "adam", "lr": 0.003, **make_golden.ADAM, "eps": 1e-8, "weight_decay": 0.0},
]


class TextCnn(nn.Module):
    """Embedding, filters over words, the maximum over time of what they say inside the text, linear layer.

    padding_idx would hold the zeros' embedding at zero; here its weights are like the others' and it is taken out in
    forward(), which is the same and needs no rule for the start."""

    def __init__(self, classes):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.convs = nn.ModuleList(nn.Conv2d(WIDTH, FILTERS, (w, 1)) for w in WIDTHS)
        self.fc = nn.Linear(FILTERS * len(WIDTHS), classes)

    def forward(self, x):
        there = x != 0
        words = (self.embedding(x) * there.unsqueeze(2)).transpose(1, 2).unsqueeze(3)
        strongest = []
        for conv, w in zip(self.convs, WIDTHS):
            answers = conv(words).squeeze(3)
            # A filter reads within the text, or from the start of one that is too short for it.
            lengths = there.sum(1, keepdim=True).clamp(min=w)
            outside = torch.arange(answers.shape[2]).unsqueeze(0) + w > lengths
            answers = answers.masked_fill(outside.unsqueeze(1), float("-inf"))
            strongest.append(torch.relu(answers).amax(2))
        return self.fc(torch.cat(strongest, 1))


def texts(key, shape, dtype=None):
    tokens = formula.labels(key, shape[0] * shape[1], VOCABULARY - 1).reshape(shape) + 1
    lengths = formula.labels(key + "/length", shape[0], shape[1]) + 1
    return torch.from_numpy(np.where(np.arange(shape[1]) < lengths[:, None], tokens, 0))


def run(options, dtype):
    return make_golden.train(TextCnn(make_golden.CLASSES), SIZES, lambda m: make_golden.make_optimizer(options, m.parameters()),
                             dtype, input_of=texts)


def logits():
    model = TextCnn(make_golden.CLASSES).double()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            value.copy_(torch.from_numpy(formula.parameter(key, tuple(value.shape))))
        found = model(texts("input/0", (SIZES[0], *SIZES[1])))
    return {k: list(v.shape) for k, v in model.state_dict().items()}, [round(v, 9) for v in found.flatten().tolist()]


def main():
    cases, failed = [], False
    for options in CASES:
        case = make_golden.compared(f"text_cnn {options['type']}", lambda dtype: run(options, dtype))
        failed = failed or case["float32_deviation"]["loss"] > make_golden.LIMIT
        cases.append({"optimizer": options, **case})
    keys, values = logits()
    text = {"model": "text_cnn", "batch_size": SIZES[0], "sample_shape": list(SIZES[1]), "classes": make_golden.CLASSES,
            "vocabulary": VOCABULARY, "embedding": WIDTH, "filters": FILTERS, "keys": keys, "logits": values,
            "steps": make_golden.STEPS, "batches": make_golden.BATCHES, "made_with": make_golden.made_with(), "cases": cases}
    if not failed:
        make_golden.write(make_golden.HERE / "train_text_cnn.json", text)
    return 1 if failed else 0


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
