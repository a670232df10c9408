"""Writes tests/golden/op_<family>.json: what PyTorch computes in float64 for small cases of each op.

    python tests/golden/make_op_golden.py

README.md describes the files. A case is written down as a PyTorch function of its inputs; this script evaluates it,
takes the gradient of sum_k sum(outputs[k] * unit("<op>/<name>/cotangent/<k>")) with respect to each floating input,
and stores both. Attributes bear Ingot's names.
"""

import json
import pathlib
import warnings

import numpy as np
import torch
from torch.nn import functional as F

import formula

HERE = pathlib.Path(__file__).resolve().parent
warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
warnings.filterwarnings("ignore", message="reduction: .mean. divides the total loss")  # of kl_div: what it does is meant


# ---------------------------------------------------------------- inputs

class Input:
    """What is stored of an input, its value, and whether its gradient is stored."""

    def __init__(self, stored, value, grad):
        self.stored, self.value, self.grad = stored, value, grad


def unit(key, *shape, scale=1.0, offset=0.0, grad=True):
    """offset + scale * unit(key), float64."""
    value = torch.from_numpy(offset + scale * formula.unit(key, shape).astype(np.float64))
    return Input({"key": key, "shape": list(shape), "scale": scale, "offset": offset}, value, grad)


def values(numbers, *shape, dtype="f64", grad=True):
    kind = {"f64": torch.float64, "i64": torch.int64, "bool": torch.bool}[dtype]
    value = torch.tensor(numbers, dtype=kind).reshape(shape or (len(numbers),))
    return Input({"values": numbers, "shape": list(value.shape), "dtype": dtype}, value, grad and dtype == "f64")


def indices(numbers, *shape):
    return values(numbers, *shape, dtype="i64")


# ---------------------------------------------------------------- cases

class Family:
    def __init__(self, name):
        self.name, self.cases = name, []

    def add(self, op, name, function, inputs, **attrs):
        tensors = [i.value.clone().requires_grad_(i.grad) for i in inputs]
        outputs = function(*tensors)
        outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        wanted = [t for t in tensors if t.requires_grad]
        loss = sum((o * torch.from_numpy(formula.unit(f"{op}/{name}/cotangent/{k}", tuple(o.shape)))).sum()
                   for k, o in enumerate(outputs) if o.requires_grad)
        found = iter(torch.autograd.grad(loss, wanted) if wanted else [])
        grads = [stored(next(found)) if t.requires_grad else None for t in tensors]
        self.put(op, name, attrs, inputs, outputs, grads)

    def put(self, op, name, attrs, inputs, outputs, grads=()):
        if any(c["op"] == op and c["name"] == name for c in self.cases):
            raise ValueError(f"two cases are called {op}/{name}")
        self.cases.append({"op": op, "name": name, "attrs": attrs, "inputs": [i.stored for i in inputs],
                           "outputs": [stored(o) for o in outputs], "grads": list(grads)})

    def write(self):
        text = ",\n".join("  " + json.dumps(c) for c in self.cases)
        path = HERE / f"op_{self.name}.json"
        path.write_text('{"made_with": ' + json.dumps({"torch": torch.__version__}) + ',\n "cases": [\n' + text + "\n]}\n")
        print(f"{path.name}: {len(self.cases)} cases, {path.stat().st_size / 1000:.1f} kB")


def stored(tensor):
    flat = tensor.detach().reshape(-1).tolist()
    # Fifteen digits: beyond the tolerance of any comparison, and shorter.
    flat = [float(f"{v:.15g}") if isinstance(v, float) else int(v) for v in flat]
    return {"shape": list(tensor.shape), "values": flat}


def conv():
    family = Family("conv")

    def case(name, x, w, bias=True, **attrs):
        full = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, **attrs}
        inputs = [unit(f"conv/{name}/x", *x), unit(f"conv/{name}/w", *w)]
        if bias:
            inputs.append(unit(f"conv/{name}/b", w[0]))
        family.add("conv2d", name, lambda *t: F.conv2d(*t, **full), inputs, has_bias=bias, **full)

    case("plain", (2, 3, 5, 6), (4, 3, 3, 3))
    case("padded", (1, 2, 5, 5), (3, 2, 3, 3), padding=[1, 1])
    case("strided", (1, 3, 7, 8), (4, 3, 3, 3), bias=False, stride=[2, 2], padding=[1, 1])
    case("uneven", (1, 2, 7, 6), (3, 2, 3, 2), stride=[3, 1], padding=[0, 1], dilation=[1, 2])
    case("dilated", (1, 2, 8, 8), (2, 2, 3, 3), dilation=[2, 3], padding=[2, 0])
    case("grouped", (2, 4, 5, 5), (6, 2, 3, 3), padding=[1, 1], groups=2)
    case("depthwise", (1, 4, 6, 6), (4, 1, 3, 3), bias=False, stride=[2, 2], padding=[1, 1], groups=4)
    case("depthwise_multiplier", (1, 3, 5, 5), (6, 1, 3, 3), padding=[1, 1], groups=3)
    case("pointwise", (2, 5, 3, 4), (4, 5, 1, 1))
    case("pointwise_strided", (1, 4, 5, 5), (6, 4, 1, 1), bias=False, stride=[2, 2])
    case("whole_image", (2, 2, 4, 3), (3, 2, 4, 3))
    case("kernel_mostly_padding", (1, 1, 2, 2), (2, 1, 5, 5), padding=[2, 2])

    def transposed(name, x, weight, bias=True, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), groups=1,
                   dilation=(1, 1)):
        inputs = [unit(f"conv_transpose2d/{name}/x", *x), unit(f"conv_transpose2d/{name}/weight", *weight)]
        if bias:
            inputs.append(unit(f"conv_transpose2d/{name}/bias", weight[1] * groups))
        family.add("conv_transpose2d", name,
                   lambda x, w, b=None: F.conv_transpose2d(x, w, b, stride, padding, output_padding, groups, dilation),
                   inputs, has_bias=bias, stride=list(stride), padding=list(padding),
                   output_padding=list(output_padding), groups=groups, dilation=list(dilation))

    transposed("plain", (2, 3, 4, 5), (3, 4, 3, 3))
    transposed("twice", (2, 3, 4, 5), (3, 2, 4, 4), stride=(2, 2), padding=(1, 1))
    transposed("output_padding", (1, 2, 4, 3), (2, 3, 3, 3), stride=(2, 3), padding=(1, 1), output_padding=(1, 2))
    transposed("grouped", (1, 4, 3, 3), (4, 2, 3, 2), bias=False, stride=(2, 1), groups=2)
    transposed("dilated", (1, 2, 4, 4), (2, 2, 3, 2), padding=(1, 0), dilation=(2, 3))
    # More output padding than the stride, which the dilation allows.
    transposed("beyond_the_stride", (1, 2, 3, 3), (2, 2, 2, 2), stride=(1, 2), output_padding=(2, 2), dilation=(3, 3))
    return family


def pool():
    family = Family("pool")

    def case(op, function, name, x, **attrs):
        family.add(op, name, function, [unit(f"{op}/{name}/x", *x)], **attrs)

    def maximum(name, x, kernel, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
        attrs = {"kernel": list(kernel), "stride": list(stride), "padding": list(padding), "dilation": list(dilation),
                 "ceil_mode": ceil_mode}
        case("max_pool2d", lambda t: F.max_pool2d(t, kernel, stride, padding, dilation, ceil_mode), name, x, **attrs)

    def average(name, x, kernel, stride, padding=(0, 0), ceil_mode=False, count_include_pad=True):
        attrs = {"kernel": list(kernel), "stride": list(stride), "padding": list(padding), "ceil_mode": ceil_mode,
                 "count_include_pad": count_include_pad}
        case("avg_pool2d", lambda t: F.avg_pool2d(t, kernel, stride, padding, ceil_mode, count_include_pad), name, x,
             **attrs)

    def adaptive(name, x, output_size):
        case("adaptive_avg_pool2d", lambda t: F.adaptive_avg_pool2d(t, output_size), name, x,
             output_size=list(output_size))

    maximum("plain", (2, 2, 4, 6), (2, 2), (2, 2))
    maximum("overlapping_padded", (1, 2, 7, 7), (3, 3), (2, 2), (1, 1))
    maximum("uneven", (1, 2, 7, 8), (3, 2), (1, 3), (1, 0))
    maximum("ceil", (1, 2, 6, 7), (3, 3), (2, 2), ceil_mode=True)
    # The last window of ceil mode would start in the padding, so PyTorch drops it.
    maximum("ceil_dropped_window", (1, 1, 5, 4), (2, 2), (3, 3), (1, 1), ceil_mode=True)
    maximum("dilated", (1, 2, 8, 8), (3, 3), (1, 2), (1, 1), (2, 2))
    average("plain", (2, 2, 4, 6), (2, 2), (2, 2))
    average("padding_counted", (1, 2, 5, 6), (3, 3), (2, 2), (1, 1))
    average("padding_not_counted", (1, 2, 5, 6), (3, 3), (2, 2), (1, 1), count_include_pad=False)
    # With ceil mode the part of a window beyond the padding is never counted, even with count_include_pad.
    average("ceil_counted", (1, 2, 6, 7), (3, 3), (2, 2), (1, 1), ceil_mode=True)
    average("ceil_not_counted", (1, 2, 6, 7), (3, 3), (2, 2), (1, 1), ceil_mode=True, count_include_pad=False)
    average("ceil_dropped_window", (1, 1, 5, 4), (2, 2), (3, 3), (1, 1), ceil_mode=True)
    average("uneven", (1, 2, 6, 5), (2, 3), (1, 2), (1, 0))
    adaptive("global", (2, 3, 4, 5), (1, 1))
    adaptive("uneven", (1, 2, 7, 5), (3, 2))
    adaptive("overlapping", (1, 2, 5, 7), (4, 5))
    adaptive("enlarging", (1, 1, 2, 3), (5, 3))

    # The second output is the indices.
    def with_indices(name, x, kernel, stride, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
        attrs = {"kernel": list(kernel), "stride": list(stride), "padding": list(padding), "dilation": list(dilation),
                 "ceil_mode": ceil_mode}
        case("max_pool2d_with_indices",
             lambda t: F.max_pool2d(t, kernel, stride, padding, dilation, ceil_mode, return_indices=True), name, x, **attrs)

    with_indices("plain", (2, 2, 4, 6), (2, 2), (2, 2))
    with_indices("overlapping_padded", (1, 2, 7, 7), (3, 3), (2, 2), (1, 1))
    with_indices("dilated", (1, 2, 8, 9), (3, 2), (1, 2), (1, 0), (2, 3))
    with_indices("ceil", (1, 2, 6, 7), (3, 2), (2, 2), ceil_mode=True)

    def unpool(name, shape, kernel, stride, padding=(0, 0), size=None):
        x = unit(f"max_unpool2d/{name}/x", *shape)
        pooled, found = F.max_pool2d(x.value, kernel, stride, padding, return_indices=True)
        small = unit(f"max_unpool2d/{name}/pooled", *pooled.shape)
        attrs = {"kernel": list(kernel), "stride": list(stride), "padding": list(padding)}
        if size:
            attrs["output_size"] = list(size)
        family.add("max_unpool2d", name, lambda t, i: F.max_unpool2d(t, i, kernel, stride, padding, size),
                   [small, indices(found.reshape(-1).tolist(), *found.shape)], **attrs)

    unpool("plain", (2, 2, 4, 6), (2, 2), (2, 2))
    unpool("odd", (1, 2, 5, 7), (2, 2), (2, 2), size=(5, 7))
    unpool("padded", (1, 2, 6, 6), (3, 3), (3, 3), (1, 1), size=(6, 6))
    return family


def resize():
    family = Family("resize")

    def case(name, x, mode, size=None, factor=None, align_corners=False):
        attrs = {"mode": mode, "align_corners": align_corners}
        if size:
            attrs["size"] = list(size)
        else:
            attrs.update(factor_h=float(factor[0]), factor_w=float(factor[1]))
        family.add("interpolate", name,
                   lambda t: F.interpolate(t, size, factor, mode, align_corners if mode == "bilinear" else None),
                   [unit(f"interpolate/{name}/x", *x)], **attrs)

    for mode in ("nearest", "nearest-exact", "bilinear"):
        case(f"{mode}_twice", (2, 2, 3, 4), mode, factor=(2.0, 2.0))
        case(f"{mode}_up", (1, 2, 4, 5), mode, (7, 9))
        case(f"{mode}_down", (1, 2, 7, 6), mode, (3, 2))
        case(f"{mode}_factor", (1, 2, 5, 6), mode, factor=(1.7, 0.6))
    case("corners_up", (1, 2, 3, 4), "bilinear", (5, 9), align_corners=True)
    case("corners_down", (1, 2, 6, 7), "bilinear", (3, 1), align_corners=True)
    case("corners_factor", (1, 2, 4, 3), "bilinear", factor=(1.5, 2.0), align_corners=True)
    case("corners_one", (1, 2, 1, 3), "bilinear", (3, 4), align_corners=True)
    family.add("pixel_shuffle", "plain", lambda t: F.pixel_shuffle(t, 2), [unit("pixel_shuffle/x", 2, 8, 2, 3)], factor=2)
    family.add("pixel_unshuffle", "plain", lambda t: F.pixel_unshuffle(t, 3), [unit("pixel_unshuffle/x", 2, 2, 3, 6)],
               factor=3)
    return family


def norm():
    family = Family("norm")

    def batch(name, x, momentum=0.1, eps=1e-5, offset=0.0, gamma=1.0, beta=0.0, activation=None):
        c = x[1]
        inputs = [unit(f"batch_norm/{name}/x", *x, scale=2.0, offset=offset),
                  unit(f"batch_norm/{name}/gamma", c, scale=gamma, offset=0.5 * gamma),
                  unit(f"batch_norm/{name}/beta", c, offset=beta),
                  unit(f"batch_norm/{name}/mean", c, grad=False),
                  unit(f"batch_norm/{name}/var", c, scale=0.5, offset=1.0, grad=False)]

        def train(t, gamma, beta, mean, var):
            mean, var = mean.clone(), var.clone()
            y = F.batch_norm(t, mean, var, gamma, beta, True, momentum, eps)
            if activation is not None:
                y = getattr(F, activation)(y)
            return y, mean, var  # the running statistics afterwards

        more = {} if activation is None else {"activation": activation}
        family.add("batch_norm", name, train, inputs, momentum=momentum, eps=eps, **more)

    batch("plain", (3, 2, 2, 3))
    batch("momentum_eps", (2, 3, 2, 2), momentum=0.4, eps=0.01)
    batch("two_axes", (5, 3))
    batch("two_values", (2, 2, 1, 1))
    batch("far_from_zero", (3, 2, 2, 2), offset=1000.0)
    batch("relu", (4, 3, 2, 3), activation="relu")
    batch("relu6", (4, 3, 2, 3), gamma=20.0, beta=3.0, activation="relu6")
    family.add("batch_norm_infer", "plain", lambda t, g, b, m, v: F.batch_norm(t, m, v, g, b, False, 0.1, 1e-3),
               [unit("batch_norm_infer/x", 2, 3, 2, 2), unit("batch_norm_infer/gamma", 3), unit("batch_norm_infer/beta", 3),
                unit("batch_norm_infer/mean", 3, grad=False),
                unit("batch_norm_infer/var", 3, scale=0.5, offset=1.0, grad=False)], eps=1e-3)

    def layer(name, x, axis, eps=1e-5, offset=0.0):
        inner = x[axis:]
        family.add("layer_norm", name, lambda t, g, b: F.layer_norm(t, inner, g, b, eps),
                   [unit(f"layer_norm/{name}/x", *x, offset=offset), unit(f"layer_norm/{name}/gamma", *inner, offset=0.5),
                    unit(f"layer_norm/{name}/beta", *inner)], axis=axis, eps=eps)

    layer("last_axis", (3, 5), -1)
    layer("two_axes", (2, 3, 4), -2, eps=1e-3)
    layer("whole_sample", (2, 2, 2, 3), -3)
    layer("far_from_zero", (2, 6), -1, offset=1000.0)

    def group(name, x, groups, eps=1e-5, offset=0.0, affine=True):
        c = x[1]
        inputs = [unit(f"group_norm/{name}/x", *x, offset=offset)]
        if affine:
            inputs += [unit(f"group_norm/{name}/gamma", c, offset=0.5), unit(f"group_norm/{name}/beta", c)]
        family.add("group_norm", name, lambda t, g=None, b=None: F.group_norm(t, groups, g, b, eps), inputs,
                   num_groups=groups, eps=eps)

    group("plain", (2, 6, 2, 3), 3)
    group("one", (2, 4, 3, 2), 1)
    group("each", (2, 3, 2, 2), 3, eps=1e-3)
    group("rows", (3, 6), 2)
    group("bare", (2, 4, 2, 2), 2, affine=False)
    group("far_from_zero", (2, 4, 2, 2), 2, offset=1000.0)

    def instance(name, x, affine=True):
        inputs = [unit(f"instance_norm/{name}/x", *x)]
        if affine:
            inputs += [unit(f"instance_norm/{name}/gamma", x[1], offset=0.5), unit(f"instance_norm/{name}/beta", x[1])]
        family.add("instance_norm", name, lambda t, g=None, b=None: F.instance_norm(t, None, None, g, b, True, 0.1, 1e-4),
                   inputs, eps=1e-4)

    instance("plain", (2, 3, 2, 3))
    instance("bare", (2, 3, 4), affine=False)

    def response(name, x, size, alpha=1e-4, beta=0.75, k=1.0):
        family.add("local_response_norm", name, lambda t: F.local_response_norm(t, size, alpha, beta, k),
                   [unit(f"local_response_norm/{name}/x", *x, scale=3.0)], size=size, alpha=alpha, beta=beta, k=k)

    response("alexnet", (2, 7, 3, 2), 5, k=2.0)
    response("strong", (1, 6, 2, 2), 3, alpha=2.0, beta=0.5)
    response("even", (1, 5, 2, 3), 4, alpha=1.0)
    response("wider_than_all", (1, 3, 2, 2), 9, alpha=1.0)
    response("sequence", (2, 4, 5), 3, alpha=1.0)
    for name, p, axis in (("two", 2.0, 1), ("one", 1.0, -1), ("three", 3.0, 0)):
        family.add("normalize", name, lambda t: F.normalize(t, p, axis), [unit("normalize/x", 3, 4, 2)], p=p, axis=axis,
                   eps=1e-12)
    family.add("normalize", "short", lambda t: F.normalize(t, 2.0, 1, 0.5), [unit("normalize/short", 3, 4, scale=0.1)],
               p=2.0, axis=1, eps=0.5)
    return family


def softmax():
    family = Family("softmax")
    for name, shape, axis in (("last", (3, 5), -1), ("first", (4, 3), 0), ("channels", (2, 4, 3, 2), 1)):
        for op, function in (("softmax", F.softmax), ("log_softmax", F.log_softmax)):
            family.add(op, name, lambda t: function(t, axis), [unit(f"softmax/{name}/x", *shape, scale=4.0)], axis=axis)
    wild = [1000.0, 999.0, -1000.0, 0.0, -700.0, -701.5, -745.0, -700.25]
    family.add("softmax", "wild", lambda t: F.softmax(t, -1), [values(wild, 2, 4)], axis=-1)
    family.add("log_softmax", "wild", lambda t: F.log_softmax(t, -1), [values(wild, 2, 4)], axis=-1)
    return family


def loss():
    family = Family("loss")

    def entropy(name, logits, labels, smoothing=0.0, ignore=-100, reduction="mean", scale=3.0):
        family.add("cross_entropy", name,
                   lambda x, y: F.cross_entropy(x, y, ignore_index=ignore, label_smoothing=smoothing,
                                                reduction=reduction),
                   [unit(f"cross_entropy/{name}/logits", *logits, scale=scale), labels],
                   label_smoothing=smoothing, ignore_index=ignore, reduction=reduction)

    entropy("plain", (4, 5), indices([1, 0, 4, 4]))
    entropy("sum", (4, 5), indices([1, 0, 4, 4]), reduction="sum")
    entropy("none", (4, 5), indices([1, 0, 4, 4]), reduction="none")
    entropy("smoothed", (4, 5), indices([1, 0, 4, 4]), smoothing=0.1)
    entropy("ignored", (5, 4), indices([2, -100, 0, -100, 3]))
    entropy("ignored_class", (5, 4), indices([2, 1, 0, 1, 3]), ignore=1)
    entropy("smoothed_ignored", (5, 4), indices([2, -100, 0, -100, 3]), smoothing=0.2)
    entropy("smoothed_ignored_none", (5, 4), indices([2, -100, 0, -100, 3]), smoothing=0.2, reduction="none")
    entropy("pixels", (2, 3, 2, 2), indices([0, 1, 2, 2, -100, 0, 1, 1], 2, 2, 2), smoothing=0.1)
    entropy("large", (3, 4), indices([0, 1, 2]), scale=500.0)
    for reduction in ("mean", "sum", "none"):
        family.add("mse_loss", reduction, lambda x, y: F.mse_loss(x, y, reduction=reduction),
                   [unit("mse/x", 3, 4), unit("mse/y", 3, 4)], reduction=reduction)
        family.add("bce_with_logits", reduction,
                   lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction=reduction),
                   [unit("bce/x", 3, 4, scale=5.0), unit("bce/y", 3, 4, scale=0.5, offset=0.5, grad=False)],
                   reduction=reduction)
    family.add("bce_with_logits", "wild", lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none"),
               [values([800.0, -800.0, 800.0, -800.0, 0.0, 30.0]), values([1.0, 0.0, 0.0, 1.0, 0.5, 0.25], grad=False)],
               reduction="none")

    # The classes' weights are the third input.
    def weighed(name, logits, labels, smoothing=0.0, reduction="mean"):
        family.add("cross_entropy", name,
                   lambda x, y, w: F.cross_entropy(x, y, w, label_smoothing=smoothing, reduction=reduction),
                   [unit(f"cross_entropy/{name}/logits", *logits, scale=3.0), labels,
                    unit("cross_entropy/weight", logits[1], offset=1.5, grad=False)],
                   label_smoothing=smoothing, ignore_index=-100, reduction=reduction)

    weighed("weighed", (4, 5), indices([1, 0, 4, 4]))
    weighed("weighed_smoothed", (5, 4), indices([2, -100, 0, -100, 3]), smoothing=0.2)
    weighed("weighed_sum", (4, 5), indices([1, 0, 4, 4]), smoothing=0.1, reduction="sum")
    weighed("weighed_pixels", (2, 3, 2, 2), indices([0, 1, 2, 2, -100, 0, 1, 1], 2, 2, 2), smoothing=0.1,
            reduction="none")

    def nll(name, x, labels, weighed=False, reduction="mean"):
        inputs = [unit(f"nll_loss/{name}/x", *x, scale=2.0, offset=-2.5), labels]
        if weighed:
            inputs.append(unit("nll_loss/weight", x[1], offset=1.5, grad=False))
        family.add("nll_loss", name, lambda t, y, w=None: F.nll_loss(t, y, w, reduction=reduction), inputs,
                   ignore_index=-100, reduction=reduction)

    nll("plain", (4, 5), indices([1, 0, 4, 4]))
    nll("weighed", (5, 4), indices([2, -100, 0, -100, 3]), weighed=True)
    nll("pixels", (2, 3, 2, 2), indices([0, 1, 2, 2, -100, 0, 1, 1], 2, 2, 2), weighed=True, reduction="none")

    def pair(op, name, function, low=None, **attrs):
        target = low or unit(f"{op}/target", 3, 4)
        family.add(op, name, function, [unit(f"{op}/x", 3, 4, scale=2.0), target], **attrs)

    for reduction in ("mean", "sum", "none"):
        pair("l1_loss", reduction, lambda x, y: F.l1_loss(x, y, reduction=reduction), reduction=reduction)
        for beta in (1.0, 0.25):
            pair("smooth_l1_loss", f"{reduction}_{beta}".replace(".", "_"),
                 lambda x, y: F.smooth_l1_loss(x, y, reduction=reduction, beta=beta), beta=beta, reduction=reduction)
        pair("huber_loss", reduction, lambda x, y: F.huber_loss(x, y, reduction=reduction, delta=0.5), delta=0.5,
             reduction=reduction)
    share = values([0.5, 0.25, 0.25, 0.0, 1.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.4], 3, 4, grad=False)
    logs = unit("kl_div/logs", 3, 4, scale=2.0, offset=-2.5)
    for reduction in ("mean", "sum", "none", "batchmean"):
        pair("kl_div", reduction, lambda x, y: F.kl_div(x, y, reduction=reduction), share, reduction=reduction,
             log_target=False)
    pair("kl_div", "logarithms", lambda x, y: F.kl_div(x, y, reduction="batchmean", log_target=True), logs,
         reduction="batchmean", log_target=True)

    # torchvision.ops.sigmoid_focal_loss, written out.
    def focal(x, t, alpha, gamma):
        p = torch.sigmoid(x)
        miss = p * (1 - t) + (1 - p) * t
        each = F.binary_cross_entropy_with_logits(x, t, reduction="none") * miss**gamma
        return each * (alpha * t + (1 - alpha) * (1 - t)) if alpha >= 0 else each

    hard = values([0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.5, 0.25, 0.0, 1.0], 3, 4, grad=False)
    for name, alpha, gamma in (("plain", 0.25, 2.0), ("even", -1.0, 1.5), ("linear", 0.75, 1.0), ("none", 0.5, 0.0)):
        pair("sigmoid_focal_loss", name, lambda x, t: focal(x, t, alpha, gamma), hard, alpha=alpha, gamma=gamma)

    def dice(p, t):
        both, all = (p * t).sum((1, 2)), (p + t).sum((1, 2))
        return (1 - (2 * both + 1) / (all + 1)).mean()

    family.add("dice_loss", "plain", dice, [unit("dice/p", 2, 3, 4, scale=0.5, offset=0.5),
                                            unit("dice/t", 2, 3, 4, scale=0.5, offset=0.5)])
    sides = [unit(f"triplet/{side}", 4, 3) for side in ("anchor", "positive", "negative")]
    for name, margin, swap in (("plain", 1.0, False), ("swapped", 0.5, True)):
        family.add("triplet_margin_loss", name, lambda a, p, n: F.triplet_margin_loss(a, p, n, margin, swap=swap), sides,
                   margin=margin, swap=swap)
    signs = values([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0], 3, 4, grad=False)
    pair("hinge_loss", "plain", lambda x, y: torch.relu(0.75 - x * y).mean(), signs, margin=0.75)
    pair("hinge_embedding_loss", "plain", lambda x, y: F.hinge_embedding_loss(x, y, 0.75), signs, margin=0.75)
    return family


def margin():
    """Losses of detectors and of face recognition: torchvision's, and ArcFace (arXiv 1801.07698) written out."""
    import torchvision

    family = Family("margin")
    overlapping = values([0.0, 0.0, 4.0, 4.0, 1.0, 2.0, 5.0, 9.0, -2.0, -3.0, 2.5, 3.5], 3, 4)
    target = values([1.0, 1.0, 5.0, 6.0, 7.0, 2.5, 9.0, 8.0, -1.0, -1.5, 1.0, 2.0], 3, 4)
    for reduction in ("none", "mean", "sum"):
        family.add("generalized_box_iou_loss", reduction, lambda a, b: torchvision.ops.generalized_box_iou_loss(
            a, b, reduction=reduction).reshape((3, 1) if reduction == "none" else ()), [overlapping, target],
            axis=-1, reduction=reduction)
    family.add("generalized_box_iou_loss", "axis_1", lambda a, b: torchvision.ops.generalized_box_iou_loss(
        a.movedim(1, 2), b.movedim(1, 2), reduction="none").unsqueeze(1), [
            values([0.0, 5.0, 1.0, 6.0, 4.0, 8.0, 4.0, 9.0], 1, 4, 2), values([1.0, 6.0, 1.0, 4.0, 5.0, 8.5, 6.0, 8.0], 1, 4, 2)],
        axis=1, reduction="none")

    def arc(features, weight, labels, scale, m):
        cosine = F.normalize(features) @ F.normalize(weight).T
        theta = torch.acos(cosine)
        own = torch.where(theta < torch.pi - m, torch.cos(theta + m), cosine - m * np.sin(m))
        return scale * torch.where(F.one_hot(labels, weight.shape[0]).bool(), own, cosine)

    # Row 3 lies opposite its class, behind pi - margin.
    features = unit("arc_face/features", 4, 5)
    weight = values([*torch.from_numpy(formula.unit("arc_face/weight", (2, 5)).astype(np.float64)).flatten().tolist(),
                     *(-features.value[3] + 0.05).tolist()], 3, 5)
    for name, scale, m in (("paper", 64.0, 0.5), ("narrow", 8.0, 0.1), ("none", 1.0, 0.0)):
        family.add("arc_face", name, lambda f, w, y: arc(f, w, y, scale, m), [features, weight, indices([0, 1, 0, 2])],
                   scale=scale, margin=m)
    family.add("arc_face", "loss", lambda f, w, y: F.cross_entropy(arc(f, w, y, 16.0, 0.5), y),
               [features, weight, indices([0, 1, 0, 2])], scale=16.0, margin=0.5, loss=True)
    return family


def activation():
    """Away from kinks, where PyTorch's gradient is one of several right answers."""
    family = Family("activation")
    anywhere = [-100.0, -20.0, -7.5, -4.0, -2.75, -1.25, -0.5, -0.0625, 1e-9, 0.03125, 0.75, 1.5, 2.5, 4.5, 6.5, 25.0, 90.0]
    positive = [1e-30, 1e-6, 0.0078125, 0.5, 0.99, 1.0, 1.01, 2.0, 7.5, 1e4, 1e20]
    small = [-30.0, -3.0, -0.75, -1e-3, -1e-12, 1e-15, 1e-6, 0.01, 0.5, 3.0, 12.0]
    unary = {
        "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": F.softplus, "gelu": F.gelu,
        "gelu_tanh": lambda t: F.gelu(t, approximate="tanh"), "silu": F.silu, "mish": F.mish, "selu": F.selu,
        # Not F.hardsigmoid: its gradient in float64 is one sixth rounded to float32.
        "hard_sigmoid": lambda t: (t / 6 + 0.5).clamp(0, 1),
        "hard_swish": F.hardswish, "relu6": F.relu6, "abs": torch.abs,
        "square": torch.square, "erf": torch.erf, "sin": torch.sin, "cos": torch.cos, "neg": torch.neg,
    }
    for op, function in unary.items():
        family.add(op, "points", function, [values(anywhere)])
    for op, function in {"log": torch.log, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt,
                         "reciprocal": torch.reciprocal}.items():
        family.add(op, "points", function, [values(positive)])
    for op, function in {"exp": torch.exp, "expm1": torch.expm1}.items():
        family.add(op, "points", function, [values(small)])
    family.add("log1p", "points", torch.log1p, [values([-0.999, -0.5, -1e-3, -1e-12, 1e-15, 1e-6, 0.01, 0.5, 3.0, 1e9])])
    for slope in (0.01, 0.2):
        family.add("leaky_relu", f"slope_{slope}".replace(".", "_"), lambda t: F.leaky_relu(t, slope), [values(anywhere)],
                   slope=slope)
    for alpha in (1.0, 0.5):
        family.add("elu", f"alpha_{alpha}".replace(".", "_"), lambda t: F.elu(t, alpha), [values(anywhere)], alpha=alpha)
    family.add("pow", "points", torch.pow, [values([0.5, 2.0, 3.0, 1.5, 10.0]), values([2.0, -1.5, 0.5, 3.25, 0.0])])
    for op, function in {"maximum": torch.maximum, "minimum": torch.minimum, "div": torch.div}.items():
        family.add(op, "broadcast", function, [unit(f"{op}/a", 3, 1, 2), unit(f"{op}/b", 4, 1, offset=2.0)])
    return family


def matmul():
    family = Family("matmul")

    def case(name, a, b, transpose_a=False, transpose_b=False):
        family.add("matmul", name,
                   lambda x, y: torch.matmul(x.mT if transpose_a else x, y.mT if transpose_b else y),
                   [unit(f"matmul/{name}/a", *a), unit(f"matmul/{name}/b", *b)],
                   transpose_a=transpose_a, transpose_b=transpose_b)

    case("plain", (3, 4), (4, 5))
    case("linear", (3, 4), (5, 4), transpose_b=True)
    case("left", (4, 3), (4, 5), transpose_a=True)
    case("both", (4, 3), (5, 4), transpose_a=True, transpose_b=True)
    case("batched", (2, 3, 4), (2, 4, 2))
    case("broadcast", (2, 1, 3, 2), (3, 2, 4))
    case("broadcast_transposed", (2, 3, 2), (4, 2), transpose_b=True)
    case("row_times_column", (1, 6), (6, 1))

    sizes = {"a": 2, "b": 3, "c": 4, "d": 2, "i": 3, "j": 4, "k": 2, "l": 3}

    def sum_of_products(name, equation):
        shapes = [tuple(sizes[c] for c in axes) for axes in equation.split("->")[0].replace(" ", "").split(",")]
        family.add("einsum", name, lambda *t: torch.einsum(equation, *t),
                   [unit(f"einsum/{name}/{i}", *shape) for i, shape in enumerate(shapes)], equation=equation)

    for name, equation in (("product", "ij,jk->ik"), ("implicit", "ij,jk"), ("turned", "ij,kj->ki"),
                           ("attention", "abij,ablj->abil"), ("batch_inside", "iaj,jak->aik"), ("dot", "ij,ij->"),
                           ("rows", "ij,ij->i"), ("outer", "ai,bj->abij"), ("hadamard", "ai,ia->ai"),
                           ("bilinear", "ai,bij,aj->ab"), ("trace", "ii->"), ("diagonal", "iai->ai"),
                           ("sums", "abc->b"), ("transpose", "abc->cab"), ("summed_before", "aij,jbk -> ak"),
                           ("vector", "aij,j->ai"), ("row_vector", "j,aji->ai")):
        sum_of_products(name, equation)
    return family


def reduce():
    family = Family("reduce")
    x = unit("reduce/x", 2, 3, 4, scale=2.0)
    functions = {"sum": torch.sum, "mean": torch.mean, "max": torch.amax, "min": torch.amin}
    for op, function in functions.items():
        for name, axes, keep in (("last", [2], False), ("outer_kept", [0, 2], True), ("all", [0, 1, 2], False)):
            family.add(op, name, lambda t: function(t, dim=axes, keepdim=keep), [x], axes=axes, keepdim=keep)
    for name, axes, keep, correction in (("unbiased", [2], False, 1), ("biased", [0, 1], True, 0),
                                         ("all_unbiased", [0, 1, 2], False, 1)):
        family.add("var", name, lambda t: torch.var(t, dim=axes, keepdim=keep, correction=correction), [x],
                   axes=axes, keepdim=keep, correction=correction)
    family.add("var", "far_from_zero", lambda t: torch.var(t, dim=[1], correction=1),
               [unit("var/far", 2, 6, offset=10000.0)], axes=[1], keepdim=False, correction=1)
    fixed = unit("reduce/x", 2, 3, 4, scale=2.0, grad=False)
    for axis in (0, 1, -1):
        family.put("argmax", f"axis_{axis}".replace("-", "minus_"), {"axis": axis}, [fixed],
                   [torch.argmax(fixed.value, axis)])
    # Of equal values the first counts.
    family.put("argmax", "ties", {"axis": 1}, [values([3.0, 5.0, 5.0, -1.0, -1.0, -1.0], 2, 3, grad=False)],
               [torch.tensor([1, 0])])
    return family


def gather():
    family = Family("gather")
    repeated = [2, 0, 2, 2, 4, 0]
    family.add("embedding", "repeated", lambda w, i: F.embedding(i, w), [unit("embedding/w", 5, 3), indices(repeated, 2, 3)],
               padding_idx=-1)
    # The row padding_idx gets no gradient; -1 stands for no such row.
    family.add("embedding", "padding", lambda w, i: F.embedding(i, w, padding_idx=2),
               [unit("embedding/w", 5, 3), indices(repeated, 2, 3)], padding_idx=2)
    # ONNX Gather: whole slices, at indices of any shape.
    family.add("gather", "rows", lambda t, i: t[i], [unit("gather/x", 3, 4), indices([2, 0, 2, 2], 2, 2)], axis=0)
    family.add("gather", "columns", lambda t, i: t[:, i], [unit("gather/x", 3, 4), indices([0, 0, 3])], axis=1)
    family.put("one_hot", "plain", {"depth": 4}, [indices([3, 0, 1, 1], 2, 2)],
               [F.one_hot(torch.tensor([[3, 0], [1, 1]]), 4)])
    family.add("pad", "both_sides", lambda t: F.pad(t, (1, 2, 0, 1), value=0.5), [unit("pad/x", 2, 3)],
               before=[0, 1], after=[1, 2], value=0.5)
    family.add("concat", "middle", lambda a, b: torch.cat((a, b), 1), [unit("concat/a", 2, 1, 3), unit("concat/b", 2, 2, 3)],
               axis=1)
    return family


def scan():
    family = Family("scan")
    for axis in (0, 1, -1):
        family.add("cumsum", f"axis_{axis}".replace("-", "minus_"), lambda t: torch.cumsum(t, axis),
                   [unit("cumsum/x", 3, 4, 5)], axis=axis)
    family.put("cumsum", "integers", {"axis": 0}, [indices([5, -7, 1 << 40, 3])],
               [torch.cumsum(torch.tensor([5, -7, 1 << 40, 3]), 0)])
    mask = values([0, 1, 1, 0, 1, 0], 2, 3, dtype="bool")

    # At a fixed size: zeros behind what PyTorch selects.
    def select(t, m):
        chosen = torch.masked_select(t, m)
        return torch.cat((chosen, t.new_zeros(t.numel() - chosen.numel()))), torch.tensor(chosen.numel())

    family.add("masked_select", "plain", select, [unit("masked_select/x", 2, 3), mask])
    found = torch.nonzero(mask.value.reshape(-1)).reshape(-1)
    family.put("nonzero", "plain", {}, [mask], [torch.cat((found, found.new_zeros(3))), torch.tensor(3)])
    rows = values([1, 0, 1], dtype="bool")
    family.add("compress", "rows", lambda t, m: (torch.cat((t[m], torch.zeros_like(t[~m]))), m.sum()),
               [unit("compress/x", 3, 4), rows], axis=0)
    return family


def recurrent():
    """inputs: x, the states (h0, of lstm c0), the parameters in the order of the state dict, lengths; outputs: y and the last states."""
    family = Family("recurrent")
    kinds = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}

    def case(op, name, steps, rows, inputs, hidden, lengths=None, states=True, num_layers=1, bias=True, bidirectional=False,
             **options):
        module = kinds[op](inputs, hidden, num_layers, bias=bias, bidirectional=bidirectional, dtype=torch.float64, **options)
        keys = [k for k, _ in module.named_parameters()]
        directions = 2 if bidirectional else 1
        given = [unit(f"{op}/{name}/x", steps, rows, inputs)]
        count = (2 if op == "lstm" else 1) if states else 0
        given += [unit(f"{op}/{name}/state/{k}", num_layers * directions, rows, hidden) for k in range(count)]
        given += [unit(f"{op}/{name}/{k}", *p.shape) for k, p in module.named_parameters()]
        if lengths:
            given.append(indices(lengths))

        def run(x, *rest):
            start = rest[:count]
            parameters = dict(zip(keys, rest[count:]))
            first = (tuple(start) if op == "lstm" else start[0]) if states else None
            packed = x
            if lengths:
                packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
            y, last = torch.func.functional_call(module, parameters, (packed, first))
            if lengths:
                y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=steps)
            return (y, *last) if op == "lstm" else (y, last)

        family.add(op, name, run, given, num_layers=num_layers, bias=bias, bidirectional=bidirectional, hidden=hidden,
                   states=states, lengths=lengths is not None, nonlinearity=options.get("nonlinearity", ""))

    for op in kinds:
        case(op, "plain", 3, 2, 4, 3)
        case(op, "from_zero_without_bias", 2, 3, 2, 4, states=False, bias=False)
        case(op, "one_step", 1, 2, 3, 2)
        case(op, "both_directions", 3, 2, 2, 3, bidirectional=True)
        case(op, "lengths", 4, 3, 2, 2, lengths=[2, 4, 1])
        case(op, "stacked_both_lengths", 4, 3, 2, 3, lengths=[3, 1, 4], num_layers=2, bidirectional=True)
    case("rnn", "relu", 3, 2, 4, 3, nonlinearity="relu", num_layers=2)
    return family


def sort():
    family = Family("sort")
    for axis in (0, 1, -1):
        name = f"axis_{axis}".replace("-", "minus_")
        for descending in (False, True):
            family.add("sort", f"{name}_{'falling' if descending else 'rising'}",
                       lambda t: tuple(torch.sort(t, dim=axis, descending=descending, stable=True)),
                       [unit("sort/x", 3, 4, 5)], axis=axis, descending=descending)
            family.add("topk", f"{name}_{'greatest' if descending else 'least'}",
                       lambda t: tuple(torch.topk(t, 3, dim=axis, largest=descending)),
                       [unit("topk/x", 3, 4, 5)], k=3, axis=axis, largest=descending)
    # Of equal values the first counts, in both directions.
    ties = [2.0, 1.0, 2.0, 0.0, 1.0, 2.0, -0.0, 1.0]
    for descending in (False, True):
        family.put("sort", "ties_falling" if descending else "ties_rising", {"axis": 0, "descending": descending},
                   [values(ties, grad=False)],
                   list(torch.sort(torch.tensor(ties, dtype=torch.float64), stable=True, descending=descending)))
    repeated = [0, 2, 2, 1, 0, 0, 1, 1]
    family.add("take_along_axis", "repeated", lambda t, i: torch.take_along_dim(t, i, 1),
               [unit("take/x", 2, 3), indices(repeated, 2, 4)], axis=1)
    family.add("take_along_axis", "middle", lambda t, i: torch.gather(t, 1, i),
               [unit("take/x", 2, 3, 2), indices(repeated, 2, 2, 2)], axis=1)
    family.add("put_along_axis", "columns", lambda t, i: torch.zeros(2, 5, dtype=t.dtype).scatter(1, i, t),
               [unit("put/x", 2, 3), indices([4, 0, 2, 1, 3, 0], 2, 3)], axis=1, size=5)
    return family


def attention():
    """Lengths, where a case has them, are the last input; every sample has a key, for PyTorch makes NaN of none."""
    family = Family("attention")

    def sdpa(name, q, k, v, is_causal=False, scale=0.0, lengths=None):
        op = "scaled_dot_product_attention"
        inputs = [unit(f"{op}/{name}/{n}", *shape, scale=2.0) for n, shape in zip("qkv", (q, k, v))]
        mask = None
        if lengths:
            inputs.append(indices(lengths))
            mask = torch.arange(k[-2]) < torch.tensor(lengths).reshape(-1, 1, 1, 1)
        family.add(op, name, lambda q, k, v, *_: F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=is_causal, scale=scale or None, enable_gqa=q.shape[1] != k.shape[1]),
            inputs, is_causal=is_causal, scale=scale)

    sdpa("plain", (2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 5))
    sdpa("causal", (1, 2, 5, 4), (1, 2, 5, 4), (1, 2, 5, 4), is_causal=True)
    # PyTorch's causal mask is aligned at the top left.
    sdpa("causal_more_keys", (1, 2, 3, 4), (1, 2, 6, 4), (1, 2, 6, 4), is_causal=True)
    sdpa("causal_more_rows", (1, 2, 6, 4), (1, 2, 3, 4), (1, 2, 3, 4), is_causal=True)
    sdpa("scale", (1, 1, 4, 3), (1, 1, 4, 3), (1, 1, 4, 3), scale=1.5)
    sdpa("grouped", (2, 4, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4))
    sdpa("one_row", (2, 4, 1, 8), (2, 1, 9, 8), (2, 1, 9, 8))
    sdpa("lengths", (3, 2, 4, 4), (3, 2, 5, 4), (3, 2, 5, 4), lengths=[5, 1, 3])
    sdpa("one_head", (2, 4, 3), (2, 5, 3), (2, 5, 2))

    def rms(name, x, normalized_shape, weight=True, eps=None, **spread):
        inputs = [unit(f"rms_norm/{name}/x", *x, **spread)]
        if weight:
            inputs.append(unit(f"rms_norm/{name}/weight", *normalized_shape, offset=1.0))
        attrs = {} if eps is None else {"eps": eps}
        family.add("rms_norm", name, lambda x, w=None: F.rms_norm(x, normalized_shape, w, eps), inputs,
                   normalized_shape=list(normalized_shape), **attrs)

    rms("rows", (3, 5), (5,))
    rms("plane", (2, 3, 4), (3, 4), eps=1e-3)
    rms("bare", (2, 3, 4), (4,), weight=False, eps=0.1)
    rms("tiny", (2, 4), (4,), scale=1e-8)
    return family


def multihead_attention():
    """inputs: q, k, v (one, where they are the same), lengths where the case has them, then in_proj_weight, in_proj_bias,
    out_proj.weight, out_proj.bias, or without bias two of them."""
    family = Family("multihead_attention")

    def case(name, embed_dim, num_heads, inputs, bias=True, batch_first=True, is_causal=False, lengths=None):
        key = f"multihead_attention/{name}"
        given = [unit(f"{key}/{i}", *shape) for i, shape in enumerate(inputs)]
        if lengths:
            given.append(indices(lengths))
        given.append(unit(f"{key}/in_proj_weight", 3 * embed_dim, embed_dim))
        if bias:
            given.append(unit(f"{key}/in_proj_bias", 3 * embed_dim))
        given.append(unit(f"{key}/out_proj.weight", embed_dim, embed_dim))
        if bias:
            given.append(unit(f"{key}/out_proj.bias", embed_dim))
        module = torch.nn.MultiheadAttention(embed_dim, num_heads, bias=bias, batch_first=batch_first, dtype=torch.float64)
        names = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"][::1 if bias else 2]

        def run(*t):
            qkv = t[:len(inputs)] if len(inputs) > 1 else (t[0],) * 3
            rows, keys = (x.shape[1 if batch_first else 0] for x in qkv[:2])
            mask = torch.ones(rows, keys, dtype=torch.bool).triu(1) if is_causal else None
            padding = torch.arange(keys) >= torch.tensor(lengths).reshape(-1, 1) if lengths else None
            return torch.func.functional_call(module, dict(zip(names, t[-len(names):])), qkv,
                                              {"key_padding_mask": padding, "attn_mask": mask, "need_weights": False})[0]
        family.add("multihead_attention", name, run, given, embed_dim=embed_dim, num_heads=num_heads, operands=len(inputs),
                   bias=bias, batch_first=batch_first, is_causal=is_causal, has_lengths=bool(lengths))

    case("self", 8, 2, [(2, 5, 8)])
    case("causal", 6, 3, [(1, 4, 6)], is_causal=True)
    case("sequence_first", 8, 2, [(5, 2, 8)], batch_first=False)
    case("cross", 8, 4, [(2, 3, 8), (2, 6, 8), (2, 6, 8)], batch_first=True)
    case("no_bias", 4, 1, [(2, 3, 4)], bias=False)
    case("lengths", 8, 2, [(3, 4, 8)], lengths=[4, 1, 2])
    return family


def update():
    """inputs: the parameter, then one gradient per step; outputs: the parameter after each step."""
    family = Family("update")
    steps = 6

    def case(op, name, make, **options):
        start = unit(f"update/{op}/{name}/parameter", 4, grad=False)
        # Gradients of very different size, one of them nearly zero.
        grads = [unit(f"update/{op}/{name}/gradient/{s}", 4, scale=(1.0, 0.01, 1e-6)[s % 3], grad=False)
                 for s in range(steps)]
        p = torch.nn.Parameter(start.value.clone())
        optimizer = make([p], options)
        after = []
        for g in grads:
            p.grad = g.value.clone()
            optimizer.step()
            after.append(p.detach().clone())
        family.put(op, name, options, [start, *grads], after)

    def sgd(p, o):
        return torch.optim.SGD(p, **o)

    def adam(kind):
        return lambda p, o: kind(p, lr=o["lr"], betas=(o["beta1"], o["beta2"]), eps=o["eps"],
                                 weight_decay=o["weight_decay"])

    def rmsprop(p, o):
        return torch.optim.RMSprop(p, **o)

    plain = {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
    case("sgd", "plain", sgd, lr=0.1, **plain)
    case("sgd", "momentum", sgd, lr=0.1, **{**plain, "momentum": 0.9})
    # Dampening does not touch the first step.
    case("sgd", "dampening", sgd, lr=0.1, **{**plain, "momentum": 0.9, "dampening": 0.25})
    case("sgd", "decay", sgd, lr=0.1, **{**plain, "momentum": 0.9, "weight_decay": 0.05})
    case("sgd", "nesterov", sgd, lr=0.1, **{**plain, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True})
    usual = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    case("adam", "plain", adam(torch.optim.Adam), lr=0.01, **usual)
    case("adam", "decay", adam(torch.optim.Adam), lr=0.01, **{**usual, "weight_decay": 0.1})
    case("adam", "betas_eps", adam(torch.optim.Adam), lr=0.01, **{**usual, "beta1": 0.5, "beta2": 0.9, "eps": 0.01})
    case("adamw", "decay", adam(torch.optim.AdamW), lr=0.01, **{**usual, "weight_decay": 0.1})
    usual = {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0}
    case("rmsprop", "plain", rmsprop, lr=0.01, **usual)
    case("rmsprop", "momentum", rmsprop, lr=0.01, **{**usual, "momentum": 0.9, "alpha": 0.9, "eps": 1e-3})
    case("rmsprop", "decay", rmsprop, lr=0.01, **{**usual, "weight_decay": 0.1})
    # Clipping by the norm over all parameters; outputs: the norm before, then the clipped gradients.
    for name, limit in (("clipped", 0.5), ("untouched", 100.0)):
        grads = [unit("clip/a", 3, 2, grad=False), unit("clip/b", 4, scale=2.0, grad=False)]
        parameters = [torch.nn.Parameter(torch.zeros_like(g.value)) for g in grads]
        for p, g in zip(parameters, grads):
            p.grad = g.value.clone()
        norm_before = torch.nn.utils.clip_grad_norm_(parameters, limit)
        family.put("clip_grad_norm", name, {"max_norm": limit}, grads, [norm_before, *(p.grad for p in parameters)])
    return family


def schedule():
    """outputs: one vector, the learning rate of steps 0, 1, 2, ..."""
    family = Family("schedule")
    base = 0.1

    def case(op, name, make, count, **attrs):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        scheduler = make(optimizer)
        rates = []
        for _ in range(count):
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
        family.put(op, name, {"lr": base, **attrs}, [], [torch.tensor(rates, dtype=torch.float64)])

    rate = torch.optim.lr_scheduler
    case("step_lr", "plain", lambda o: rate.StepLR(o, 4, 0.3), 14, step_size=4, gamma=0.3)
    case("cosine", "to_zero", lambda o: rate.CosineAnnealingLR(o, 12), 13, t_max=12, eta_min=0.0)
    case("cosine", "to_floor", lambda o: rate.CosineAnnealingLR(o, 9, 0.02), 10, t_max=9, eta_min=0.02)
    case("one_cycle", "defaults", lambda o: rate.OneCycleLR(o, base, total_steps=20, cycle_momentum=False), 20,
         total_steps=20, pct_start=0.3, div_factor=25.0, final_div_factor=1e4)
    case("one_cycle", "other", lambda o: rate.OneCycleLR(o, base, total_steps=15, pct_start=0.45, div_factor=10.0,
                                                         final_div_factor=100.0, cycle_momentum=False), 15,
         total_steps=15, pct_start=0.45, div_factor=10.0, final_div_factor=100.0)
    # Linear from start_factor * lr over `steps` steps, constant afterwards.
    case("warmup", "constant", lambda o: rate.LinearLR(o, 0.125, 1.0, 5), 8, steps=5, start_factor=0.125)

    def warm_cosine(o):
        return rate.SequentialLR(o, [rate.LinearLR(o, 0.01, 1.0, 4), rate.CosineAnnealingLR(o, 10)], [4])
    case("warmup", "cosine", warm_cosine, 14, steps=4, start_factor=0.01, t_max=10)
    return family


def main():
    for family in (conv, pool, resize, norm, softmax, attention, multihead_attention, loss, margin, activation, matmul, reduce, gather, scan, sort,
                   recurrent, update, schedule):
        family().write()


if __name__ == "__main__":
    main()
