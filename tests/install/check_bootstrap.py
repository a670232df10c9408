#!/usr/bin/env python3
"""On a machine that can build Ingot (it just did), tools/bootstrap.sh finds nothing to do: it asks no package manager,
touches nothing below build/deps, and succeeds for anybody. Where something is missing it names it and fails."""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

# Programs that would change the machine or reach out of it: each leaves a mark and fails.
FORBIDDEN = ("apt-get", "apt", "pip", "pip3", "sudo", "curl", "wget")


def listing(folder):
    return sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*")) if folder.exists() else []


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
