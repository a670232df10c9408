#!/usr/bin/env python3
"""tools/kernel_report.py on the kernels of this folder: each file has one fault, which must be named, and no other;
good.cu has none. Then what it knows without a compiler: occupancy, widths in machine code, declarations."""

import argparse
import json
import pathlib
import re
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parent

# What the only error of a file says.
FAULTS = {
    "narrow": r"sm_90 narrow\.cu: twice_kernel is bound by bandwidth and needs (loads|stores) of 16 bytes, the widest "
              r"has 4; .*/narrow\.cu:4",
    "half_narrow": r"sm_90 half_narrow\.cu: four_kernel .* needs stores of 16 bytes, the widest has 4",
    "no_twin": r"sm_90 no_twin\.cu: fill_kernel<int, 1> is narrow and has no wide twin of the same types",
    "low_occupancy": r"sm_90 low_occupancy\.cu: held_kernel has an occupancy of 31%, at least 50% is expected \(without a "
                     r"reason\)",
    "below_floor": r"sm_90 below_floor\.cu: held_kernel has an occupancy of 31%, at least 40% is expected \(stated in its "
                   r"file\)",
    "undeclared": r"undeclared\.cu:3: twice_kernel does not say what bounds it",
    "stale": r"stale\.cu:6: a reason is given for an occupancy of twice_kernel below 50%, but none is",
}


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def check_files(script):
    def report(*arguments):
        return subprocess.run([sys.executable, script, "--kernels", FOLDER, *arguments], text=True,
                              capture_output=True, stdin=subprocess.DEVNULL)

    result = report("--json")  # all architectures
    check(result.returncode == 1, f"exit status {result.returncode} for faulty kernels\n{result.stderr}")
    said = json.loads(result.stdout)
    check({k["arch"] for k in said["kernels"]} == {80, 90, 120}, "not every architecture was looked at")
    for file, fault in FAULTS.items():
        of_file = [e for e in said["errors"] if re.search(rf"\b{file}\.cu\b", e) and not re.match("sm_(80|120) ", e)]
        check(of_file and all(re.search(fault, e) for e in of_file),
              f"{file}.cu: expected only /{fault}/, found {of_file}")
    good = {(k["name"], k["arch"]): k for k in said["kernels"] if k["file"] == "good.cu"}
    check(not [e for e in said["errors"] if "good.cu" in e], f"good.cu is found fault with: {said['errors']}")
    wide, narrow = good["twice_kernel<float, 4>", 90], good["twice_kernel<float, 1>", 90]
    check((wide["loads"], wide["stores"], narrow["loads"], narrow["stores"]) == (16, 16, 4, 4), f"{wide} {narrow}")
    check(any("good.cu: held_kernel, occupancy from 12%" in e for e in said["exceptions"]), said["exceptions"])

    result = report("--only", "good", "--arch", "90")
    check(result.returncode == 0 and "1 exceptions" in result.stdout, f"good.cu alone fails:\n{result.stdout}")
    result = report("--only", "good", "--arch", "90", "--markdown")
    check("| good.cu | sm_90 | 3 | 1 of 1 |" in result.stdout, f"--markdown printed\n{result.stdout}")
    result = report("--only", "nothing")
    check(result.returncode == 1 and "no file of" in result.stdout, "a name that fits no file passes")


def check_parts(tools):
    sys.path.insert(0, str(tools))
    import kernel_declarations as declarations
    import kernel_report

    # CUDA's occupancy calculator: 256 threads of 64 registers, 33 registers, 32 KiB of shared memory.
    limits = kernel_report.LIMITS
    check(limits[90].occupancy(64, 0, 256) == 0.5 and limits[90].occupancy(33, 0, 256) == 0.75 and
          limits[80].occupancy(32, 32 << 10, 256) == 0.5 and limits[120].occupancy(32, 0, 1024) == 2 / 3,
          "occupancy differs from CUDA's calculator")

    code = """
\t.section\t.text._Z1av,"ax",@progbits
        /*0000*/                   LDG.E.64.CONSTANT R2, desc[UR4][R2.64] ;
        /*0010*/              @!P0 LDGSTS.E.BYPASS.LTC128B.128 [R7], desc[UR4][R4.64] ;
        /*0020*/                   LDS.128 R4, [R8] ;
        /*0030*/                   STG.E.U16 desc[UR4][R2.64], R5 ;
\t.section\t.text._Z1bv,"ax",@progbits
        /*0000*/                   STL.128 [R1], R4 ;
        /*0010*/                   LD.E R4, [R2.64] ;
        /*0020*/               @P1 ST.E.128 [R2.64], R4 ;
"""
    check(kernel_report.widths(code) == {"_Z1av": [16, 2], "_Z1bv": [4, 16]}, kernel_report.widths(code))

    for text in ("bandwidth (loads, shops)", "bandwidth (loads); narrow when V = 1", "latency", "bandwidth: it is so"):
        try:
            declarations.read_bound([f"// Bound by: {text}."], "here")
        except declarations.DeclarationError as error:
            check("was not understood" in str(error), error)
        else:
            check(False, f"`Bound by: {text}` was taken")
    bound = declarations.read_bound(["// Rows.", "// Bound by: bandwidth (loads); narrow where V != 4, alone for int: one",
                                     "//   two."], "here")
    check((bound.wide, bound.parameter, bound.negated, bound.value, bound.alone, bound.reason) ==
          (("loads",), "V", True, "4", ("int",), "one two"), bound)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    tools = parser.parse_args().source / "tools"
    check_parts(tools)
    check_files(tools / "kernel_report.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
