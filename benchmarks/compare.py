#!/usr/bin/env python3
"""Ingot and its peers side by side on this machine.

    python3 benchmarks/compare.py --cpu                      # measure everything: five rounds of about eleven minutes
    python3 benchmarks/compare.py --cpu --minutes 30         # as many whole rounds as fit
    python3 benchmarks/compare.py --cpu --quick --models lenet5 --modes train --dtype bf16
    python3 benchmarks/compare.py --gpu                      # the same on the first GPU, f32
    python3 benchmarks/compare.py --gate                     # instructions against the baseline: see gate.py
    python3 benchmarks/compare.py --write                    # README's table and the plots, from the newest file of results

PyTorch and ONNX Runtime come from PyPI and live in build/venv-torch, made on first use; --python names another interpreter
that has torch and torchvision, and onnxruntime, onnx and onnxscript if ONNX Runtime shall take part.

How it measures. First, per model and type, twenty training steps from the same weights and data must give the losses of
PyTorch (train_losses and peer_pytorch.py --losses): within 1e-4 relative in f32; in bf16 within 2^-8, the most by which
one rounding to bf16 moves a value, because a loss is a mean over many roundings in different places. Then each
measurement is a fresh process. Rounds are interleaved (Ingot, each peer, Ingot, ...), and a figure is the median of the
rounds with its range. All sides get the same number of threads on the same cores, random data, and an environment
without tuning variables. A training step is forward, loss, backward and SGD with momentum; in bf16 PyTorch runs it under
autocast, weights being f32 on both sides. Images a second are those of the median step after a warm-up. Memory is the
peak resident memory of the process. The share of peak is the operations of convolutions and matrix products (counted
by PyTorch, once, for all sides) over the multiply-add rate that fma_peak measures in each round for that type.

On a GPU the figures are f32 without TF32 on both sides, cuDNN chooses by measuring, a step ends when the GPU has finished
it, and memory is what each side holds on the GPU; there is no share of peak. `--variants` without names measures Ingot alone.

A run is one JSON file in benchmarks/results with commit, date, machine, versions and every repeat, written after every
round, so that an interrupted run leaves what it has. Runs with --quick go to build/benchmarks and never into the README.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import gate  # noqa: E402
import report  # noqa: E402
from report import CPU_TITLES, GPU_TITLES, TITLES, Failure  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PEER, PEER_ONNX = ROOT / "benchmarks" / "peer_pytorch.py", ROOT / "benchmarks" / "peer_onnx.py"
# Ingot's name of each model is PyTorch's too.
BATCH_SIZES = {"resnet20": 128, "resnet18": 16, "resnet50": 8, "mobilenet_v2": 16, "lenet5": 64}
# By type and mode. bf16 is autocast's, which a user turns on together with channels_last.
VARIANTS = {("f32", "train"): ["nchw", "channels_last", "compile"],
            ("f32", "infer"): ["nchw", "channels_last", "compile", "compile_frozen", "onnxruntime"],
            ("bf16", "train"): ["channels_last", "compile"],
            ("bf16", "infer"): ["channels_last", "compile", "compile_frozen"]}
# Of the twenty steps: batch and image size, and a learning rate at which training does not amplify rounding.
SAME_LOSSES = {"lenet5": (16, 28, 0.005), "resnet20": (8, 32, 0.01), "resnet18": (8, 64, 0.0005), "resnet50": (8, 64, 0.0001),
               "mobilenet_v2": (16, 96, 0.00002)}
# Types that a model is compared in on the CPU, where not in all: bf16 rounds MobileNetV2 through 52 batch norms, and twenty
# losses are up to 0.01 apart, too far to tell a mistake.
DTYPES = {"mobilenet_v2": ["f32"]}
TOLERANCE = {"f32": 1e-4, "bf16": 2.0 ** -8}
GPU_BATCH_SIZES = {"resnet20": 128, "resnet18": 128, "resnet50": 128, "mobilenet_v2": 128, "lenet5": 64}
GPU_VARIANTS = ["nchw", "channels_last", "graph", "compile", "compile_max"]
# Variables that change how fast either side is; a measurement runs without them.
TUNING = ("OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "MALLOC_", "LD_PRELOAD", "TORCH", "PYTORCH_", "ATEN_")


# ---------------------------------------------------------------- running one process

def run(command, env, timeout):
    """Runs a program; returns its last line of output read as JSON, and its peak resident bytes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err, env=env, cwd=ROOT)
        except OSError as e:
            raise Failure(f"{command[0]}: {e.strerror}") from e
        deadline = time.monotonic() + timeout
        while True:  # wait4 tells the memory of this one child; Popen.wait does not.
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                child.kill()
                os.wait4(child.pid, 0)
                child.returncode = -9
                raise Failure(f"'{' '.join(map(str, command))}' ran longer than {timeout:.0f} s")
            time.sleep(0.05)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        text, errors = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    if child.returncode != 0:
        last = (errors.strip() or text.strip() or "no message").splitlines()[-1]
        raise Failure(f"'{' '.join(map(str, command))}' ended with {child.returncode}: {last}")
    return parse_json(text, command), usage.ru_maxrss * 1024


def parse_json(text, command):
    """All of the output, or its last line, as a JSON object."""
    for candidate in (text, (text.strip().splitlines() or [""])[-1]):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    raise Failure(f"'{' '.join(map(str, command))}' printed no JSON object but {text.strip()[-200:]!r}")


def clean_environment(threads, gpu=False):
    env = {k: v for k, v in os.environ.items() if not k.startswith(TUNING)}
    env["OMP_NUM_THREADS"] = str(threads)
    env["TORCHINDUCTOR_CACHE_DIR"] = str(ROOT / "build" / "torchinductor")
    if not gpu:
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def pin(threads):
    """Binds this process and what it starts to `threads` CPUs, one per core as long as there are cores."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < threads:
        raise Failure(f"--threads {threads}, but this process may use only {len(allowed)} CPUs")
    chosen, siblings = [], []
    seen = set()
    for cpu in allowed:
        path = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        core = path.read_text().strip() if path.exists() else str(cpu)
        (siblings if core in seen else chosen).append(cpu)
        seen.add(core)
    cpus = (chosen + siblings)[:threads]
    os.sched_setaffinity(0, cpus)
    return cpus


# ---------------------------------------------------------------- what this run is about

def peer_python(given):
    if given:
        return pathlib.Path(given).absolute()  # not resolved: a venv's interpreter is a link
    venv = ROOT / "build" / "venv-torch"
    python = venv / "bin" / "python"
    done = venv / "complete"
    if not done.exists():
        print(f"Installing PyTorch into {venv.relative_to(ROOT)} (once; several gigabytes)", flush=True)
        for command in ([sys.executable, "-m", "venv", venv],
                        [python, "-m", "pip", "install", "--quiet", "-r", ROOT / "benchmarks" / "requirements.txt"]):
            if subprocess.run([str(c) for c in command]).returncode != 0:
                raise Failure(f"'{' '.join(map(str, command))}' failed; mend that, or name an interpreter that has "
                              "torch and torchvision with --python")
        done.touch()
    extra = venv / "complete-onnx"
    if not extra.exists():  # tried once: what is missing is said in each run
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "-r",
                        str(ROOT / "benchmarks" / "requirements-onnx.txt")])
        extra.touch()
    return python


def git(*arguments):
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""


def machine(threads, cpus):
    model = platform.processor()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"cpu": model, "cpus": os.cpu_count(), "threads": threads, "pinned_to": cpus,
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "kernel": platform.release(), "system": platform.machine(), "load_before": os.getloadavg()[0]}


# ---------------------------------------------------------------- measuring

def gpu_facts():
    """Name, driver and clocks of the first GPU, as the driver says them; nothing is set."""
    names = ["name", "driver_version", "memory.total", "clocks.sm", "clocks.mem", "power.limit"]
    try:
        done = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader"], capture_output=True,
                              text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Failure(f"nvidia-smi could not be asked for a GPU ({e}); --gpu needs one, --cpu does not") from e
    if done.returncode != 0 or not done.stdout.strip():
        raise Failure(f"nvidia-smi names no GPU ({(done.stderr or done.stdout).strip()}); --gpu needs one, --cpu does not")
    return dict(zip(names, (v.strip() for v in done.stdout.splitlines()[0].split(","))))


def measure(args):
    """Returns the file that holds the run."""
    for program in (args.ingot,) if args.gpu else (args.ingot, args.fma_peak, args.train_losses):
        if not program.exists():
            raise Failure(f"{program} is not there; build it: cmake --preset release && cmake --build --preset release")
    gpu = gpu_facts() if args.gpu else None
    python = peer_python(args.python) if args.variants or args.cpu else None
    env = clean_environment(args.threads, args.gpu)
    cpus = pin(args.threads)
    now = datetime.datetime.now(datetime.timezone.utc)
    commit = git("rev-parse", "--short=10", "HEAD")
    result = {"kind": "gpu" if args.gpu else "cpu", "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "commit": commit,
              "modified": bool(git("status", "--porcelain", "--untracked-files=no")), "quick": args.quick,
              "machine": machine(args.threads, cpus), "versions": {"python": platform.python_version()},
              "losses": [], "fma_peak": [], "workloads": []}
    path = place(result, args.output)
    if gpu:
        result["gpu"] = gpu
    load = result["machine"]["load_before"]
    if load > 0.5:
        print(f"The machine is busy (load {load:.1f}): these figures will not be good ones.", file=sys.stderr)
    counts = run([python, PEER, *args.models, "--flops"], env, args.timeout)[0] if python else {}
    onnx_missing = missing_onnxruntime(python, env) if python and "onnxruntime" in args.variants and "infer" in args.modes else None
    if onnx_missing:
        print(f"Without ONNX Runtime: {onnx_missing}", file=sys.stderr)
    batch_sizes = GPU_BATCH_SIZES if args.gpu else BATCH_SIZES
    for model in args.models:
        for dtype in args.dtype:
            if not args.gpu and dtype not in DTYPES.get(model, args.dtype):
                continue
            if python and not args.gpu:
                result["losses"].append(same_losses(args, python, env, model, dtype))
            for mode in args.modes:
                variants = [v for v in (GPU_VARIANTS if args.gpu else VARIANTS[dtype, mode]) if v in args.variants]
                work = {"model": model, "mode": mode, "dtype": dtype, "batch_size": batch_sizes[model],
                        "flops_per_image": counts.get(model, {}).get(mode), "ingot": [],
                        "pytorch": {v: [] for v in variants if v != "onnxruntime"}, "unavailable": {}}
                if "onnxruntime" in variants:
                    work["onnxruntime"] = []
                    if onnx_missing:
                        work["unavailable"]["onnxruntime"] = onnx_missing
                result["workloads"].append(work)
    result["versions"]["ingot"] = ingot_version(args, env)
    start, longest = time.monotonic(), 0.0
    for number in range(args.rounds):
        began = time.monotonic()
        if number and args.minutes and began - start + longest > 60 * args.minutes:
            print(f"{number} of {args.rounds} rounds: another would not end within {args.minutes:g} minutes")
            break
        if args.gpu:
            print(f"Round {number + 1} of {args.rounds} on {gpu['name']}", flush=True)
        else:
            peak, _ = run([args.fma_peak, "--threads", args.threads, "--seconds", 1], env, args.timeout)
            result["fma_peak"].append(peak)
            bf16 = f", {peak['bf16_gflops']:.0f} in bf16 ({peak['bf16_isa']})" if peak.get("bf16_gflops") else ""
            print(f"Round {number + 1} of {args.rounds}: {peak['gflops']:.0f} GFLOP/s peak ({peak['isa']}){bf16}", flush=True)
        for work in result["workloads"]:
            one_round(args, python, env, work, result["versions"])
        save(result, path)
        longest = max(longest, time.monotonic() - began)
    return path


def same_losses(args, python, env, model, dtype):
    """Twenty training steps on both sides from the same weights and data; throws where the losses are not the same."""
    batch, size, rate = SAME_LOSSES[model]
    common = [model, "--batch-size", batch, "--image-size", size, "--lr", rate, "--dtype", dtype, "--threads", args.threads]
    ours = run([args.train_losses, *common, "--steps", 20], env, args.timeout)[0]["losses"]
    theirs = run([python, PEER, *common, "--losses", 20], env, args.timeout)[0]["losses"]
    if len(ours) != 20 or len(theirs) != 20:
        raise Failure(f"{model} in {dtype}: expected 20 losses a side, got {len(ours)} and {len(theirs)}")
    deviations = [abs(a - b) / abs(b) for a, b in zip(ours, theirs)]
    deviation = max(deviations)
    for step, d in enumerate(deviations):
        if not d <= TOLERANCE[dtype]:  # NaN is none either
            raise Failure(f"{model} in {dtype}: the loss of step {step} is {ours[step]:.6g}, PyTorch's {theirs[step]:.6g}; "
                          f"{d:.2g} apart where {TOLERANCE[dtype]:.2g} is allowed: the two do not train the same model")
    print(f"{TITLES[model]} in {dtype}: 20 training steps, losses at most {deviation:.1g} from PyTorch's", flush=True)
    return {"model": model, "dtype": dtype, "batch_size": batch, "image_size": size, "lr": rate, "deviation": deviation,
            "tolerance": TOLERANCE[dtype], "ingot": ours, "pytorch": theirs}


def missing_onnxruntime(python, env):
    """Why ONNX Runtime cannot take part; None where it can."""
    done = subprocess.run([str(python), "-c", "import onnx, onnxruntime, onnxscript"], env=env, capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr.strip() or "it cannot be imported").splitlines()[-1]


def ingot_version(args, env):
    try:
        return run([args.ingot, "info", "--json"], env, args.timeout)[0]
    except Failure as e:
        return {"unknown": str(e)}


def one_round(args, python, env, work, versions):
    common = [work["model"], "--batch-size", work["batch_size"], "--mode", work["mode"], "--threads", args.threads]
    if args.gpu:
        common += ["--device", "cuda"]
    common += ["--dtype", work["dtype"]]
    value, peak = run([args.ingot, "bench", *common, "--json"], env, args.timeout)
    check_same_work(work, value)
    if args.gpu:  # the memory of the GPU: what the plan allocates is all there is
        peak = value["planned_bytes"]
    # What the program announces is kept; what is compared is what the system counted.
    work["ingot"].append({**value, "announced_peak_bytes": value.get("peak_bytes"), "peak_bytes": peak})
    line = [f"  {TITLES[work['model']]:9} {work['mode']:5} {work['dtype']:4} Ingot {value['images_per_second']:9.1f}"]
    for variant, repeats in work["pytorch"].items():
        if variant in work["unavailable"]:
            continue
        try:
            value, _ = run([python, PEER, *common, "--variant", variant, "--seconds", args.seconds], env, args.timeout)
        except Failure as e:
            if not variant.startswith("compile"):
                raise
            work["unavailable"][variant] = str(e)  # torch.compile needs a compiler
            print(f"  without PyTorch {variant}: {e}", file=sys.stderr)
            continue
        for key in ("torch", "onednn", "capability", "cudnn", "cuda"):
            if key in value:
                versions[f"pytorch_{key}" if key != "torch" else key] = value.pop(key)
        repeats.append(value)
        line.append(f"{(GPU_TITLES if args.gpu else CPU_TITLES)[variant]} {value['images_per_second']:.1f}")
    if "onnxruntime" in work and "onnxruntime" not in work["unavailable"]:
        value = onnxruntime_round(args, python, env, work)
        if value:
            versions["onnxruntime"] = value.pop("onnxruntime")
            work["onnxruntime"].append(value)
            line.append(f"ONNX Runtime {value['images_per_second']:.1f}")
    print(", ".join(line) + " images/s", flush=True)


def onnxruntime_round(args, python, env, work):
    model, batch = work["model"], work["batch_size"]
    path = ROOT / "build" / "benchmarks" / "onnx" / f"{model}_{batch}.onnx"
    common = [python, PEER_ONNX, model, "--batch-size", batch, "--threads", args.threads]
    try:
        if not work["onnxruntime"]:  # once a run
            run([*common, "--export", path], env, args.timeout)
        return run([*common, "--model", path, "--seconds", args.seconds], env, args.timeout)[0]
    except Failure as e:
        work["unavailable"]["onnxruntime"] = str(e)
        print(f"  without ONNX Runtime: {e}", file=sys.stderr)
        return None


def check_same_work(work, value):
    """A model of another input size or number of classes would make every ratio worthless."""
    if work["flops_per_image"] is None:  # nothing to compare with
        return
    ratio = value["model_flops"] / (work["flops_per_image"] * work["batch_size"])
    if not 0.9 < ratio < 1.15:  # Ingot counts elementwise work too
        raise Failure(f"Ingot's {work['model']} ({work['mode']}) does {ratio:.2f} times the operations of PyTorch's: the "
                      "two are not the same model")


# ---------------------------------------------------------------- the command line

def place(result, given):
    stamp = result["date"].replace("-", "").replace(":", "")
    folder = ROOT / "build" / "benchmarks" if result["quick"] else RESULTS
    return given or folder / f"{result['kind']}-{stamp}-{result['commit'] or 'nocommit'}.json"


def save(result, path):
    """By one rename: whoever interrupts a run still finds the rounds before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    half.write_text(json.dumps(result, indent=1) + "\n")
    half.replace(path)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cpu", action="store_true", help="measure on the CPU")
    where.add_argument("--gpu", action="store_true", help="measure on the first GPU")
    where.add_argument("--gate", action="store_true", help="count instructions and compare them with the baseline (gate.py)")
    parser.add_argument("--accept", action="store_true", help="with --gate: today's counts become the baseline")
    parser.add_argument("--write", nargs="?", const="", metavar="FILE",
                        help="rewrite README's table and the plots in docs/ from FILE, by default the newest run")
    parser.add_argument("--show", nargs="?", const="", metavar="FILE", help="print that table instead")
    parser.add_argument("--models", nargs="+", default=list(BATCH_SIZES), choices=list(BATCH_SIZES))
    parser.add_argument("--modes", nargs="+", default=["train", "infer"], choices=["train", "infer"])
    parser.add_argument("--variants", nargs="*", default=None, choices=list({**CPU_TITLES, **GPU_TITLES}),
                        help="of the peers; none measures Ingot alone")
    parser.add_argument("--dtype", nargs="+", default=None, choices=["f32", "bf16"], help="both on the CPU, f32 on a GPU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=None, help="5, or 2 with --quick")
    parser.add_argument("--minutes", type=float, default=None, help="begin no round that would not end within this time")
    parser.add_argument("--seconds", type=float, default=None, help="per measurement of a peer; 3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="two short rounds, for a first look")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds after which one process is given up")
    parser.add_argument("--python", help="an interpreter with torch and torchvision")
    parser.add_argument("--ingot", type=pathlib.Path, default=ROOT / "build" / "release" / "bin" / "ingot")
    parser.add_argument("--fma-peak", type=pathlib.Path, default=ROOT / "build" / "release" / "bin" / "fma_peak")
    parser.add_argument("--train-losses", type=pathlib.Path, default=ROOT / "build" / "release" / "bin" / "train_losses")
    parser.add_argument("--output", type=pathlib.Path, help="where to write the run's JSON")
    args = parser.parse_args(arguments)
    if args.accept and not args.gate:
        parser.error("--accept goes with --gate")
    if not args.cpu and not args.gpu and not args.gate and args.write is None and args.show is None:
        parser.error("say what to do: --cpu, --gpu, --gate, --write or --show")
    known = GPU_TITLES if args.gpu else CPU_TITLES
    if args.variants is None:
        args.variants = list(known)
    if strangers := [v for v in args.variants if v not in known]:
        parser.error(f"--variants {' '.join(strangers)}: here there are {', '.join(known)}")
    if args.dtype is None:
        args.dtype = ["f32"] if args.gpu else ["f32", "bf16"]
    elif args.gpu and args.dtype != ["f32"]:
        parser.error("--gpu measures f32")
    if args.rounds is None:
        args.rounds = 2 if args.quick else 5
    if args.seconds is None:
        args.seconds = 1.0 if args.quick else 3.0
    if args.threads < 1 or args.rounds < 1 or args.seconds <= 0 or (args.minutes is not None and args.minutes <= 0):
        parser.error("--threads, --rounds, --minutes and --seconds must be positive")
    args.ingot, args.fma_peak, args.train_losses = (p.absolute() for p in (args.ingot, args.fma_peak, args.train_losses))
    return args


def main(arguments=None):
    args = parse(arguments)
    if args.gate:
        return gate.main(["--accept"] if args.accept else [])
    try:
        if args.cpu or args.gpu:
            path = measure(args)
            print(f"\n{report.table(json.loads(path.read_text()))}\n\nWritten to {path}")
        if args.show is not None:
            path = pathlib.Path(args.show) if args.show else report.newest(RESULTS)
            print(report.table(json.loads(path.read_text())))
        if args.write is not None:
            path = pathlib.Path(args.write) if args.write else report.newest(RESULTS)
            report.write(path, ROOT)
            print(f"README.md and the plots hold the figures of {path.name}")
    except Failure as e:
        print(f"compare: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"compare: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
