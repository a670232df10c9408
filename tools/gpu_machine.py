"""What of gpu_check.py's needs this machine has: the GPU and its driver, compilers, libraries and tools. Only looks.

    found = probe(root)
    found["gpu"]                  # {"name": "NVIDIA H100 80GB HBM3", "driver": "580.65", "sm": 90}, or None
    found["why"].get("nvcc")      # what is not there, and what is left out without it
"""

import ctypes.util
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys

# Tool or library: what is left out without it.
LEFT_OUT = {
    "gpu": "every part that needs a GPU",
    "cmake": "building here; carry a build made by --prepare",
    "build tool": "building here (neither ninja nor make); carry a build made by --prepare",
    "c++": "building here; carry a build made by --prepare",
    "nvcc": "building here; carry a build made by --prepare",
    "GoogleTest": "building the tests here; carry a build made by --prepare",
    "oneDNN": "building here; carry a build made by --prepare, or build/deps",
    "NVRTC": "generated kernels: tests and programs that need one fail",
    "compute-sanitizer": "the part sanitizer",
    "torch": "PyTorch in the part bench (it wants torch and torchvision); Ingot is measured alone",
    "cuDNN": "nothing yet: no kernel of Ingot asks for it",
    "NCCL": "nothing yet: Ingot runs on one GPU",
}


def output_of(command, timeout=60):
    """What a command prints, or None where it cannot be run or fails."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cuda_folders():
    roots = [os.environ.get(v) for v in ("CUDA_HOME", "CUDA_PATH")] + ["/usr/local/cuda"]
    return [pathlib.Path(r) for r in roots if r]


def find_program(name):
    """On PATH, else in the CUDA Toolkit's usual places."""
    if found := shutil.which(name):
        return found
    for root in cuda_folders():
        for folder in ("bin", "compute-sanitizer", "extras/compute-sanitizer"):
            if os.access(root / folder / name, os.X_OK):
                return str(root / folder / name)
    return None


def find_library(name):
    """A shared library that the loader or the CUDA Toolkit has; its path or its name."""
    for root in cuda_folders():
        if found := sorted(root.glob(f"lib64/lib{name}.so.*")):
            return str(found[0])
    return ctypes.util.find_library(name)


def version_of(program, *arguments):
    text = output_of([program, *(arguments or ("--version",))]) or ""
    # nvcc names years and places before its version.
    found = re.search(r"release (\d+\.\d+)", text) or re.search(r"(\d+\.\d+(?:\.\d+)*)", text)
    return found[1] if found else "unknown version"


def gpu():
    """The first GPU as the driver describes it, or None and the reason."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None, "nvidia-smi is not on PATH, so there is no NVIDIA driver"
    text = output_of([smi, "--query-gpu=name,driver_version,compute_cap,memory.total", "--format=csv,noheader"])
    if not text:
        return None, "nvidia-smi names no GPU"
    name, driver, capability, memory = (v.strip() for v in text.splitlines()[0].split(","))
    return {"name": name, "driver": driver, "sm": int(capability.replace(".", "")), "memory": memory}, ""


def torch_python():
    """(interpreter, version) of a Python here that has torch and torchvision."""
    for python in dict.fromkeys(filter(None, (shutil.which("python3"), sys.executable))):
        if version := output_of([python, "-c", "import torch, torchvision; print(torch.__version__)"], timeout=180):
            return python, version.splitlines()[-1]
    return None, None


def has_header(name, *folders):
    return any((pathlib.Path(f) / name).exists() for f in ("/usr/include", "/usr/local/include", *folders))


def probe(root, look_for_torch=True):
    """found["what"]: name -> text for what is there; found["why"]: name -> what is left out without it."""
    what, programs = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}, {}
    for name in ("cmake", "nvcc", "compute-sanitizer", "ninja", "make"):
        if path := find_program(name):
            programs[name] = path
            what[name] = f"{version_of(path)} ({path})"
    if tool := programs.get("ninja") or programs.get("make"):
        what["build tool"] = tool
    if compiler := shutil.which("c++") or shutil.which("g++"):
        what["c++"] = f"{version_of(compiler, '-dumpfullversion')} ({compiler})"
    if has_header("gtest/gtest.h"):
        what["GoogleTest"] = "headers found"
    if has_header("oneapi/dnnl/dnnl.hpp", root / "build/deps/onednn/include"):
        what["oneDNN"] = "headers found"
    for title, library in (("NVRTC", "nvrtc"), ("cuDNN", "cudnn"), ("NCCL", "nccl")):
        if path := find_library(library):
            what[title] = path
    device, reason = gpu()
    if device:
        what["gpu"] = f"{device['name']}, sm_{device['sm']}, {device['memory']}, driver {device['driver']}"
    if look_for_torch:
        programs["torch"], version = torch_python()
        if version:
            what["torch"] = f"{version} ({programs['torch']})"
    why = {name: text for name, text in LEFT_OUT.items() if name not in what and (look_for_torch or name != "torch")}
    return {"what": what, "why": why, "programs": programs, "gpu": device, "no_gpu": reason}


def report(found):
    """The probe as lines of text."""
    lines = [f"  {name}: {text}" for name, text in found["what"].items()]
    for name, text in found["why"].items():
        lines.append(f"  no {name if name != 'gpu' else 'GPU: ' + found['no_gpu']}; left out: {text}")
    return lines
