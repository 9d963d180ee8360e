"""How csrc/ is compiled: compilers, instruction sets, architectures, flags. setup.py calls it; build_run.py compiles.

Nothing here runs at import of the package.
"""

from __future__ import annotations

import os
import platform
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

from setuptools.errors import SetupError

CSRC = Path(__file__).resolve().parent
SOURCE_ID = CSRC.parent / "awsrn_fast/source_id.py"
CPU, CUDA = "awsrn_fast._cpu", "awsrn_fast._cuda"

CXX_FLAGS = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"]
# Bindings and dispatch only check and call: -O3 takes half as long again there, for nothing.
CALLS_LEVEL, KERNELS_LEVEL = "-O1", "-O3"
# On x86 what every CPU since 2013 never runs; elsewhere the portable form is the one that runs.
X86_PORTABLE_LEVEL = "-O2"
AVX2_FLAGS = ["-mavx2", "-mfma", "-mf16c"]
AVX512_FLAGS = [*AVX2_FLAGS, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
# Narrowest first: the last one that the CPU runs is the one chosen at load.
AVX512_BF16_FLAGS = [*AVX512_FLAGS, "-mavx512bf16", "-mavx512vnni"]  # no CPU has the first without the second
X86_ISAS = {
    "avx2": AVX2_FLAGS,
    "avx512": AVX512_FLAGS,
    "avx512_bf16": AVX512_BF16_FLAGS,
}
# With 16 registers, constants that GCC keeps in some of them across a loop push sums of products out of others. Clang
# has no such flag.
GCC_FLAGS = {"avx2": ["-fno-move-loop-invariants"]}
# constexpr functions of csrc/common are for both sides.
# -lineinfo: profilers show the source's lines; it changes no instruction. -O1 is for the host's code, which only calls.
NVCC_FLAGS = ["-O1", "-std=c++17", "--expt-relaxed-constexpr", "-lineinfo"]
# Where no GPU is found. Code for 8.0 runs on 8.6 and 8.9, whose own is the same (docs/install.md); what is later (9.0,
# 10.0, 12.0) gets the last one's PTX, which the driver compiles at the first use.
DEFAULT_ARCHS = "7.5;8.0"
DEFAULT_CUDA = Path("/usr/local/cuda")

CXX_PROBE = """#include <Python.h>
#include <vector>
#ifdef _OPENMP
extern "C" int omp_get_thread_num();
#else
static int omp_get_thread_num() { return 0; }
#endif
int probe(int* numbers) {
#pragma omp parallel for num_threads(2)
  for (int i = 0; i < 2; ++i) numbers[i] = omp_get_thread_num();
  return numbers[0];
}
"""
OPENMP = ["-fopenmp"]
# Apple's clang knows OpenMP, and torch has brought the library when ours is loaded.
APPLE_OPENMP = ["-Xclang", "-fopenmp"]
LAUNCHERS = ("ccache", "sccache")
CUDA_PROBE = "#include <cuda_runtime.h>\n__global__ void probe() {}\n"


class Unavailable(Exception):
    """Why a library can't be built here, as half a sentence."""


def switch(name: str) -> str:
    value = os.environ.get(name, "").strip() or "auto"
    if value not in ("auto", "0", "1"):
        raise SetupError(f"{name}={value}: must be auto, 0 or 1")
    return value


def run_quietly(command: list[str], unavailable: str) -> str:
    """Standard output; a failure is Unavailable, with the first line that looks like the reason."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unavailable(f"{unavailable}: {error.strerror}") from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        telling = [
            line for line in lines if re.search("error|cannot find", line, re.I) and "linker command" not in line
        ]
        raise Unavailable(f"{unavailable}: {[*telling, *lines, 'no message'][0]}")
    return done.stdout


def compiles(compiler: list[str], flags: list[str], source: str, suffix: str, complaint: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"probe{suffix}")
        path.write_text(source)
        run_quietly([*compiler, *flags, str(path), "-o", str(Path(folder, "probe.out"))], complaint)


def python_flags() -> list[str]:
    paths = sysconfig.get_paths()
    return [f"-I{path}" for path in dict.fromkeys((paths["include"], paths["platinclude"]))]


def link_flags(openmp: list[str]) -> list[str]:
    allow_undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    linked = [] if openmp == APPLE_OPENMP else openmp
    return ["-shared", *linked, *allow_undefined, *shlex.split(os.environ.get("LDFLAGS", ""))]


def cxx_flags(openmp: list[str], level: str = KERNELS_LEVEL) -> list[str]:
    without = [] if openmp else ["-Wno-unknown-pragmas"]
    return [*CXX_FLAGS, level, *openmp, *without, *shlex.split(os.environ.get("CXXFLAGS", ""))]


class Compiler(NamedTuple):
    """A compiler that makes Python modules.

    Attributes:
        command: its words, without a launcher.
        launcher: ccache, sccache or nothing.
        openmp: its flags for threads; empty: it has none.
        lacking: why it has none, as half a sentence.
    """

    command: list[str]
    launcher: list[str]
    openmp: list[str]
    lacking: str = ""

    def __str__(self) -> str:
        return " ".join(self.command)


def find_compiler() -> Compiler:
    """A compiler that really makes a Python module, with OpenMP where it can."""
    named = shlex.split(os.environ.get("CXX", ""))
    found = [[path] for name in ("c++", "g++", "clang++") if (path := shutil.which(name))]
    command = named or (found[0] if found else None)
    if not command:
        raise Unavailable("no C++ compiler found (CXX, c++, g++ and clang++ were looked for)")

    def probe(openmp: list[str]) -> None:
        flags = [*cxx_flags(openmp), *python_flags(), *link_flags(openmp)]
        compiles(command, flags, CXX_PROBE, ".cpp", f"{' '.join(command)} cannot build a Python module")

    probe([])
    openmp: list[str] = []
    lacking = ""
    for flags in (OPENMP, APPLE_OPENMP) if sys.platform == "darwin" else (OPENMP,):
        try:
            probe(flags)
        except Unavailable as reason:
            lacking = lacking or f"no OpenMP: {str(reason).partition(': ')[2]}"
            continue
        openmp, lacking = flags, ""
        break
    return Compiler(command, find_launcher(command), openmp, lacking)


def find_launcher(command: list[str]) -> list[str]:
    """A compiler cache that works here, unless the compiler is one already."""
    if any(Path(shutil.which(word) or word).resolve().name in LAUNCHERS for word in command):
        return []
    for launcher in filter(None, map(shutil.which, LAUNCHERS)):
        try:
            compiles([launcher, *command], ["-c"], "int probe;\n", ".cpp", launcher)
        except Unavailable:
            continue
        return [launcher]
    return []


def find_isas(compiler: list[str], machine: str) -> dict[str, list[str]]:
    """Instruction set -> flags: those that the compiler knows for this machine, narrowest first."""
    isas: dict[str, list[str]] = {"portable": []}
    for isa, needed in X86_ISAS.items() if machine.lower() in ("x86_64", "amd64") else ():
        for flags in ([*needed, *GCC_FLAGS.get(isa, [])], needed):
            try:
                compiles(compiler, [*flags, "-c"], "int probe;\n", ".cpp", isa)
            except Unavailable:
                continue
            isas[isa] = flags
            break
    return isas


def find_cuda() -> Path:
    """The toolkit's folder: where bin/nvcc has its headers beside it (a wrapper script in PATH has not)."""
    named = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    in_path = shutil.which("nvcc")
    roots = [*named, DEFAULT_CUDA, *([Path(in_path).resolve().parent.parent] if in_path else [])]
    for root in roots:
        if (root / "bin/nvcc").exists() and (root / "include/cuda_runtime.h").exists():
            return root
    looked = ", ".join(dict.fromkeys(map(str, roots)))
    raise Unavailable(
        f"no bin/nvcc with include/cuda_runtime.h beside it (looked in {looked}; CUDA_HOME names another)"
    )


def present_archs() -> list[int]:
    """Compute capabilities of this machine's GPUs that the kernels are for, 75 for 7.5."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found = {10 * int(major) + int(minor) for major, minor in re.findall(r"^(\d+)\.(\d)$", said, re.M)}
    return sorted(arch for arch in found if arch >= 75)


def find_archs(nvcc: Path) -> list[int]:
    """Compute capabilities to compile for, ascending, 75 for 7.5: those asked for, this machine's, or the default's.

    Of the default those that nvcc lacks are left out; in the place of a GPU that nvcc is too old for stands the latest
    one before it, whose PTX it runs.
    """
    asked = os.environ.get("AWSRN_FAST_CUDA_ARCHS", "").strip()
    words = re.split(r"[;, ]+", asked or DEFAULT_ARCHS)
    if not all(re.fullmatch(r"\d+\.\d", word) for word in words):
        raise SetupError(f'AWSRN_FAST_CUDA_ARCHS={asked}: must be compute capabilities such as "7.5;8.6"')
    archs = sorted({int(word.replace(".", "")) for word in words})
    known = {int(arch) for arch in re.findall(r"compute_(\d+)", run_quietly([str(nvcc), "--list-gpu-arch"], str(nvcc)))}
    if asked and not known.issuperset(archs):
        lacking = ", ".join(f"{arch // 10}.{arch % 10}" for arch in archs if arch not in known)
        raise SetupError(f"AWSRN_FAST_CUDA_ARCHS={asked}: {nvcc} does not know {lacking}")
    if not asked and (present := present_archs()):
        archs = sorted({max((a for a in known if a <= arch), default=arch) for arch in present})
    archs = [arch for arch in archs if arch in known]
    if not archs:
        raise Unavailable(f"{nvcc} knows none of {DEFAULT_ARCHS} (AWSRN_FAST_CUDA_ARCHS names others)")
    return archs


def arch_flags(archs: list[int]) -> list[str]:
    native = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    return [*native, f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]


class Library:
    """What ninja has to do for one extension module."""

    def __init__(self, name: str) -> None:
        import pybind11

        self.name = name
        self.units: list[tuple[Path, str, list[str]]] = []  # source, object's name, compiler and flags
        self.compiler: list[str] = []
        self.link_flags: list[str] = []
        self.line = ""
        build_id = runpy.run_path(str(SOURCE_ID))["source_id"](CSRC)
        self.bindings_flags = [f"-I{pybind11.get_include()}", *python_flags(), f'-DAWSRN_FAST_BUILD_ID="{build_id}"']
        # Fields of a struct that are planned in C++ have no argument; Clang says so at each.
        self.bindings_flags += ["-Wno-missing-field-initializers", "-Wno-missing-braces"]

    def add(self, source: Path, command: list[str], variant: str = "") -> None:
        self.units.append((source, f"{self.name}/{source.relative_to(CSRC)}{variant}.o", command))


def plan_cpu() -> Library:
    compiler = find_compiler()
    isas = find_isas(compiler.command, platform.machine())
    library = Library(CPU)
    called = [*compiler.launcher, *compiler.command]
    base = [*called, f"-I{CSRC}"]
    listed = "-DAWSRN_FAST_ISAS(X)=" + "".join(f"X({isa})" for isa in isas)
    for source in sorted(CSRC.glob("*.cpp")):
        if source.name != "bindings_cuda.cpp":
            library.add(source, [*base, *cxx_flags(compiler.openmp, CALLS_LEVEL), *library.bindings_flags, listed])
    for source in sorted(CSRC.glob("cpu/*.cpp")):
        for isa, flags in isas.items():
            level = X86_PORTABLE_LEVEL if isa == "portable" and len(isas) > 1 else KERNELS_LEVEL
            # Kernels throw nothing; what unwinding needs would be shared between the instruction sets.
            kernel = [*cxx_flags(compiler.openmp, level), "-fno-exceptions", *flags, f"-DAWSRN_FAST_ISA={isa}"]
            library.add(source, [*base, *kernel], f".{isa}")
    library.compiler, library.link_flags = compiler.command, link_flags(compiler.openmp)
    threads = f", without threads ({compiler.lacking})" if compiler.lacking else ""
    library.line = f"built for {', '.join(isas)} with {compiler}{threads}"
    return library


def plan_cuda() -> Library:
    compiler = find_compiler()
    root = find_cuda()
    nvcc, archs = root / "bin/nvcc", find_archs(root / "bin/nvcc")
    host = ["-ccbin", compiler.command[-1]] if os.environ.get("CXX") else []
    check_nvcc(nvcc, host)
    library = Library(CUDA)
    named = ";".join(f"{arch // 10}.{arch % 10}" for arch in archs)
    flags = [f"-I{CSRC}", f"-I{root}/include", *library.bindings_flags, f'-DAWSRN_FAST_CUDA_ARCHS="{named}"']
    called = [*compiler.launcher, *compiler.command]
    library.add(CSRC / "bindings_cuda.cpp", [*called, *cxx_flags([], CALLS_LEVEL), *flags])
    for source in sorted(CSRC.glob("cuda/*.cu")):
        command = [*compiler.launcher, str(nvcc), *host, *NVCC_FLAGS, *arch_flags(archs)]
        library.add(source, [*command, "-Xcompiler=-fPIC,-fvisibility=hidden", f"-I{CSRC}"])
    folders = [folder for name in ("lib64", "lib") if (folder := root / name).is_dir()]
    system = ["-ldl", "-lrt", "-lpthread", "-Wl,--exclude-libs,ALL"]  # nothing of cudart is exported
    library.compiler = compiler.command
    library.link_flags = [*link_flags([]), *(f"-L{folder}" for folder in folders), "-lcudart_static", *system]
    library.line = f"built for compute capability {named} with {nvcc}"
    return library


def check_nvcc(nvcc: Path, host: list[str]) -> None:
    """Raise Unavailable with the reason where nvcc compiles nothing."""
    try:
        compiles([str(nvcc)], [*host, "-c"], CUDA_PROBE, ".cu", f"{nvcc} does not work")
    except Unavailable as reason:
        too_new = re.search(r"unsupported GNU version! (gcc versions later than (\d+))", str(reason))
        if not too_new:
            raise
        raise Unavailable(
            f"{nvcc} does not take this host compiler ({too_new[1]} are not supported): CXX=g++-{too_new[2]} names an "
            "older one, NVCC_APPEND_FLAGS=-allow-unsupported-compiler tries all the same"
        ) from reason


def plan() -> tuple[list[Library], dict[str, str]]:
    """The libraries to build, and a line on each of both that says what was decided and why."""
    libraries, lines = [], {}
    for key, variable, make in (("cpu", "AWSRN_FAST_NATIVE", plan_cpu), ("cuda", "AWSRN_FAST_CUDA", plan_cuda)):
        wanted = switch(variable)
        if wanted == "0":
            lines[key] = f"not built: {variable}=0"
            continue
        try:
            libraries.append(make())
            lines[key] = libraries[-1].line
        except Unavailable as reason:
            if wanted == "1":
                raise SetupError(f"{variable}=1, but {reason}") from reason
            lines[key] = f"not built: {reason}"
    return libraries, lines
