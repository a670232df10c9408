#!/usr/bin/env bash
# What a machine with a GPU is for: builds, runs the tests there, compute-sanitizer and the benchmarks, and leaves records
# for docs/verified.md. All of it is in tools/gpu_check.py, which says with --help how it works; this finds a Python for it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for python in python3 python; do
  if command -v "$python" >/dev/null 2>&1 && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))'; then
    exec "$python" "$here/gpu_check.py" "$@"
  fi
done
echo "gpu_check: no Python 3.9 or later was found on PATH; install python3" >&2
exit 3
