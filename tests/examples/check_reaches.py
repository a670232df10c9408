#!/usr/bin/env python3
"""Runs an example and holds the first figure behind a word of its last lines against the least that is expected:

    check_reaches.py accuracy 0.85 build/release/bin/example_verify_faces both 200
"""

import re
import subprocess
import sys


def main():
    label, least, *command = sys.argv[1:]
    result = subprocess.run(command, text=True, capture_output=True, timeout=100)
    print(result.stdout + result.stderr, end="")
    found = re.findall(rf"\b{re.escape(label)} (\d+\.\d+)", result.stdout)
    if result.returncode != 0 or not found:
        sys.exit(f"exit status {result.returncode}, and no '{label}' printed" if not found else f"exit status {result.returncode}")
    if float(found[0]) < float(least):
        sys.exit(f"{label} is {found[0]}, expected at least {least}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
