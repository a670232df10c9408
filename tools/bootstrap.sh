#!/usr/bin/env bash
# Brings a machine to where Ingot builds: installs what is missing, and nothing when nothing is.
#
#   tools/bootstrap.sh          compiler, CMake, Ninja, libraries, Fashion-MNIST, oneDNN 3
#   tools/bootstrap.sh --lint   the same, and clang-format and clang-tidy
#   tools/bootstrap.sh --check  installs nothing: says what is missing, and exits 1 if anything is
#
# Debian and its kin as root: apt installs. Elsewhere it lists what to install and stops with exit 1. oneDNN is the
# system's when CMake finds version 3 there, else two wheels, checked by hash, unpacked under build/deps/onednn. Where
# there is a CUDA toolkit, cudnn-frontend's headers come from a wheel likewise, and nvdisasm, which tools/kernel_report.py
# needs, where the toolkit has none.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
deps=$root/build/deps
dataset=/usr/share/datasets/fashion-mnist
lint=no check=no optional=wanted
for argument in "$@"; do
  case $argument in
    --lint) lint=yes ;;
    --check) check=yes ;;
    -h | --help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) echo "bootstrap: unknown argument '$argument'; see tools/bootstrap.sh --help" >&2; exit 2 ;;
  esac
done

has() { command -v "$1" >/dev/null 2>&1; }
is_debian() { has apt-get && has dpkg; }

# toolkit PROGRAM: whether the CUDA toolkit has it, on the path or in the usual folders.
toolkit() {
  local home
  has "$1" && return
  for home in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
    [ -n "$home" ] && [ -x "$home/bin/$1" ] && return
  done
  return 1
}

scratch=$(mktemp -d)
staging=
trap 'rm -rf "$scratch" ${staging:+"$staging"}' EXIT

# Debian's names of the packages that are missing, one a line. `onednn`, `nvdisasm` and `cudnn_frontend` are not packages
# of Debian 12: they stand for the wheels.
missing() {
  has g++ || has c++ || echo g++
  has make || echo make
  has cmake || echo cmake
  has ninja || echo ninja-build
  has git || echo git
  has python3 || echo python3
  has ccache || echo ccache
  has valgrind || ! is_debian || echo valgrind  # benchmarks/gate.py; elsewhere the gate says that it is skipped
  if [ $lint = yes ]; then
    has clang-format || echo clang-format
    has clang-tidy || echo clang-tidy
  fi
  [ -e $dataset/train-images-idx3-ubyte.gz ] || ! is_debian || echo dataset-fashion-mnist
  if [ $optional = wanted ] && toolkit nvcc; then
    toolkit nvdisasm || [ -x "$deps/nvdisasm/nvdisasm" ] || echo nvdisasm
    [ -e "$deps/cudnn_frontend/include/cudnn_frontend.h" ] || echo cudnn_frontend
  fi
  missing_libraries
}

missing_libraries() {
  local log=$scratch/probe.log
  if has cmake && has make && { has g++ || has c++; }; then
    rm -rf "$scratch/probe"
    if ! cmake -G "Unix Makefiles" -S "$root/cmake/probe" -B "$scratch/probe" -DINGOT_DEPS="$deps" >"$log" 2>&1; then
      cat "$log" >&2
      echo "bootstrap: CMake could not be run on the probe project (above); CMake 3.24 or later is needed" >&2
      return 1
    fi
  else  # Nothing to probe with yet: ask for all of them.
    printf -- '-- missing: %s\n' ZLIB JPEG PNG EXPAT nlohmann_json CLI11 GTest benchmark dnnl >"$log"
  fi
  local name
  sed -n 's/^-- missing: //p' "$log" | while read -r name; do
    case $name in
      compiler) echo g++-12 ;;
      OpenMP) echo g++ ;;
      ZLIB) echo zlib1g-dev ;;
      JPEG) echo libjpeg-dev ;;
      PNG) echo libpng-dev ;;
      EXPAT) echo libexpat1-dev ;;
      nlohmann_json) echo nlohmann-json3-dev ;;
      CLI11) echo libcli11-dev ;;
      GTest) echo libgtest-dev ;;
      benchmark) echo libbenchmark-dev ;;
      dnnl) echo onednn ;;
    esac
  done
}

# Sets `wanted`. (A process substitution would hide a failing probe.)
find_missing() {
  missing >"$scratch/missing"
  mapfile -t wanted < <(sort -u "$scratch/missing")
}

# Runs pip, from a virtual environment of our own where the system has none.
run_pip() {
  if python3 -m pip --version >/dev/null 2>&1; then
    python3 -m pip "$@"
  elif python3 -m venv "$scratch/venv" >/dev/null 2>&1; then
    "$scratch/venv/bin/python" -m pip "$@"
  else
    echo "bootstrap: wheels are fetched with pip, and this Python has neither pip nor venv: install python3-pip" >&2
    return 1
  fi
}

# stage NAME [pip options]: the wheels of tools/NAME-requirements.txt, in "$staging/wheels". All happens in a folder beside the final
# one, which appears by one rename (publish NAME): an interruption leaves nothing that a later run would take for it.
stage() {
  mkdir -p "$deps" || return
  find "$deps" -maxdepth 1 -name ".$1.*" -mmin +60 -exec rm -rf {} +  # of runs that were killed outright
  staging=$(mktemp -d "$deps/.$1.XXXXXX") || return
  run_pip download --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: "${@:2}" \
    --dest "$staging/wheels" --requirement "$root/tools/$1-requirements.txt"
}
publish() {
  rm -rf "${deps:?}/$1"
  mv "$staging/$1" "$deps/$1"
  rm -rf "$staging"
  staging=
}

fetch_onednn() {
  if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "bootstrap: the oneDNN wheels are for Linux on x86-64; install oneDNN 3 by other means (conda-forge's" \
      "'onednn', or from source) so that CMake's find_package(dnnl 3) succeeds" >&2
    return 1
  fi
  echo "bootstrap: fetching oneDNN 3.2 into build/deps/onednn"
  stage onednn
  python3 - "$staging" <<'PYTHON'
# The wheels keep a plain prefix (include, lib, share) in NAME.data/data.
import filecmp, os, pathlib, sys, zipfile

staging = pathlib.Path(sys.argv[1])
prefix = staging / "onednn"
for wheel in sorted((staging / "wheels").glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            parts = pathlib.PurePosixPath(entry.filename).parts
            if entry.is_dir() or len(parts) < 3 or not parts[0].endswith(".data") or parts[1] != "data":
                continue
            target = prefix.joinpath(*parts[2:])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(entry))
# A wheel cannot hold links, so it holds the library three times.
for short, full in (("libdnnl.so.3", "libdnnl.so.3.2"), ("libdnnl.so", "libdnnl.so.3")):
    if filecmp.cmp(prefix / "lib" / short, prefix / "lib" / full, shallow=False):
        (prefix / "lib" / short).unlink()
        (prefix / "lib" / short).symlink_to(full)
PYTHON
  publish onednn
}

fetch_nvdisasm() {
  echo "bootstrap: fetching nvdisasm into build/deps/nvdisasm"
  stage nvdisasm || return
  python3 - "$staging" <<'PYTHON' || return
# The program and its licence.
import pathlib, sys, zipfile

staging = pathlib.Path(sys.argv[1])
folder = staging / "nvdisasm"
folder.mkdir()
(wheel,) = (staging / "wheels").glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.endswith(("/bin/nvdisasm", "/License.txt")):
            (folder / name.rpartition("/")[2]).write_bytes(archive.read(name))
(folder / "nvdisasm").chmod(0o755)
PYTHON
  publish nvdisasm
}

fetch_cudnn_frontend() {
  echo "bootstrap: fetching cudnn-frontend 1.32 into build/deps/cudnn_frontend"
  # One wheel whatever Python is here: it is unpacked, not installed.
  stage cudnn_frontend --python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64 || return
  python3 - "$staging" <<'PYTHON' || return
# The headers and the licence.
import pathlib, sys, zipfile

staging = pathlib.Path(sys.argv[1])
(wheel,) = (staging / "wheels").glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith("include/") and not name.endswith("/") or name.rpartition("/")[2].startswith("LICENSE"):
            target = staging / "cudnn_frontend" / (name if name.startswith("include/") else name.rpartition("/")[2])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))
PYTHON
  publish cudnn_frontend
}

find_missing
if [ ${#wanted[@]} -eq 0 ]; then
  [ -e $dataset/train-images-idx3-ubyte.gz ] ||
    echo "bootstrap: $dataset is absent; train with --data DIR on the four files of Fashion-MNIST"
  exit 0
fi

if [ $check = yes ]; then
  echo "bootstrap: missing: ${wanted[*]}"
  exit 1
fi

packages=()
for name in "${wanted[@]}"; do
  case $name in onednn | nvdisasm | cudnn_frontend) ;; *) packages+=("$name") ;; esac
done
if [[ " ${wanted[*]} " == *" onednn "* ]] && is_debian && ! python3 -m pip --version >/dev/null 2>&1; then
  packages+=(python3-pip)
fi

if [ ${#packages[@]} -gt 0 ]; then
  if ! is_debian; then
    echo "bootstrap: this is not Debian, so nothing was installed. Install what these Debian packages hold, then" >&2
    echo "run this again:" >&2
    printf '  %s\n' "${packages[@]}" >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "bootstrap: not root, so nothing was installed. Run this, then run bootstrap again:" >&2
    echo "  sudo apt-get install -y ${packages[*]}" >&2
    exit 1
  fi
  echo "bootstrap: installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  apt-get -qq -y --no-install-recommends install "${packages[@]}" </dev/null >"$scratch/apt.log" 2>&1 || {
    cat "$scratch/apt.log" >&2
    echo "bootstrap: apt-get could not install: ${packages[*]}" >&2
    exit 1
  }
fi
# Only now can CMake be asked on a machine that had none.
find_missing
# Ingot builds and runs without these two, so a machine that cannot reach PyPI goes on.
if [[ " ${wanted[*]} " == *" nvdisasm "* ]]; then
  fetch_nvdisasm ||
    echo "bootstrap: nvdisasm could not be fetched; tools/kernel_report.py and its tests need it" >&2
fi
if [[ " ${wanted[*]} " == *" cudnn_frontend "* ]]; then
  fetch_cudnn_frontend ||
    echo "bootstrap: cudnn-frontend could not be fetched; without it convolutions run on Ingot's own kernels" >&2
fi
optional=tried
find_missing
if [ "${wanted[*]}" = onednn ]; then
  fetch_onednn
  find_missing
fi
if [ ${#wanted[@]} -gt 0 ]; then
  echo "bootstrap: still missing after installing: ${wanted[*]}" >&2
  exit 1
fi
echo "bootstrap: ready"
