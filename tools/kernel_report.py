#!/usr/bin/env python3
"""Registers, spills, shared memory and theoretical occupancy of every CUDA kernel, from what ptxas says.

    tools/kernel_report.py                              compiles cuda/kernels/*.cu for sm_80, sm_90 and sm_120
    tools/kernel_report.py --arch 90 --ptx FOLDER       uses FOLDER/*.sm_90.ptx, which the tests cuda_ptx_* leave
    tools/kernel_report.py --only softmax --brief       one family; a line a file instead of one a kernel

Needs the CUDA Toolkit, no GPU. A spilled register is an error: the table marks it, and the exit status is 1. So is a
file of cuda/kernels without its PTX. Dynamic shared memory is the launch's affair and not in the table; occupancy is
that of registers, threads and static shared memory, for the block size the kernel was compiled for (__launch_bounds__),
else for --threads. Stack is local memory of other kinds, such as the slow path of a sine; it is shown and allowed.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

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
    wide: bool = False  # has global accesses of 16 bytes
    occupancy: float = 0.0


def tool(name):
    """A program of the toolkit: beside nvcc on the path, else in the usual folders."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    found = shutil.which(name) or next(
        (str(p) for p in (pathlib.Path(home, "bin", name) for home in homes if home) if p.exists()), None)
    if found is None:
        sys.exit(f"kernel_report: {name} was not found; install the CUDA Toolkit, or put its bin folder on PATH")
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
WIDE = re.compile(r"\b(?:ld|st)\.(?:\w+\.)*global\.(?:\S+\.)?(?:v4\.[bfsu]32|v2\.[bfsu]64)|cp\.async\.c[ag]\.shared")


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


def examine(ptx, arch, options):
    """The kernels of one PTX file."""
    text = ptx.read_text()
    kernels = {}
    for symbol, body in bodies(text):
        kernels[symbol] = Kernel(ptx.name[: -len(f".sm_{arch}.ptx")], arch, symbol, threads=threads_of(body),
                                 wide=WIDE.search(body) is not None)
    with tempfile.TemporaryDirectory() as folder:
        command = [tool("ptxas"), "-v", f"-arch=sm_{arch}", ptx, "-o", pathlib.Path(folder, "out.cubin")]
        if options.max_registers:
            # A promise about the block's size would outweigh it.
            stripped = pathlib.Path(folder, "in.ptx")
            stripped.write_text(re.sub(r"\.(?:max|req)ntid [\d, ]+", "", text))
            command[3] = stripped
            command += ["-maxrregcount", options.max_registers]
        said = run(command)
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


def columns(rows):
    """Text of the rows, one column as wide as its widest cell; all but the first are set to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))


def table(kernels, arches):
    """A row a kernel; registers and occupancy once for each architecture."""
    by_kernel = {}
    for k in kernels:
        by_kernel.setdefault((k.file, k.name, k.symbol), {})[k.arch] = k
    rows = [["kernel", *(f"regs {a}" for a in arches), *(f"occ {a}" for a in arches), "smem", "stack", "spill", "16 B"]]
    for (file, name, _), of in sorted(by_kernel.items()):
        some = list(of.values())
        rows.append([
            f"{file}: {name}"[:110],
            *(str(of[a].registers) if a in of else "" for a in arches),
            *(f"{100 * of[a].occupancy:.0f}%" if a in of else "" for a in arches),
            str(max(k.shared for k in some)),
            str(max(k.stack for k in some)),
            "SPILL " + str(max(k.spills for k in some)) if any(k.spills for k in some) else "0",
            "yes" if any(k.wide for k in some) else "",
        ])
    return rows


def brief(kernels):
    """A row a file and architecture."""
    groups = {}
    for k in kernels:
        groups.setdefault((k.file, k.arch), []).append(k)
    rows = [["file", "arch", "kernels", "regs", "occupancy", "smem", "stack", "spilling"]]
    for (file, arch), of in sorted(groups.items()):
        low, high = min(k.occupancy for k in of), max(k.occupancy for k in of)
        rows.append([file, f"sm_{arch}", str(len(of)), f"{min(k.registers for k in of)}-{max(k.registers for k in of)}",
                     f"{100 * low:.0f}-{100 * high:.0f}%", str(max(k.shared for k in of)),
                     str(max(k.stack for k in of)), str(sum(1 for k in of if k.spills))])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=int, action="append", choices=sorted(LIMITS), metavar="N",
                        help="80, 86, 89, 90, 100 or 120; may be repeated (default: 80, 90, 120)")
    parser.add_argument("--ptx", type=pathlib.Path, metavar="FOLDER", help="PTX that is there already")
    parser.add_argument("--only", default="", metavar="TEXT", help="files whose name begins with it")
    parser.add_argument("--threads", type=int, default=256, metavar="N", help="block size of kernels that state none")
    parser.add_argument("--brief", action="store_true", help="a line a file")
    parser.add_argument("--max-registers", type=int, default=0, metavar="N",
                        help="what if kernels had no more than this? (shows that spills are seen)")
    options = parser.parse_args()
    arches = options.arch or [80, 90, 120]

    sources = sorted(p for p in (ROOT / "cuda/kernels").glob("*.cu") if p.name.startswith(options.only))
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
        kernels, failures = [], []
        for job in jobs:
            try:
                kernels += job.result()
            except RuntimeError as error:
                failures.append(str(error))
    if not kernels and not failures:
        failures.append(f"no file of cuda/kernels begins with '{options.only}'")
    demangle(kernels)
    if kernels:
        print("\n".join(columns(brief(kernels) if options.brief else table(kernels, arches))))
    spilling = [k for k in kernels if k.spills]
    print(f"\n{len(kernels)} kernels, {len(spilling)} with spilled registers")
    for k in spilling:
        print(f"  sm_{k.arch} {k.file}: {k.name} spills {k.spills} bytes at {k.registers} registers")
    for failure in failures:
        print(f"error: {failure}")
    return 1 if spilling or failures else 0


if __name__ == "__main__":
    sys.exit(main())
