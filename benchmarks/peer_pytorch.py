"""One measurement of PyTorch in a fresh process, on the CPU or the first GPU; compare.py starts it.

    python benchmarks/peer_pytorch.py resnet20 --batch-size 128 --mode train --variant channels_last --threads 2

prints one line of JSON: step_ms (median after the warm-up), images_per_second (of that step, as `ingot bench` has it),
peak_bytes (VmHWM, the peak resident memory of this process; with --device cuda what PyTorch reserved on the GPU), steps, and the versions.

A training step is zero_grad(set_to_none=True), forward, cross-entropy, backward, SGD with momentum (fused=True, one
pass over each parameter). Inputs are random and stay the same, already in the layout that the variant wants: PyTorch
pays for no copy. With `--dtype bf16` forward pass and loss run under torch.autocast (weights stay f32), as PyTorch's users
train in bf16. The variants:

    nchw            eager, the default layout
    channels_last   eager, model and input in channels_last
    compile         torch.compile, channels_last
    compile_frozen  inference on the CPU only: torch.compile with freezing, which folds batch norms and packs weights
    graph           GPU only: channels_last, the whole step in one CUDA graph
    compile_max     GPU only: torch.compile(mode="max-autotune"), channels_last

On a GPU cuDNN chooses algorithms by measuring (cudnn.benchmark), TF32 is off, as it is in Ingot unless asked for, and a step
ends when the GPU has finished it.

`--losses N` prints instead {"losses": [..]}, those of N training steps from the weights and data of tests/golden/formula.py, with
SGD of momentum 0.9 and --lr; train_losses is Ingot's side.

`--flops` prints instead the operations of the matrix products and convolutions for one image, {"train": ..,
"infer": ..} per model, a multiply-add counting as two; compare.py uses that one count for both sides.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time

VARIANTS = {"cpu": ("nchw", "channels_last", "compile", "compile_frozen"),
            "cuda": ("nchw", "channels_last", "graph", "compile", "compile_max")}
# Classes and shape of a sample.
MODELS = {"lenet5": (10, (1, 28, 28)), "resnet20": (10, (3, 32, 32)),
          "resnet18": (1000, (3, 224, 224)), "resnet50": (1000, (3, 224, 224)),
          "mobilenet_v2": (1000, (3, 224, 224))}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=list(MODELS), nargs="+")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--mode", choices=("train", "infer"), default="train")
    parser.add_argument("--variant", choices=sorted({*VARIANTS["cpu"], *VARIANTS["cuda"]}), default="channels_last")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--device", choices=list(VARIANTS), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="measure at least this long, and five steps")
    parser.add_argument("--warmup-seconds", type=float, default=1.0, help="warm up at least this long, and three steps")
    parser.add_argument("--flops", action="store_true")
    parser.add_argument("--losses", type=int, metavar="STEPS")
    parser.add_argument("--lr", type=float, default=0.001, help="for --losses")
    parser.add_argument("--image-size", type=int, help="for --losses; default: the model's own")
    parser.add_argument("--classes", type=int, default=10, help="for --losses")
    return parser.parse_args()


ARGS = parse()
os.environ["OMP_NUM_THREADS"] = str(ARGS.threads)  # read when torch is loaded
if ARGS.variant == "compile_frozen":
    os.environ["TORCHINDUCTOR_FREEZING"] = "1"

import torch  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"))
import torch_models  # noqa: E402


def precision():
    if ARGS.dtype == "f32":
        return contextlib.nullcontext()
    return torch.autocast(ARGS.device, dtype=torch.bfloat16)


def make_step(name):
    """The function that compare.py's protocol calls a step."""
    classes, sample = MODELS[name]
    torch.manual_seed(0)
    model = torch_models.make(name, classes)
    x = torch.randn(ARGS.batch_size, *sample, device=ARGS.device)
    y = torch.randint(classes, (ARGS.batch_size,), device=ARGS.device)
    model = model.to(ARGS.device)
    if ARGS.variant != "nchw":
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    model.train(ARGS.mode == "train")
    forward = model
    if ARGS.variant.startswith("compile"):
        forward = torch.compile(model, mode="max-autotune" if ARGS.variant == "compile_max" else None)
    if ARGS.mode == "infer":
        def step():
            with torch.no_grad(), precision():
                return forward(x)
        return graphed(step) if ARGS.variant == "graph" else step

    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=5e-4, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()
    return graphed(step) if ARGS.variant == "graph" else step


def graphed(step):
    """The step as one CUDA graph: a few steps beside the default stream first, as PyTorch's notes on CUDA graphs ask."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def finish():
    """Waits for the GPU, so that a step's time holds its work."""
    if ARGS.device == "cuda":
        torch.cuda.synchronize()


def peak_bytes():
    if ARGS.device == "cuda":
        return torch.cuda.max_memory_reserved()
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM; memory can be measured on Linux only")


def measure():
    step = make_step(ARGS.model[0])
    step()  # torch.compile compiles here
    start, count = time.perf_counter(), 0
    least = 50 if ARGS.device == "cuda" else 3
    while count < least or time.perf_counter() - start < ARGS.warmup_seconds:
        step()
        finish()
        count += 1
    times = []
    start = now = time.perf_counter()
    while len(times) < 5 or now - start < ARGS.seconds:
        step()
        finish()
        before, now = now, time.perf_counter()
        times.append(now - before)
    step_seconds = statistics.median(times)
    versions = {"torch": torch.__version__}
    if ARGS.device == "cuda":
        versions.update(cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version())
    else:
        versions.update(onednn=onednn_version(), capability=torch.backends.cpu.get_cpu_capability())
    return {"images_per_second": ARGS.batch_size / step_seconds, "step_ms": 1e3 * step_seconds, "peak_bytes": peak_bytes(),
            "steps": len(times), **versions}


def onednn_version():
    for line in torch.__config__.show().splitlines():
        if "MKL-DNN" in line or "oneDNN" in line:
            return line.split(" v")[1].split()[0] if " v" in line else line.strip(" -")
    return "none"


def losses():
    import numpy as np
    import formula
    _, sample = MODELS[ARGS.model[0]]
    sample = (sample[0], *[ARGS.image_size or s for s in sample[1:]])
    model = torch_models.make(ARGS.model[0], ARGS.classes)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            value.copy_(torch.from_numpy(np.asarray(formula.parameter(key, tuple(value.shape)))))
    for module in model.modules():  # draws differ; train_losses leaves them out too
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    shape = (ARGS.batch_size, *sample)
    batches = [(torch.from_numpy(formula.unit(f"input/{b}", shape)),
                torch.from_numpy(formula.labels(f"label/{b}", ARGS.batch_size, ARGS.classes))) for b in range(4)]
    optimizer = torch.optim.SGD(model.parameters(), lr=ARGS.lr, momentum=0.9)
    model.train()
    out = []
    for step in range(ARGS.losses):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        with precision():
            loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        out.append(loss.item())
    return {"losses": out}


def flops():
    from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

    # PyTorch's own count of a weight gradient takes grouped convolutions for dense ones. Each gradient of a convolution
    # multiplies what the convolution itself does.
    def conv_backward(dy, x, w, _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, wanted, **_):
        return sum(wanted[:2]) * conv_flop_count(x, w, dy, transposed)

    counted = {torch.ops.aten.convolution_backward: conv_backward}
    result = {}
    for name in ARGS.model:
        classes, sample = MODELS[name]
        model, batch = torch_models.make(name, classes), 2  # batch norm in training mode wants two samples
        with FlopCounterMode(display=False, custom_mapping=counted) as train:
            cross_entropy(model(torch.randn(batch, *sample)), torch.zeros(batch, dtype=torch.int64)).backward()
        with torch.no_grad(), FlopCounterMode(display=False) as infer:
            model.eval()(torch.randn(batch, *sample))
        result[name] = {"train": train.get_total_flops() / batch, "infer": infer.get_total_flops() / batch}
    return result


if __name__ == "__main__":
    torch.set_num_threads(ARGS.threads)
    torch.set_num_interop_threads(1)
    if not ARGS.flops and ARGS.variant not in VARIANTS[ARGS.device]:
        sys.exit(f"peer_pytorch: --device {ARGS.device} has the variants {', '.join(VARIANTS[ARGS.device])}")
    if ARGS.variant == "compile_frozen" and ARGS.mode != "infer":
        sys.exit("peer_pytorch: compile_frozen is for --mode infer")
    if ARGS.device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    print(json.dumps(flops() if ARGS.flops else losses() if ARGS.losses else measure()))
