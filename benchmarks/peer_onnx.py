"""One measurement of ONNX Runtime in a fresh process, inference on the CPU in f32; compare.py starts it.

    python benchmarks/peer_onnx.py resnet18 --batch-size 16 --export build/benchmarks/onnx/resnet18_16.onnx
    python benchmarks/peer_onnx.py resnet18 --batch-size 16 --model build/benchmarks/onnx/resnet18_16.onnx --threads 2

The first writes PyTorch's model by torch.onnx with weights and the batch size fixed, and needs torch, onnx and onnxscript. The
second prints the line of JSON that peer_pytorch.py prints, and loads nothing but NumPy and ONNX Runtime, whose memory it
measures. All of ONNX Runtime's optimisations of the graph are on, its default.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time

SAMPLES = {"lenet5": (10, (1, 28, 28)), "resnet20": (10, (3, 32, 32)),
           "resnet18": (1000, (3, 224, 224)), "resnet50": (1000, (3, 224, 224)),
           "mobilenet_v2": (1000, (3, 224, 224))}


def export(args):
    import torch
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden"))
    import torch_models
    classes, sample = SAMPLES[args.name]
    torch.manual_seed(0)
    model = torch_models.make(args.name, classes).eval()
    args.export.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(model, (torch.randn(args.batch_size, *sample),), str(args.export), dynamo=True, external_data=False,
                      verbose=False)
    return {"exported": str(args.export)}


def measure(args):
    import numpy as np
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(str(args.model), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((args.batch_size, *SAMPLES[args.name][1]), dtype=np.float32)
    feed = {session.get_inputs()[0].name: x}
    start, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - start < args.warmup_seconds:
        session.run(None, feed)
        count += 1
    times = []
    start = now = time.perf_counter()
    while len(times) < 5 or now - start < args.seconds:
        session.run(None, feed)
        before, now = now, time.perf_counter()
        times.append(now - before)
    step = statistics.median(times)
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    return {"images_per_second": args.batch_size / step, "step_ms": 1e3 * step, "peak_bytes": peak, "steps": len(times),
            "onnxruntime": onnxruntime.__version__}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=list(SAMPLES))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="measure at least this long, and five steps")
    parser.add_argument("--warmup-seconds", type=float, default=1.0, help="warm up at least this long, and three steps")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--export", type=pathlib.Path, help="write the model here")
    what.add_argument("--model", type=pathlib.Path, help="measure the model that lies here")
    args = parser.parse_args()
    print(json.dumps(export(args) if args.export else measure(args)))


if __name__ == "__main__":
    main()
