#!/usr/bin/env python3
"""Registers, spills, shared memory, occupancy and the width of memory accesses of every CUDA kernel, from ptxas and
from the machine code that it makes.

    tools/kernel_report.py                              compiles cuda/kernels/*.cu for sm_80, sm_90 and sm_120
    tools/kernel_report.py --arch 90 --ptx FOLDER       uses FOLDER/*.sm_90.ptx, which the tests cuda_ptx_* leave
    tools/kernel_report.py --only softmax --brief       one family; a line a file instead of one a kernel
    tools/kernel_report.py --json >report.json          all figures; --markdown: the brief table for a document

Needs nvcc, ptxas and nvdisasm, no GPU. The exit status is 1, and the last lines say why, when

  - a kernel spills registers;
  - a kernel does not say what bounds it, or a file of cuda/kernels has no PTX;
  - a kernel bound by bandwidth has no 16-byte access on a side that it declares (loads, stores). Instantiations that
    are declared narrow, for shapes and addresses that forbid 16 bytes, need not; but each needs a wide twin: one of the
    same types that has them. What is declared `bandwidth, narrow: reason` is let pass and listed with its reason;
  - occupancy is below 50 %, or below the number that the kernel's file states with a reason.

A width is that of the widest access to global memory in the kernel's machine code (LDG, LD, LDGSTS; STG, ST): a kernel
with a 16-byte path and a remainder of single elements counts as wide. How kernels declare all this is in
tools/kernel_declarations.py.

Dynamic shared memory is the launch's affair and not in the table; occupancy is that of registers, threads and static
shared memory, for the block size the kernel was compiled for (__launch_bounds__), else for --threads. Stack is local
memory of other kinds, such as the slow path of a sine; it is shown and allowed.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field

import kernel_declarations as declarations
from kernel_declarations import DeclarationError

ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclass
class Limits:
    """Of one multiprocessor. Source: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"."""

    threads: int
    blocks: int
    shared: int  # bytes; each block costs 1 KiB more than it asks for
    registers: int = 65536

    def occupancy(self, registers, shared, threads):
        """Resident threads over the most there can be."""
        warps = -(-threads // 32)
        per_warp = -(-max(registers, 1) * 32 // 256) * 256  # handed out in pieces of 256
        per_partition = self.registers // 4 // per_warp  # each of the four schedulers has its own quarter
        by_registers = 4 * per_partition // warps
        by_shared = self.shared // (shared + 1024)
        blocks = min(self.blocks, self.threads // (warps * 32), by_registers, by_shared)
        return blocks * warps * 32 / self.threads


LIMITS = {
    80: Limits(threads=2048, blocks=32, shared=164 << 10),
    86: Limits(threads=1536, blocks=16, shared=100 << 10),
    89: Limits(threads=1536, blocks=24, shared=100 << 10),
    90: Limits(threads=2048, blocks=32, shared=228 << 10),
    100: Limits(threads=2048, blocks=32, shared=228 << 10),
    120: Limits(threads=1536, blocks=24, shared=100 << 10),
}


DEFAULT_ARCHES = [80, 90, 120]


@dataclass
class Kernel:
    file: str
    arch: int
    symbol: str
    name: str = ""
    registers: int = 0
    spills: int = 0  # bytes stored and loaded
    stack: int = 0
    shared: int = 0
    threads: int = 0
    loads: int = 0  # bytes of the widest access to global memory, 0: there is none
    stores: int = 0
    occupancy: float = 0.0
    declared: declarations.Kernel = None
    narrow: bool = False  # an instantiation that need not have 16-byte accesses
    arguments: list = field(default_factory=list)  # of the template

    @property
    def percent(self):
        return int(100 * self.occupancy)

    @property
    def bound(self):
        return self.declared.bound if self.declared else None

    @property
    def where(self):
        return f"sm_{self.arch} {self.file}: {self.name}"


# Where bootstrap unpacks what a toolkit lacks.
OWN_TOOLS = ROOT / "build/deps/nvdisasm"


def tool(name):
    """A program of the toolkit: beside nvcc on the path, else in the usual folders, else fetched by bootstrap."""
    homes = [pathlib.Path(home, "bin") for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"),
                                                    "/usr/local/cuda") if home]
    found = shutil.which(name) or next((str(p) for p in (h / name for h in [*homes, OWN_TOOLS]) if p.exists()), None)
    if found is None:
        sys.exit(f"kernel_report: {name} was not found; " + (
            "tools/bootstrap.sh fetches it where the CUDA Toolkit is installed" if name == "nvdisasm" else
            "install the CUDA Toolkit, or put its bin folder on PATH"))
    return found


def run(command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def compile_ptx(source, arch, folder):
    ptx = folder / f"{source.name}.sm_{arch}.ptx"
    run([tool("nvcc"), "-std=c++20", "-ptx", f"-arch=sm_{arch}", f"-I{ROOT}", source, "-o", ptx])
    return ptx


ENTRY = re.compile(r"^\.visible \.entry (\w+)\(|^\.entry (\w+)\(|^\t?\.weak \.entry (\w+)\(", re.M)
SECTION = re.compile(r"^\s*\.section\s+\.text\.(\w+)")
ACCESS = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(LDG|LDGSTS|LD|STG|ST)((?:\.\w+)*)\s")
BYTES = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}  # 4 where none is said


def bodies(text):
    """(symbol, text) of each kernel of a PTX file."""
    starts = [(m.start(), next(g for g in m.groups() if g)) for m in ENTRY.finditer(text)]
    for (begin, symbol), (end, _) in zip(starts, starts[1:] + [(len(text), "")]):
        yield symbol, text[begin:end]


def threads_of(body):
    bound = re.search(r"\.(?:max|req)ntid (\d+)(?:, (\d+))?(?:, (\d+))?", body)
    if bound is None:
        return 0
    product = 1
    for number in bound.groups():
        product *= int(number or 1)
    return product


def widths(code):
    """Symbol -> bytes of the widest load and store, from what nvdisasm prints."""
    found, own = {}, None
    for line in code.splitlines():
        if match := SECTION.match(line):
            own = found.setdefault(match[1], [0, 0])
        elif own is not None and (match := ACCESS.match(line)):
            width = next((BYTES[part] for part in match[2].split(".") if part in BYTES), 4)
            side = 1 if match[1].startswith("ST") else 0
            own[side] = max(own[side], width)
    return found


def examine(ptx, arch, options):
    """The kernels of one PTX file."""
    text = ptx.read_text()
    kernels = {}
    for symbol, body in bodies(text):
        kernels[symbol] = Kernel(ptx.name[: -len(f".sm_{arch}.ptx")], arch, symbol, threads=threads_of(body))
    with tempfile.TemporaryDirectory() as folder:
        cubin = pathlib.Path(folder, "out.cubin")
        command = [tool("ptxas"), "-v", f"-arch=sm_{arch}", ptx, "-o", cubin]
        if options.max_registers:
            # A promise about the block's size would outweigh it.
            stripped = pathlib.Path(folder, "in.ptx")
            stripped.write_text(re.sub(r"\.(?:max|req)ntid [\d, ]+", "", text))
            command[3] = stripped
            command += ["-maxrregcount", options.max_registers]
        said = run(command)
        accesses = widths(run([tool("nvdisasm"), "--print-code", "--no-dataflow", cubin]))
    current = None
    for line in said.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            current = kernels[match[1]]
        elif match := re.search(r"Function properties for (\w+)", line):
            current = kernels.get(match[1], current)
        elif current is None:
            continue
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            current.stack = max(current.stack, int(match[1]))
            current.spills += int(match[2]) + int(match[3])
        elif match := re.search(r"Used (\d+) registers", line):
            current.registers = int(match[1])
            shared = re.search(r"(\d+) bytes smem", line)
            current.shared = int(shared[1]) if shared else 0
    silent = [k.symbol for k in kernels.values() if k.registers == 0]
    if silent:
        raise RuntimeError(f"ptxas said nothing of {', '.join(silent)} in {ptx}")
    for k in kernels.values():
        if k.symbol not in accesses:
            raise RuntimeError(f"nvdisasm shows no machine code of {k.symbol}, which ptxas made from {ptx}")
        k.loads, k.stores = accesses[k.symbol]
        k.occupancy = LIMITS[arch].occupancy(k.registers, k.shared, k.threads or options.threads)
    return list(kernels.values())


def demangle(kernels):
    """Readable names, without result, parameters and our own namespaces."""
    filt = shutil.which("c++filt")
    names = [k.symbol for k in kernels]
    if filt and names:
        said = subprocess.run([filt], input="\n".join(names), capture_output=True, text=True, check=True).stdout
        names = said.splitlines()
    for kernel, name in zip(kernels, names):
        depth = 0
        for i, c in enumerate(name):
            depth += {"<": 1, ">": -1}.get(c, 0)
            if c == "(" and depth == 0:
                name = name[:i]
                break
        name = re.sub(r"^void ", "", name)
        name = re.sub(r"ingot::(?:cuda::)?(?:\w+_kernels::)?", "", name)
        kernel.name = name.replace("__nv_bfloat16", "bf16").replace("__half", "f16")


def connect(kernels, source_folder, ptx_folder):
    """Gives each kernel what its source declares; returns what is wrong with the declarations."""
    errors, by_file = [], {}
    for file in dict.fromkeys(k.file for k in kernels):
        try:
            source = source_folder / file
            by_file[file] = declarations.kernels_seen_by(source, ROOT) if source.exists() else {}
        except DeclarationError as error:
            errors.append(str(error))
    missing = {}
    for k in kernels:
        if k.file not in by_file:
            continue
        name, _, arguments = k.name.partition("<")
        k.arguments = declarations.split_arguments(arguments.rpartition(">")[0])
        try:
            if (source_folder / k.file).exists():
                k.declared = by_file[k.file].get(name.rpartition("::")[2])
            else:
                k.declared = declarations.kernel_of_ptx(ptx_folder / f"{k.file}.sm_{k.arch}.ptx")
            if k.bound is None:
                missing.setdefault((k.file, name), k)
            else:
                k.narrow = k.declared.is_narrow(k.arguments)
        except DeclarationError as error:
            errors.append(str(error))
    for (file, name), k in missing.items():
        place = k.declared.place if k.declared else file
        errors.append(f"{place}: {name} does not say what bounds it; a line `// Bound by: ...` is expected directly "
                      "above the kernel (forms: tools/kernel_declarations.py)")
    return list(dict.fromkeys(errors))


def judge(kernels):
    """What is wrong with the kernels themselves, a line each."""
    wrong = []
    wide = {(k.file, k.arch, k.declared.name, k.declared.types(k.arguments))
            for k in kernels if k.bound and k.bound.wide and not k.narrow}
    for k in kernels:
        if k.spills:
            wrong.append(f"{k.where} spills {k.spills} bytes at {k.registers} registers; none may spill: hold fewer "
                         "values, or allow the kernel more registers")
        if k.bound is None:
            continue
        if k.narrow:
            twin = (k.file, k.arch, k.declared.name, k.declared.types(k.arguments))
            if twin not in wide and not k.declared.is_alone(k.arguments):
                wrong.append(f"{k.where} is narrow and has no wide twin of the same types; instantiate one, or say "
                             f"`alone for` with a reason at {k.declared.place}")
        else:
            for side in k.bound.wide:
                if getattr(k, side) < 16:
                    wrong.append(f"{k.where} is bound by bandwidth and needs {side} of 16 bytes, the widest has "
                                 f"{getattr(k, side)}; use load16 and store16, or say what is narrow at "
                                 f"{k.declared.place}")
        if k.percent < k.declared.floor:
            stated = "stated in its file" if k.declared.floor_reason else "without a reason"
            wrong.append(f"{k.where} has an occupancy of {k.percent}%, at least {k.declared.floor}% is expected "
                         f"({stated}); it takes {k.registers} registers, {k.shared} bytes of shared memory: lower "
                         f"them, or write `// Occupancy: {k.declared.name} from {k.percent}%: reason.` into the comment "
                         f"that opens the file of {k.declared.place}")
    return wrong


def stale(kernels):
    """Reasons for an occupancy that no kernel has any more."""
    low = {}
    for k in kernels:
        if k.declared and k.declared.floor_reason:
            place = (k.declared.place, k.declared.name)
            low[place] = low.get(place, False) or k.percent < 50
    return [f"{place}: a reason is given for an occupancy of {name} below 50%, but none is; remove the line"
            for (place, name), is_low in low.items() if not is_low]


def exceptions(kernels):
    """What is allowed for a reason, a line each."""
    lines = {}
    for k in kernels:
        if k.bound is None:
            continue
        where = f"{k.file}: {k.declared.name}"
        if k.percent < 50 and k.declared.floor_reason:
            text = f"occupancy from {k.declared.floor}%: {k.declared.floor_reason}"
            lines[where, text] = min(lines.get((where, text), 100), k.percent)
        if k.bound.by == "bandwidth" and (not k.bound.wide or (k.narrow and k.declared.is_alone(k.arguments))):
            lines[where, f"narrow: {k.bound.reason}"] = None
    return [f"{where}, {text}" + (f" (lowest here: {lowest}%)" if lowest is not None else "")
            for (where, text), lowest in sorted(lines.items(), key=lambda item: item[0])]


def columns(rows):
    """Text of the rows, one column as wide as its widest cell; all but the first are set to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))


def table(kernels, arches):
    """A row a kernel; registers and occupancy once for each architecture, of accesses the narrowest among them."""
    by_kernel = {}
    for k in kernels:
        by_kernel.setdefault((k.file, k.name, k.symbol), {})[k.arch] = k
    rows = [["kernel", "bound by", *(f"regs {a}" for a in arches), *(f"occ {a}" for a in arches), "load", "store",
             "smem", "stack", "spill"]]
    for (file, name, _), of in sorted(by_kernel.items()):
        some = list(of.values())
        rows.append([
            f"{file}: {name}"[:110],
            (some[0].bound.by if some[0].bound else "?") + (", narrow" if some[0].narrow else ""),
            *(str(of[a].registers) if a in of else "" for a in arches),
            *(f"{100 * of[a].occupancy:.0f}%" if a in of else "" for a in arches),
            str(min(k.loads for k in some)),
            str(min(k.stores for k in some)),
            str(max(k.shared for k in some)),
            str(max(k.stack for k in some)),
            "SPILL " + str(max(k.spills for k in some)) if any(k.spills for k in some) else "0",
        ])
    return rows


def brief(kernels):
    """A row a file and architecture."""
    groups = {}
    for k in kernels:
        groups.setdefault((k.file, k.arch), []).append(k)
    rows = [["file", "arch", "kernels", "16 bytes", "regs", "occupancy", "smem", "stack", "spilling"]]
    for (file, arch), of in sorted(groups.items()):
        low, high = min(k.occupancy for k in of), max(k.occupancy for k in of)
        needed = [k for k in of if k.bound and k.bound.wide and not k.narrow]
        wide = [k for k in needed if all(getattr(k, side) >= 16 for side in k.bound.wide)]
        rows.append([file, f"sm_{arch}", str(len(of)), f"{len(wide)} of {len(needed)}",
                     f"{min(k.registers for k in of)}-{max(k.registers for k in of)}",
                     f"{100 * low:.0f}-{100 * high:.0f}%", str(max(k.shared for k in of)),
                     str(max(k.stack for k in of)), str(sum(1 for k in of if k.spills))])
    return rows


def markdown(rows):
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines]


def as_json(kernels, allowed, wrong):
    def figures(k):
        said = {name: value for name, value in asdict(k).items() if name not in ("declared", "arguments")}
        said["bound"] = k.bound.by if k.bound else None
        said["wide"] = list(k.bound.wide) if k.bound and not k.narrow else []
        return said

    return json.dumps({"kernels": [figures(k) for k in kernels], "exceptions": allowed, "errors": wrong}, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, action="append", choices=sorted(LIMITS), metavar="N",
                        help="80, 86, 89, 90, 100 or 120; may be repeated (default: 80, 90, 120)")
    parser.add_argument("--kernels", type=pathlib.Path, default=ROOT / "cuda/kernels", metavar="FOLDER",
                        help="where the .cu files lie (default: cuda/kernels)")
    parser.add_argument("--ptx", type=pathlib.Path, metavar="FOLDER", help="PTX that is there already")
    parser.add_argument("--only", default="", metavar="TEXT", help="files whose name begins with it")
    parser.add_argument("--threads", type=int, default=256, metavar="N", help="block size of kernels that state none")
    parser.add_argument("--brief", action="store_true", help="a line a file")
    parser.add_argument("--json", action="store_true", help="all figures, exceptions and errors as JSON")
    parser.add_argument("--markdown", action="store_true", help="a line a file, as a Markdown table")
    parser.add_argument("--max-registers", type=int, default=0, metavar="N",
                        help="what if kernels had no more than this? (shows that spills are seen)")
    options = parser.parse_args()
    arches = options.arch or DEFAULT_ARCHES

    sources = sorted(p for p in options.kernels.resolve().glob("*.cu") if p.name.startswith(options.only))
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:

        def look(source, arch):
            if options.ptx is None:
                return examine(compile_ptx(source, arch, pathlib.Path(folder)), arch, options)
            ptx = options.ptx / f"{source.name}.sm_{arch}.ptx"
            if not ptx.exists():
                raise RuntimeError(f"{ptx} is missing; run `ctest -R cuda_ptx_` first")
            return examine(ptx, arch, options)

        jobs = [pool.submit(look, source, arch) for arch in arches for source in sources]
        if options.ptx is not None:  # samples of generated kernels
            jobs += [pool.submit(examine, ptx, arch, options) for arch in arches
                     for ptx in sorted(options.ptx.glob(f"generated*.sm_{arch}.ptx"))
                     if ptx.name.startswith(options.only)]
        kernels, wrong = [], []
        for job in jobs:
            try:
                kernels += job.result()
            except RuntimeError as error:
                wrong.append(str(error))
    if not kernels and not wrong:
        wrong.append(f"no file of {options.kernels} begins with '{options.only}'")
    demangle(kernels)
    wrong += connect(kernels, options.kernels.resolve(), options.ptx)
    wrong += judge(kernels)
    # One architecture may lack what another has.
    if set(arches) >= set(DEFAULT_ARCHES) and not options.max_registers:
        wrong += stale(kernels)
    allowed = exceptions(kernels)
    if options.json:
        print(as_json(kernels, allowed, wrong))
        return 1 if wrong else 0
    if kernels:
        rows = brief(kernels) if options.brief or options.markdown else table(kernels, arches)
        print("\n".join(markdown(rows) if options.markdown else columns(rows)))
    spilling = sum(1 for k in kernels if k.spills)
    print(f"\n{len(kernels)} kernels, {spilling} with spilled registers; {len(allowed)} exceptions, for a reason:")
    for line in allowed:
        print(f"  {line}")
    for line in wrong:
        print(f"error: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
