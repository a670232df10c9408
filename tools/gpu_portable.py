"""A build for a machine that has a GPU and nothing to build with: build/gpu, made by `gpu_check.sh --prepare`.

It is one archive, ingot-gpu.tar.xz, with the programs, stripped, and every shared library that they need except the C
library, and a manifest.json beside it: commit, architectures and the tests that CTest would run (`ctest -L gpu`). Programs
and libraries find each other from where they lie, so nothing is set that other programs would see. NVRTC is the other
machine's, unless --with-nvrtc packs it.

    tests = ctest_tests(build)                  # [{"name", "command", "environment", "timeout"}, ...]
    prepare(root, [80, 90], jobs=8, with_nvrtc=False)
    tests = unpack(root / "build/gpu", folder)  # the same tests, with the programs in `folder`
"""

import json
import pathlib
import re
import shutil
import subprocess
import tarfile

import gpu_machine

ARCHIVE, MANIFEST = "ingot-gpu.tar.xz", "manifest.json"
ARCHITECTURES = (80, 90, 100, 120)
TARGETS = ("ingot_cli", "test_cuda_gpu", "test_cuda_kernels_gpu")
# Of the C library, which the other machine has for its own kernel.
OF_THE_SYSTEM = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util)\.so.*|linux-vdso.*)")


class Failure(Exception):
    pass


def run(command, **options):
    print("+", " ".join(map(str, command)), flush=True)
    if subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, **options).returncode != 0:
        raise Failure(f"'{' '.join(map(str, command))}' failed")


def ctest_tests(build):
    """The tests with the label gpu of a build folder."""
    done = subprocess.run(["ctest", "--test-dir", str(build), "-L", "^gpu$", "--show-only=json-v1"], capture_output=True,
                          text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Failure(f"ctest knows no tests in {build}: {(done.stderr or done.stdout).strip()}")
    tests = []
    for test in json.loads(done.stdout)["tests"]:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        if not test.get("command"):
            raise Failure(f"{test['name']} of {build} has no program yet; build it first")
        tests.append({"name": test["name"], "command": test["command"], "timeout": properties.get("TIMEOUT", 600),
                      "environment": dict(v.split("=", 1) for v in properties.get("ENVIRONMENT", [])
                                          if not v.startswith("GTEST_OUTPUT="))})
    return tests


def known_architectures(nvcc, wanted):
    """Those of `wanted` that this toolkit compiles for."""
    text = gpu_machine.output_of([nvcc, "--list-gpu-code"])
    if text is None:
        raise Failure(f"{nvcc} --list-gpu-code failed; CUDA Toolkit 12.8 or later is needed")
    known = {int(n) for n in re.findall(r"sm_(\d+)\b", text)}
    chosen = [a for a in wanted if a in known]
    if not chosen:
        raise Failure(f"{nvcc} compiles for none of {', '.join(map(str, wanted))}")
    return chosen


def libraries(program):
    """Shared libraries that a program loads, without those of the C library."""
    text = gpu_machine.output_of(["ldd", program])
    if text is None:
        raise Failure(f"ldd could not read {program}")
    if missing := re.findall(r"^\s*(\S+) => not found", text, re.MULTILINE):
        raise Failure(f"{program} needs {', '.join(missing)}, which is not here")
    found = re.findall(r"^\s*(\S+) => (/\S+)", text, re.MULTILINE)
    return {name: path for name, path in found if not OF_THE_SYSTEM.fullmatch(name)}


def copy_stripped(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)
    if not target.name.startswith("libnvrtc"):  # as NVIDIA made it
        subprocess.run(["strip", "--strip-unneeded", str(target)], check=False, capture_output=True)


def pack(build, folder, facts, with_nvrtc=False):
    """Programs and libraries of a build folder as an archive in `folder`; (bytes unpacked, bytes packed)."""
    tests = ctest_tests(build)
    programs = {pathlib.Path(t["command"][0]) for t in tests} | {build / "bin" / "ingot"}
    if absent := [str(p) for p in programs if not p.exists()]:
        raise Failure(f"{', '.join(absent)} is not built")
    shutil.rmtree(folder, ignore_errors=True)
    stage = folder / "stage"
    needed = {}
    for program in programs:
        copy_stripped(program, stage / "bin" / program.name)
        needed.update(libraries(program))
    if with_nvrtc:
        nvrtc = gpu_machine.find_library("nvrtc")
        if nvrtc is None:
            raise Failure("--with-nvrtc: there is no NVRTC here to pack")
        for path in pathlib.Path(nvrtc).parent.glob("libnvrtc*.so.*"):
            if ".alt." not in path.name:
                needed[path.name] = path
    for name, path in needed.items():
        copy_stripped(path, stage / "lib" / name)
    check_found_inside(stage)
    for test in tests:
        test["command"][0] = f"bin/{pathlib.Path(test['command'][0]).name}"
    unpacked = sum(p.stat().st_size for p in stage.rglob("*") if p.is_file())
    with tarfile.open(folder / ARCHIVE, "w:xz") as archive:
        for part in sorted(stage.iterdir()):
            archive.add(part, part.name)
    shutil.rmtree(stage)
    packed = (folder / ARCHIVE).stat().st_size
    manifest = {**facts, "tests": tests, "bytes": packed, "bytes_unpacked": unpacked}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return unpacked, packed


def check_found_inside(stage):
    """Programs must load what was packed, not what happens to lie on this machine."""
    for program in sorted((stage / "bin").iterdir()):
        for name, path in libraries(program).items():
            if not pathlib.Path(path).resolve().is_relative_to(stage.resolve()):
                raise Failure(f"{program.name} takes {name} from {path}, not the packed one; its run path is wrong")


def configure_and_build(root, build, architectures, jobs, targets, portable=False, timeout=None):
    """A release build with the CUDA backend. Ninja where it is, else make: no preset, because those want Ninja."""
    generator = "Ninja" if gpu_machine.find_program("ninja") else "Unix Makefiles"
    run(["cmake", "-S", root, "-B", build, "-G", generator, "-DCMAKE_BUILD_TYPE=Release", "-DINGOT_CUDA=ON",
         f"-DCMAKE_CUDA_ARCHITECTURES={';'.join(map(str, architectures))}",
         *(["-DCMAKE_BUILD_RPATH=$ORIGIN;$ORIGIN/../lib", "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON"] if portable else [])], timeout=timeout)
    run(["cmake", "--build", build, "--parallel", jobs, "--target", *targets], timeout=timeout)


def prepare(root, facts, wanted, jobs, with_nvrtc):
    nvcc = gpu_machine.find_program("nvcc")
    if nvcc is None:
        raise Failure("--prepare needs nvcc (CUDA Toolkit 12.8 or later); it needs no GPU")
    architectures = known_architectures(nvcc, wanted)
    build, folder = root / "build" / "package", root / "build" / "gpu"
    configure_and_build(root, build, architectures, jobs, TARGETS, portable=True)
    unpacked, packed = pack(build, folder, {**facts, "architectures": architectures, "nvrtc": with_nvrtc}, with_nvrtc)
    print(f"build/gpu: {packed / 2**20:.1f} MiB packed, {unpacked / 2**20:.1f} MiB unpacked, for "
          + ", ".join(f"sm_{a}" for a in architectures))


def read_manifest(folder):
    path = folder / MANIFEST
    return json.loads(path.read_text()) if path.exists() and (folder / ARCHIVE).exists() else None


def unpack(folder, target):
    """The tests of a portable build, ready to run from `target`."""
    manifest = read_manifest(folder)
    stamp = target / "unpacked"
    key = f"{manifest['commit']} {manifest['date']} {manifest['bytes']}"
    if not stamp.exists() or stamp.read_text() != key:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with tarfile.open(folder / ARCHIVE, "r:xz") as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(target, filter="data")
            else:
                archive.extractall(target)
        stamp.write_text(key)
    return portable_tests(manifest, target)


def portable_tests(manifest, target):
    tests = []
    for test in manifest["tests"]:
        command = [str(target / test["command"][0]), *test["command"][1:]]
        tests.append({**test, "command": command})
    return tests
