"""Builds csrc/cuda for the CPU: each .cu by g++ against the harness, with the bindings, as the module _cuda_host.

Found by glob, compiled by ninja into ``build/cuda_host/<variant>``: only what has changed, and a new .cu needs no word
here. Variants:
    plain: fast; barriers, warp operations, limits, shared memory's end.
    race: every access of a kernel is seen (-fsanitize=thread, with our own runtime): races, sectors, bank conflicts.
    asan: AddressSanitizer and UndefinedBehaviorSanitizer; their runtimes are preloaded (``sanitized_environment``).
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType

import ninja
import pybind11
from ninja import ninja_syntax

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CSRC = ROOT / "csrc"

_BASE = ["-std=c++17", "-g1", "-fPIC", "-fno-strict-aliasing", "-fno-gnu-unique", "-Wall", "-Wextra"]
_BASE += ["-Wno-unknown-pragmas", "-Wno-unused-parameter", "-DAWSRN_FAST_CUDA_HOST", f"-I{CSRC}", f"-I{HERE.parent}"]
_ASAN = ["-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=undefined"]
_SEEN = ["-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"]

VARIANTS = {
    # flags of everything, flags of the kernels alone, sources beside block, fiber and products
    "plain": (["-O2"], [], []),
    "race": (["-O2", "-DAWSRN_FAST_CUDA_RACE"], _SEEN, ["race.cpp", "accesses.cpp"]),
    "asan": (["-O1", *_ASAN], [], []),
}
_RUNTIME = ("block.cpp", "fiber.cpp", "products.cpp")


def compiler() -> list[str]:
    """The C++ compiler; raises FileNotFoundError if there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    if named:
        return named
    found = shutil.which("g++")
    if found is None:
        raise FileNotFoundError("g++ (the harness that runs CUDA kernels on the CPU needs it)")
    return [found]


def module(variant: str = "plain") -> ModuleType:
    """``_cuda_host``: the function table of ``_cuda``, on CPU tensors."""
    return load(variant, *_parts())


def module_path(variant: str = "plain") -> Path:
    """The file of :func:`module`, built if need be."""
    return build(variant, *_parts())


def _parts() -> tuple[str, tuple[Path, ...], Path]:
    return "_cuda_host", tuple(sorted(CSRC.glob("cuda/*.cu"))), CSRC / "bindings_cuda.cpp"


@functools.cache
def load(
    variant: str, name: str, kernels: tuple[Path, ...], bindings: Path, defines: tuple[str, ...] = ()
) -> ModuleType:
    """Build (what has changed) and import a module of kernels; ``defines`` plant faults in test kernels."""
    path = build(variant, name, kernels, bindings, defines)
    # pybind11 gives the first module of a name again, so each build has a name of its own.
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}.{name}", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def build(variant: str, name: str, kernels: tuple[Path, ...], bindings: Path, defines: tuple[str, ...] = ()) -> Path:
    """The file that :func:`load` imports."""
    folder = ROOT / "build" / "cuda_host" / "-".join([name.strip("_"), variant, *defines])
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write_ninja(folder, output, variant, kernels, bindings, defines)
        jobs = os.environ.get("MAX_JOBS", str(os.cpu_count()))
        command = [str(Path(ninja.BIN_DIR, "ninja")), "-C", str(folder), "-j", jobs]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} ({variant}) does not compile:\n{done.stdout[-8000:]}")
    return output


def _write_ninja(
    folder: Path, output: Path, variant: str, kernels: tuple[Path, ...], bindings: Path, defines: tuple[str, ...]
) -> None:
    common, of_kernels, more = VARIANTS[variant]
    python = [f"-I{sysconfig.get_paths()['include']}", f"-I{pybind11.get_include()}"]
    base = [*compiler(), *_BASE, *common]
    units = [(HERE / source, base) for source in (*_RUNTIME, *more)]
    units += [(bindings, [*base, *python, "-O0"])]  # it only hands on
    defined = [f"-D{define}" for define in defines]
    units += [(kernel, [*base, *of_kernels, *defined, "-x", "c++"]) for kernel in kernels]
    with open(folder / "build.ninja", "w") as file:
        writer = ninja_syntax.Writer(file, width=1000)
        writer.rule("compile", "$compiler -c $in -o $out -MD -MF $out.d", depfile="$out.d", deps="gcc")
        writer.rule("link", "$compiler $in -o $out")
        objects = []
        for source, command in units:
            objects.append(f"{source.name}.o")
            variables = {"compiler": shlex.join(command).replace("$", "$$")}
            writer.build(objects[-1], "compile", ninja_syntax.escape_path(str(source)), variables=variables)
        link = [*compiler(), "-shared", "-ldl", *(_ASAN if variant == "asan" else [])]
        writer.build(ninja_syntax.escape_path(str(output)), "link", objects, variables={"compiler": shlex.join(link)})


def sanitized_environment() -> dict[str, str]:
    """Environment for a Python process that loads the asan variant."""
    libraries = [
        subprocess.run(
            [*compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    options = {
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return os.environ | options
