#!/usr/bin/env python3
"""Ingot and PyTorch side by side on this machine.

    python3 benchmarks/compare.py --cpu                      # measure: about half an hour
    python3 benchmarks/compare.py --cpu --quick --models lenet5 --modes train
    python3 benchmarks/compare.py --gpu                      # the same on the first GPU
    python3 benchmarks/compare.py --readme                   # README's table from the newest file of results

PyTorch comes from PyPI and lives in build/venv-torch, made on first use; --python names another interpreter that has
torch and torchvision.

How it measures. Each measurement is a fresh process. Rounds are interleaved (Ingot, each PyTorch variant, Ingot, ...),
five of them, and a figure is the median with its range. Both sides get the same number of threads on the same cores,
f32, random data, and an environment without tuning variables. A training step is forward, loss, backward and SGD with
momentum. Images a second are those of the median step after a warm-up. Memory is the peak resident memory of the
process. The share of peak is the operations of convolutions and matrix products (counted by PyTorch, once, for both
sides) over the multiply-add rate that fma_peak measures in each round. That the two sides compute the same thing is
not shown here but by the tests: twenty training steps match PyTorch's losses to 1e-4 (tests/golden).

On a GPU the figures are f32 without TF32 on both sides, cuDNN chooses by measuring, a step ends when the GPU has finished
it, and memory is what each side holds on the GPU; there is no share of peak. `--variants` without names measures Ingot alone.

A run is one JSON file in benchmarks/results with commit, date, machine, versions and every repeat. Runs with --quick
go to build/benchmarks and never into the README.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PEER = ROOT / "benchmarks" / "peer_pytorch.py"
# Ingot's name of each model is PyTorch's too.
BATCH_SIZES = {"resnet20": 128, "resnet18": 16, "resnet50": 8, "lenet5": 64}
TITLES = {"resnet20": "ResNet-20", "resnet18": "ResNet-18", "resnet50": "ResNet-50", "lenet5": "LeNet-5"}
VARIANTS = {"train": ["nchw", "channels_last", "compile"],
            "infer": ["nchw", "channels_last", "compile", "compile_frozen"]}
GPU_BATCH_SIZES = {"resnet20": 128, "resnet18": 128, "resnet50": 128, "lenet5": 64}
GPU_VARIANTS = ["nchw", "channels_last", "graph", "compile", "compile_max"]
VARIANT_TITLES = {"nchw": "eager", "channels_last": "channels-last", "compile": "compiled",
                  "compile_frozen": "compiled, frozen"}
GPU_TITLES = {"nchw": "eager", "channels_last": "channels-last", "graph": "CUDA graph", "compile": "compiled",
              "compile_max": "compiled, max-autotune"}
# Variables that change how fast either side is; a measurement runs without them.
TUNING = ("OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "MALLOC_", "LD_PRELOAD", "TORCH", "PYTORCH_", "ATEN_")
MARK_BEGIN, MARK_END = "<!-- compare.py --cpu: begin -->", "<!-- compare.py --cpu: end -->"


class Failure(Exception):
    pass


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


def titles(result):
    return GPU_TITLES if result["kind"] == "gpu" else VARIANT_TITLES


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
    for program in (args.ingot,) if args.gpu else (args.ingot, args.fma_peak):
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
              "dtype": "f32", "machine": machine(args.threads, cpus), "versions": {"python": platform.python_version()},
              "fma_peak": [], "workloads": []}
    if gpu:
        result["gpu"] = gpu
    load = result["machine"]["load_before"]
    if load > 0.5:
        print(f"The machine is busy (load {load:.1f}): these figures will not be good ones.", file=sys.stderr)
    counts = run([python, PEER, *args.models, "--flops"], env, args.timeout)[0] if python else {}
    batch_sizes = GPU_BATCH_SIZES if args.gpu else BATCH_SIZES
    for model in args.models:
        for mode in args.modes:
            variants = [v for v in (GPU_VARIANTS if args.gpu else VARIANTS[mode]) if v in args.variants]
            result["workloads"].append({
                "model": model, "mode": mode, "batch_size": batch_sizes[model],
                "flops_per_image": counts.get(model, {}).get(mode), "ingot": [], "pytorch": {v: [] for v in variants},
                "unavailable": {}})
    result["versions"]["ingot"] = ingot_version(args, env)
    for number in range(args.repeats):
        if args.gpu:
            print(f"Round {number + 1} of {args.repeats} on {gpu['name']}", flush=True)
        else:
            peak, _ = run([args.fma_peak, "--threads", args.threads, "--seconds", 1], env, args.timeout)
            result["fma_peak"].append(peak)
            print(f"Round {number + 1} of {args.repeats}: {peak['gflops']:.0f} GFLOP/s peak ({peak['isa']})", flush=True)
        for work in result["workloads"]:
            one_round(args, python, env, work, result["versions"])
    return result


def ingot_version(args, env):
    try:
        return run([args.ingot, "info", "--json"], env, args.timeout)[0]
    except Failure as e:
        return {"unknown": str(e)}


def one_round(args, python, env, work, versions):
    common = [work["model"], "--batch-size", work["batch_size"], "--mode", work["mode"], "--threads", args.threads]
    if args.gpu:
        common += ["--device", "cuda"]
    value, peak = run([args.ingot, "bench", *common, "--dtype", "f32", "--json"], env, args.timeout)
    check_same_work(work, value)
    if args.gpu:  # the memory of the GPU: what the plan allocates is all there is
        peak = value["planned_bytes"]
    # What the program announces is kept; what is compared is what the system counted.
    work["ingot"].append({**value, "announced_peak_bytes": value.get("peak_bytes"), "peak_bytes": peak})
    line = [f"  {TITLES[work['model']]:9} {work['mode']:5} Ingot {value['images_per_second']:9.1f}"]
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
        line.append(f"{(GPU_TITLES if args.gpu else VARIANT_TITLES)[variant]} {value['images_per_second']:.1f}")
    print(", ".join(line) + " images/s", flush=True)


def check_same_work(work, value):
    """A model of another input size or number of classes would make every ratio worthless."""
    if work["flops_per_image"] is None:  # nothing to compare with
        return
    ratio = value["model_flops"] / (work["flops_per_image"] * work["batch_size"])
    if not 0.9 < ratio < 1.15:  # Ingot counts elementwise work too
        raise Failure(f"Ingot's {work['model']} ({work['mode']}) does {ratio:.2f} times the operations of PyTorch's: the "
                      "two are not the same model")


# ---------------------------------------------------------------- figures from a file

def median_of(repeats, key="images_per_second"):
    return statistics.median(r[key] for r in repeats)


def span(repeats, key="images_per_second"):
    values = [r[key] for r in repeats]
    return f"{figure(statistics.median(values))} ({figure(min(values))} to {figure(max(values))})"


def figure(value):
    """Three or more digits, as many as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def summary(work, peak_gflops):
    """Ratios above 1 mean Ingot is faster; memory is Ingot's share of PyTorch's leanest variant."""
    peers = {v: r for v, r in work["pytorch"].items() if r}
    ingot = median_of(work["ingot"])
    out = {"ingot": ingot, "ingot_bytes": median_of(work["ingot"], "peak_bytes")}
    if peak_gflops:
        out["ingot_share"] = ingot * work["flops_per_image"] / (peak_gflops * 1e9)
    if peers:
        best = max(peers, key=lambda v: median_of(peers[v]))
        lean = min(peers, key=lambda v: median_of(peers[v], "peak_bytes"))
        speed = median_of(peers[best])
        if peak_gflops:
            out["share"] = speed * work["flops_per_image"] / (peak_gflops * 1e9)
        out.update(best=best, speed=speed, ratio=ingot / speed, lean=lean,
                   bytes=median_of(peers[lean], "peak_bytes"),
                   bytes_ratio=out["ingot_bytes"] / median_of(peers[lean], "peak_bytes"))
    return out


def table(result):
    """The run as Markdown."""
    peak = statistics.median(p["gflops"] for p in result["fma_peak"]) if result["fma_peak"] else None
    versions, box = result["versions"], result["machine"]
    columns = ["images a second", "Ingot", *(f"PyTorch {title}" for title in titles(result).values()), "Ingot / best",
               *(["share of peak"] if peak else []), "peak memory", "Ingot / least"]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for work in result["workloads"]:
        s = summary(work, peak)
        mode = {"train": "training", "infer": "inference"}[work["mode"]]
        row = [f"{TITLES[work['model']]} {mode}, batch {work['batch_size']}", f"**{span(work['ingot'])}**"]
        for variant in titles(result):
            repeats = work["pytorch"].get(variant)
            row.append(span(repeats) if repeats else "")
        if "best" in s:
            row += [f"**{s['ratio']:.2f}x**", *([f"{s['ingot_share']:.0%} against {s['share']:.0%}"] if peak else []),
                    f"{s['ingot_bytes'] / 1e6:,.0f} MB against {s['bytes'] / 1e6:,.0f} MB", f"{s['bytes_ratio']:.2f}x"]
        else:
            row += ["", *([f"{s['ingot_share']:.0%}"] if peak else []), f"{s['ingot_bytes'] / 1e6:,.0f} MB", ""]
        lines.append("| " + " | ".join(row) + " |")
    where = f"commit {result['commit']}" + (" with changes" if result["modified"] else "")
    if result["kind"] == "gpu":
        rounds = max(len(w["ingot"]) for w in result["workloads"])
        peer = f"{versions['torch']} with cuDNN {versions.get('pytorch_cudnn', '?')}" if "torch" in versions else "was not measured"
        lines += ["", f"{result['gpu']['name']}, driver {result['gpu']['driver_version']}, f32 without TF32. PyTorch {peer}. "
                  "Median (range) of "
                  f"{rounds} interleaved rounds, each measurement a fresh process; memory is what each side holds on the GPU. "
                  f"{result['date'][:10]}, {where}."]
        return "\n".join(lines)
    rounds = len(result["fma_peak"])
    lines += ["", f"{box['cpu']}, {box['threads']} threads, f32; multiply-add peak measured in the run: {figure(peak)} "
              f"GFLOP/s ({result['fma_peak'][0]['isa']}). PyTorch {versions.get('torch', 'not measured')} "
              f"with oneDNN {versions.get('pytorch_onednn', '?')}. Median (range) of {rounds} interleaved rounds, each "
              f"measurement a fresh process; memory is the peak resident size. {result['date'][:10]}, {where}."]
    return "\n".join(lines)


def newest():
    runs = []
    for path in sorted(RESULTS.glob("cpu-*.json")):
        value = json.loads(path.read_text())
        if not value.get("quick"):
            runs.append((value["date"], path))
    if not runs:
        raise Failure(f"{RESULTS.relative_to(ROOT)} holds no full run; make one with compare.py --cpu")
    return max(runs)[1]


def save(result, given):
    stamp = result["date"].replace("-", "").replace(":", "")
    folder = ROOT / "build" / "benchmarks" if result["quick"] else RESULTS
    path = given or folder / f"{result['kind']}-{stamp}-{result['commit'] or 'nocommit'}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def between(page, mark_begin, mark_end):
    """The page's text before, between and after the two marks."""
    text = page.read_text() if page.exists() else ""
    begin, end = text.find(mark_begin), text.find(mark_end)
    if begin < 0 or end < begin:
        raise Failure(f"{page} has no place for the table: it wants the lines\n{mark_begin}\n{mark_end}")
    begin += len(mark_begin)
    return text[:begin], text[begin:end], text[end:]


def read_between(page, mark_begin, mark_end):
    return between(page, mark_begin, mark_end)[1].strip("\n")


def write_between(page, mark_begin, mark_end, body):
    before, _, after = between(page, mark_begin, mark_end)
    page.write_text(f"{before}\n{body}\n{after}")


def rewrite_readme(path, readme):
    between(readme, MARK_BEGIN, MARK_END)  # no place is the first thing to say
    write_between(readme, MARK_BEGIN, MARK_END, table(json.loads(path.read_text())))
    print(f"{readme.name} holds the figures of {path.name}")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cpu", action="store_true", help="measure on the CPU")
    where.add_argument("--gpu", action="store_true", help="measure on the first GPU")
    parser.add_argument("--readme", nargs="?", const="", metavar="FILE",
                        help="rewrite the table in README.md from FILE, by default the newest run")
    parser.add_argument("--show", nargs="?", const="", metavar="FILE", help="print that table instead")
    parser.add_argument("--models", nargs="+", default=list(BATCH_SIZES), choices=list(BATCH_SIZES))
    parser.add_argument("--modes", nargs="+", default=["train", "infer"], choices=["train", "infer"])
    parser.add_argument("--variants", nargs="*", default=None, choices=list({**VARIANT_TITLES, **GPU_TITLES}),
                        help="PyTorch's variants; none measures Ingot alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=None, help="rounds; 5, or 2 with --quick")
    parser.add_argument("--seconds", type=float, default=None, help="per PyTorch measurement; 5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="two short rounds, for a first look")
    parser.add_argument("--timeout", type=float, default=1200, help="seconds after which one process is given up")
    parser.add_argument("--python", help="an interpreter with torch and torchvision")
    parser.add_argument("--ingot", type=pathlib.Path, default=ROOT / "build" / "release" / "bin" / "ingot")
    parser.add_argument("--fma-peak", type=pathlib.Path, default=ROOT / "build" / "release" / "bin" / "fma_peak")
    parser.add_argument("--output", type=pathlib.Path, help="where to write the run's JSON")
    args = parser.parse_args(arguments)
    if not args.cpu and not args.gpu and args.readme is None and args.show is None:
        parser.error("say what to do: --cpu, --gpu, --readme or --show")
    known = GPU_TITLES if args.gpu else VARIANT_TITLES
    if args.variants is None:
        args.variants = list(known)
    if strangers := [v for v in args.variants if v not in known]:
        parser.error(f"--variants {' '.join(strangers)}: here there are {', '.join(known)}")
    if args.repeats is None:
        args.repeats = 2 if args.quick else 5
    if args.seconds is None:
        args.seconds = 1.0 if args.quick else 5.0
    if args.threads < 1 or args.repeats < 1 or args.seconds <= 0:
        parser.error("--threads, --repeats and --seconds must be positive")
    args.ingot, args.fma_peak = args.ingot.absolute(), args.fma_peak.absolute()
    return args


def main(arguments=None):
    args = parse(arguments)
    try:
        if args.cpu or args.gpu:
            result = measure(args)
            path = save(result, args.output)
            print(f"\n{table(result)}\n\nWritten to {path}")
        if args.show is not None:
            print(table(json.loads(pathlib.Path(args.show or newest()).read_text())))
        if args.readme is not None:
            rewrite_readme(pathlib.Path(args.readme) if args.readme else newest(), ROOT / "README.md")
    except Failure as e:
        print(f"compare: {e}", file=sys.stderr)
        return 1
    except OSError as e:
        print(f"compare: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
