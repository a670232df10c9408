#!/usr/bin/env python3
"""Installs the library, moves it, and builds a CMake project of a user's against it, then against the source tree by
add_subdirectory. The project has a folder core/ of its own in front of everything on its include path."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

MAX_STRIPPED_BYTES = 10_000_000


def run(*command, **options):
    print("+", *command, flush=True)
    result = subprocess.run([str(part) for part in command], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, **options)
    print(result.stdout, flush=True)
    if result.returncode:
        sys.exit(f"exit status {result.returncode} from: {' '.join(map(str, command))}")
    return result.stdout


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def check_prefix(prefix, forbidden):
    """Nothing that was installed as text names a place of the machine that built it, or a header without the prefix."""
    headers = list((prefix / "include" / "ingot").rglob("*.h"))
    check(len(headers) > 10, f"only {len(headers)} headers were installed")
    check(not [p for p in (prefix / "include").iterdir() if p.name != "ingot"], "a header landed beside include/ingot")
    for path in prefix.rglob("*"):
        if path.is_file() and path.suffix in (".h", ".def", ".cmake"):
            text = path.read_text()
            for place in forbidden:
                check(str(place) not in text, f"{path} names {place}")
    for path in headers:
        for name in re.findall(r'#\s*include\s*"([^"]+)"', path.read_text()):
            check(name.startswith("ingot/") and (prefix / "include" / name).exists(), f"{path} includes {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cmake", default="cmake")
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--strip", default="strip")
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--config", default="Release")
    args = parser.parse_args()
    consumer = args.source / "tests" / "install" / "consumer"
    # Without the tree's own folders on any search path of the environment.
    environment = {k: v for k, v in os.environ.items() if k not in ("LD_LIBRARY_PATH", "CPATH", "CMAKE_PREFIX_PATH")}

    with tempfile.TemporaryDirectory(prefix="ingot-consumer-") as scratch:
        scratch = pathlib.Path(scratch)
        prefix = scratch / "moved" / "here"
        prefix.parent.mkdir()
        run(args.cmake, "--install", args.build, "--prefix", scratch / "first", "--config", args.config)
        (scratch / "first").rename(prefix)
        check_prefix(prefix, [args.source, args.build, scratch / "first"])

        library = (prefix / "lib" / "libingot.so").resolve()
        stripped = scratch / "stripped.so"
        run(args.strip, "-o", stripped, library)
        size = stripped.stat().st_size
        print(f"libingot.so: {size / 1e6:.2f} MB stripped", flush=True)
        check(size <= MAX_STRIPPED_BYTES, f"{size} bytes stripped, at most {MAX_STRIPPED_BYTES} are allowed")

        generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        common = ["-S", consumer, *generator, f"-DCMAKE_CXX_COMPILER={args.compiler}",
                  f"-DCMAKE_BUILD_TYPE={args.config}"]
        run(args.cmake, "-B", scratch / "package", *common, f"-DCMAKE_PREFIX_PATH={prefix}", env=environment)
        run(args.cmake, "--build", scratch / "package", env=environment)
        program = scratch / "package" / "consumer"
        loaded = run("ldd", program, env=environment)
        check(str(prefix) in loaded and str(args.build) not in loaded and "not found" not in loaded,
              "the program does not load the installed library")
        output = run(program, env=environment, cwd=scratch)
        check("consumer: ok" in output, "the program did not come to its end")

        if generator:  # Ninja builds one object file on request; the library itself is built often enough.
            tree = scratch / "subdirectory"
            run(args.cmake, "-B", tree, *common, f"-DINGOT_SOURCE={args.source}", env=environment)
            run(args.cmake, "--build", tree, "--target", "CMakeFiles/consumer.dir/main.cpp.o", env=environment)
    print("installed, moved, built, ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
