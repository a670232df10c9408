"""What a run of compare.py says: the README's table and the two plots in docs/, made from its JSON file and nothing else.

    text = report.table(json.loads(path.read_text()))
    report.write(path, root)          # README.md between the marks, docs/speed_ratio.svg, docs/share_of_peak.svg

The same file gives the same bytes, so tests/benchmarks can hold README and plots to the newest file of results.
"""

import json
import statistics
from xml.sax.saxutils import escape

TITLES = {"resnet20": "ResNet-20", "resnet18": "ResNet-18", "resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2", "lenet5": "LeNet-5"}
MODES = {"train": "training", "infer": "inference"}
CPU_TITLES = {"nchw": "eager", "channels_last": "channels-last", "compile": "compiled",
              "compile_frozen": "compiled, frozen", "onnxruntime": "ONNX Runtime"}
GPU_TITLES = {"nchw": "eager", "channels_last": "channels-last", "graph": "CUDA graph", "compile": "compiled",
              "compile_max": "compiled, max-autotune"}
MARK_BEGIN, MARK_END = "<!-- compare.py --cpu: begin -->", "<!-- compare.py --cpu: end -->"
PLOTS = {"docs/speed_ratio.svg": "Ingot's speed over that of the fastest peer",
         "docs/share_of_peak.svg": "Share of the multiply-add peak: Ingot and its fastest peer"}


class Failure(Exception):
    pass


# ---------------------------------------------------------------- figures

def titles(result):
    return GPU_TITLES if result["kind"] == "gpu" else CPU_TITLES


def median_of(repeats, key="images_per_second"):
    return statistics.median(r[key] for r in repeats)


def span(repeats, key="images_per_second"):
    values = [r[key] for r in repeats]
    return f"{figure(statistics.median(values))} ({figure(min(values))} to {figure(max(values))})"


def figure(value):
    """Three or more digits, as many as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def dtype_of(result, work):
    return work.get("dtype", result.get("dtype", "f32"))  # files of November 2026 and before know f32 only


def peak_gflops(result, dtype):
    """Median of the rounds' peaks for products of that type; None where it was not measured."""
    key = {"f32": "gflops", "bf16": "bf16_gflops"}[dtype]
    values = [p[key] for p in result["fma_peak"] if p.get(key)]
    return statistics.median(values) if values else None


def peers_of(work):
    """Repeats of what Ingot is compared with, by variant; those without a figure are left out."""
    return {v: r for v, r in {**work["pytorch"], "onnxruntime": work.get("onnxruntime", [])}.items() if r}


def summary(work, peak):
    """Ratios above 1 mean Ingot is faster; memory is Ingot's share of the leanest peer. `peak` is in GFLOP/s, or None."""
    peers = peers_of(work)
    ingot = median_of(work["ingot"])
    out = {"ingot": ingot, "ingot_bytes": median_of(work["ingot"], "peak_bytes")}
    share = (lambda speed: speed * work["flops_per_image"] / (peak * 1e9)) if peak and work["flops_per_image"] else None
    if share:
        out["ingot_share"] = share(ingot)
    if peers:
        best = max(peers, key=lambda v: median_of(peers[v]))
        lean = min(peers, key=lambda v: median_of(peers[v], "peak_bytes"))
        speed = median_of(peers[best])
        if share:
            out["share"] = share(speed)
        out.update(best=best, speed=speed, ratio=ingot / speed, lean=lean,
                   bytes=median_of(peers[lean], "peak_bytes"),
                   bytes_ratio=out["ingot_bytes"] / median_of(peers[lean], "peak_bytes"))
    return out


def name_of(result, work):
    dtype = dtype_of(result, work)
    return f"{TITLES[work['model']]} {MODES[work['mode']]}, batch {work['batch_size']}" + ("" if dtype == "f32" else f", {dtype}")


# ---------------------------------------------------------------- the table

def table(result):
    """The run as Markdown."""
    peaks = {d: peak_gflops(result, d) for d in ("f32", "bf16")}
    columns = {v: t for v, t in titles(result).items() if any(v in peers_of(w) for w in result["workloads"])}
    head = ["images a second", "Ingot", *(t if v == "onnxruntime" else f"PyTorch {t}" for v, t in columns.items()),
            "Ingot / best", *(["share of peak"] if peaks["f32"] else []), "peak memory", "Ingot / least"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for work in result["workloads"]:
        s = summary(work, peaks[dtype_of(result, work)])
        row = [name_of(result, work), f"**{span(work['ingot'])}**"]
        row += [span(peers_of(work)[v]) if v in peers_of(work) else "" for v in columns]
        shares = ["ingot_share"] if "best" not in s else ["ingot_share", "share"]
        share = [" against ".join(f"{s[k]:.0%}" for k in shares if k in s)] if peaks["f32"] else []
        if "best" in s:
            row += [f"**{s['ratio']:.2f}x**", *share,
                    f"{s['ingot_bytes'] / 1e6:,.0f} MB against {s['bytes'] / 1e6:,.0f} MB", f"{s['bytes_ratio']:.2f}x"]
        else:
            row += ["", *share, f"{s['ingot_bytes'] / 1e6:,.0f} MB", ""]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join([*lines, "", caption(result, peaks)])


def caption(result, peaks):
    versions, box = result["versions"], result["machine"]
    end = f"{result['date'][:10]}, commit {result['commit']}" + (" with changes." if result["modified"] else ".")
    rounds = max(len(w["ingot"]) for w in result["workloads"])
    protocol = f"Median (range) of {rounds} interleaved rounds, each measurement a fresh process"
    if result["kind"] == "gpu":
        peer = f"{versions['torch']} with cuDNN {versions.get('pytorch_cudnn', '?')}" if "torch" in versions else "was not measured"
        return (f"{result['gpu']['name']}, driver {result['gpu']['driver_version']}, f32 without TF32. PyTorch {peer}. "
                f"{protocol}; memory is what each side holds on the GPU. {end}")
    dtypes = {dtype_of(result, w) for w in result["workloads"]}
    isa = {"f32": result["fma_peak"][0]["isa"], "bf16": result["fma_peak"][0].get("bf16_isa", "")}
    measured = " and ".join(f"{figure(peaks[d])} GFLOP/s {'in bf16 ' if d == 'bf16' else ''}({isa[d]})"
                            for d in ("f32", "bf16") if d in dtypes and peaks[d])
    onnx = f", ONNX Runtime {versions['onnxruntime']}" if "onnxruntime" in versions else ""
    checked = "" if not result.get("losses") else (
        " Twenty training steps gave PyTorch's losses first: at most "
        + " and ".join(f"{max(c['deviation'] for c in group):.1g} apart in {d}" for d in ("f32", "bf16")
                       if (group := [c for c in result["losses"] if c["dtype"] == d])) + ", relative.")
    beyond = any(s.get(key, 0.0) > 1.0 for w in result["workloads"]
                 for s in [summary(w, peaks[dtype_of(result, w)])] for key in ("ingot_share", "share"))
    direct = " Shares of the peak count what direct convolutions compute; Winograd's method does with less." if beyond else ""
    return (f"{box['cpu']}, {box['threads']} threads, f32{' unless said' if dtypes - {'f32'} else ''}; multiply-add peak measured "
            f"in the run: {measured}. PyTorch {versions.get('torch', 'not measured')} "
            f"with oneDNN {versions.get('pytorch_onednn', '?')}{onnx}. {protocol}; memory is the peak resident size.{direct}{checked} {end}")


# ---------------------------------------------------------------- the plots

INGOT_COLOUR, PEER_COLOUR, INK, FAINT = "#1f6f8b", "#c9a66b", "#222222", "#bbbbbb"
LEFT, WIDTH, BAR, TOP = 250, 760, 15, 62


def bars(title, note, groups, unit, mark=None):
    """Horizontal bars as SVG. `groups`: (name, [(value, colour, text)]); `mark`: a value that gets a line over all."""
    most = max(value for _, row in groups for value, _, _ in row)
    step = next(s for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50) if most / s <= 8)
    scale = (WIDTH - LEFT - 90) / max(most, mark or 0)
    height = TOP + sum(BAR * len(row) + 10 for _, row in groups) + 26
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
           'font-family="sans-serif" font-size="12">', f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           text(12, 22, title, size=15), text(12, 41, note, fill="#666666")]
    tick = 0.0
    while tick <= most * 1.0001:
        x = LEFT + tick * scale
        out += [f'<path d="M{x:.1f} {TOP - 8}V{height - 22}" stroke="{FAINT}" stroke-width="0.5"/>',
                text(x, height - 8, unit(tick), anchor="middle", fill="#666666")]
        tick += step
    y = TOP
    for name, row in groups:
        out.append(text(LEFT - 8, y + BAR * len(row) / 2 + 4, name, anchor="end"))
        for value, colour, label in row:
            out += [f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR - 2}" fill="{colour}"/>',
                    text(LEFT + value * scale + 5, y + 11, label)]
            y += BAR
        y += 10
    if mark is not None:
        x = LEFT + mark * scale
        out.append(f'<path d="M{x:.1f} {TOP - 8}V{height - 22}" stroke="{INK}" stroke-width="1.2"/>')
    return "\n".join([*out, "</svg>"]) + "\n"


def text(x, y, words, anchor="start", size=12, fill=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(words)}</text>'


def plots(result):
    """SVG by the path it belongs to; none where the run has nothing to compare."""
    note = f"{result['machine']['cpu']}, {result['machine']['threads']} threads, {result['date'][:10]}, commit {result['commit']}"
    ratios, shares = [], []
    for work in result["workloads"]:
        s = summary(work, peak_gflops(result, dtype_of(result, work)))
        if "best" not in s:
            continue
        title = titles(result)[s["best"]]
        against = title if s["best"] == "onnxruntime" else f"PyTorch {title}"
        name = name_of(result, work)
        ratios.append((name, [(s["ratio"], INGOT_COLOUR, f"{s['ratio']:.2f}x {against}")]))
        if "share" in s:
            shares.append((name, [(s["ingot_share"], INGOT_COLOUR, f"{s['ingot_share']:.0%} Ingot"),
                                  (s["share"], PEER_COLOUR, f"{s['share']:.0%} {against}")]))
    speed, share = PLOTS
    out = {}
    if ratios:
        out[speed] = bars(PLOTS[speed], note, ratios, lambda v: f"{v:g}x", mark=1.0)
    if shares:
        out[share] = bars(PLOTS[share], note, shares, lambda v: f"{v:.0%}", mark=1.0)
    return out


# ---------------------------------------------------------------- files

def newest(folder):
    """The newest full run of the CPU in `folder`."""
    runs = []
    for path in sorted(folder.glob("cpu-*.json")):
        value = json.loads(path.read_text())
        if not value.get("quick"):
            runs.append((value["date"], path))
    if not runs:
        raise Failure(f"{folder} holds no full run; make one with compare.py --cpu")
    return max(runs)[1]


def between(text, name, begin_mark, end_mark):
    """The page's text before, between and after the two marks."""
    begin, end = text.find(begin_mark), text.find(end_mark)
    if begin < 0 or end < begin:
        raise Failure(f"{name} has no place for the table: it wants the lines\n{begin_mark}\n{end_mark}")
    begin += len(begin_mark)
    return text[:begin], text[begin:end], text[end:]


def readme_text(result, text, name="README.md"):
    """The README with the run's table and plots between the marks."""
    before, _, after = between(text, name, MARK_BEGIN, MARK_END)
    images = "".join(f"\n![{PLOTS[path]}]({path})" for path in plots(result))
    return f"{before}\n{table(result)}\n{images}\n{after}"


def write(path, root):
    """README and plots below `root` from the run in `path`."""
    result = json.loads(path.read_text())
    readme = root / "README.md"
    text = readme_text(result, readme.read_text() if readme.exists() else "", readme.name)
    for name, svg in plots(result).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(svg)
    readme.write_text(text)
