#!/usr/bin/env python3
"""On a machine that can build Ingot (it just did), tools/bootstrap.sh finds nothing to do: it asks no package manager,
touches nothing below build/deps, and succeeds for anybody. Where something is missing it names it and fails. The
disassembler is wanted where there is a CUDA toolkit without one, and nowhere else."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

# Programs that would change the machine or reach out of it: each leaves a mark and fails.
FORBIDDEN = ("apt-get", "apt", "pip", "pip3", "sudo", "curl", "wget")


def listing(folder):
    return sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*")) if folder.exists() else []


def check_toolkit_wheels(source, scratch, environment):
    """In a copy of the tree without the wheels that go with a CUDA toolkit, on a machine whose toolkit is CUDA_HOME alone."""
    tree = scratch / "tree"
    shutil.copytree(source / "tools", tree / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(source / "cmake" / "probe", tree / "cmake" / "probe")
    (tree / "build" / "deps").mkdir(parents=True)
    onednn = source / "build" / "deps" / "onednn"
    if onednn.exists():
        (tree / "build" / "deps" / "onednn").symlink_to(onednn.resolve())
    script = tree / "tools" / "bootstrap.sh"
    usual = "/usr/local/cuda"
    if usual not in script.read_text():
        sys.exit(f"bootstrap no longer looks for a toolkit in {usual}; this check hides that folder: adapt it")
    script.write_text(script.read_text().replace(usual, str(scratch / "no-toolkit")))
    path = os.pathsep.join(folder for folder in environment["PATH"].split(os.pathsep)
                           if not any((pathlib.Path(folder) / name).exists() for name in ("nvcc", "nvdisasm")))
    for programs, wanted in (((), ""), (("nvcc",), "cudnn_frontend nvdisasm"), (("nvcc", "nvdisasm"), "cudnn_frontend")):
        home = scratch / f"toolkit-{len(programs)}"
        (home / "bin").mkdir(parents=True)
        for name in programs:
            (home / "bin" / name).write_text("#!/bin/sh\n")
            (home / "bin" / name).chmod(0o755)
        result = subprocess.run([script, "--check"], stdin=subprocess.DEVNULL, text=True, capture_output=True,
                                env={**environment, "PATH": path, "CUDA_HOME": str(home), "CUDA_PATH": ""})
        said = f"bootstrap: missing: {wanted}\n" if wanted else ""
        if result.stdout != said or result.returncode != (1 if wanted else 0):
            sys.exit(f"a machine whose toolkit has {', '.join(programs) or 'nothing'}: expected {said!r}, got "
                     f"{result.returncode} {result.stdout!r} {result.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    args = parser.parse_args()
    script = args.source / "tools" / "bootstrap.sh"
    deps = args.source / "build" / "deps"

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        mark = scratch / "called"
        fakes = scratch / "bin"
        fakes.mkdir()
        for name in FORBIDDEN:
            fake = fakes / name
            fake.write_text(f'#!/bin/sh\necho "{name} $*" >>"{mark}"\nexit 1\n')
            fake.chmod(0o755)
        environment = {**os.environ, "PATH": f"{fakes}:{os.environ['PATH']}"}

        before = listing(deps)
        for _ in range(2):
            result = subprocess.run([script], env=environment, stdin=subprocess.DEVNULL, text=True,
                                    capture_output=True)
            if result.returncode:
                sys.exit(f"bootstrap failed on a ready machine:\n{result.stdout}{result.stderr}")
        if mark.exists():
            sys.exit(f"bootstrap called: {mark.read_text()}")
        if listing(deps) != before:
            sys.exit(f"bootstrap changed {deps}")

        check_toolkit_wheels(args.source, scratch, environment)
        if mark.exists():
            sys.exit(f"bootstrap --check called: {mark.read_text()}")

        # A machine whose CMake finds no GoogleTest: --check names the package, and installs nothing.
        wrapper = fakes / "cmake"
        real = subprocess.run(["sh", "-c", "command -v cmake"], text=True, capture_output=True).stdout.strip()
        wrapper.write_text(f'#!/bin/sh\nexec "{real}" -DCMAKE_DISABLE_FIND_PACKAGE_GTest=ON "$@"\n')
        wrapper.chmod(0o755)
        result = subprocess.run([script, "--check"], env=environment, stdin=subprocess.DEVNULL, text=True,
                                capture_output=True)
        if result.returncode != 1 or "libgtest-dev" not in result.stdout or mark.exists():
            sys.exit(f"a missing GoogleTest was not reported:\n{result.returncode} {result.stdout}{result.stderr}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
