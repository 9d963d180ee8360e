"""How csrc/ is compiled: compilers, instruction sets, flags, and the ninja file that drives them. setup.py calls it.

Nothing here runs at import of the package, and nothing asks whether this machine has a GPU.
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

from setuptools.errors import SetupError

CSRC = Path(__file__).resolve().parent
SOURCE_ID = CSRC.parent / "awsrn_fast/source_id.py"
CPU, CUDA = "awsrn_fast._cpu", "awsrn_fast._cuda"

CXX_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"]
AVX2_FLAGS = ["-mavx2", "-mfma", "-mf16c"]
AVX512_FLAGS = [*AVX2_FLAGS, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
# Narrowest first: the last one that the CPU runs is the one chosen at load.
AVX512_BF16_FLAGS = [*AVX512_FLAGS, "-mavx512bf16", "-mavx512vnni"]  # no CPU has the first without the second
# With 16 registers, constants that GCC keeps in some of them across a loop push sums of products out of others.
X86_ISAS = {
    "avx2": [*AVX2_FLAGS, "-fno-move-loop-invariants"],
    "avx512": AVX512_FLAGS,
    "avx512_bf16": AVX512_BF16_FLAGS,
}
# constexpr functions of csrc/common are for both sides.
# -lineinfo: profilers show the source's lines; it changes no instruction.
NVCC_FLAGS = ["-O3", "-std=c++17", "--expt-relaxed-constexpr", "-lineinfo"]
# Later ones (Blackwell: 10.0, 12.0) get the last one's PTX, which the driver compiles at the first use.
DEFAULT_ARCHS = "7.5;8.0;8.6;8.9;9.0"
DEFAULT_CUDA = Path("/usr/local/cuda")

CXX_PROBE = "#include <Python.h>\n#include <omp.h>\n#include <vector>\nint probe() { return omp_get_max_threads(); }\n"
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
        reason = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "no message")
        raise Unavailable(f"{unavailable}: {reason}")
    return done.stdout


def compiles(compiler: list[str], flags: list[str], source: str, suffix: str, complaint: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"probe{suffix}")
        path.write_text(source)
        run_quietly([*compiler, *flags, str(path), "-o", str(Path(folder, "probe.out"))], complaint)


def python_flags() -> list[str]:
    paths = sysconfig.get_paths()
    return [f"-I{path}" for path in dict.fromkeys((paths["include"], paths["platinclude"]))]


def link_flags() -> list[str]:
    allow_undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    return ["-shared", "-fopenmp", *allow_undefined, *shlex.split(os.environ.get("LDFLAGS", ""))]


def cxx_flags() -> list[str]:
    return [*CXX_FLAGS, "-fopenmp", *shlex.split(os.environ.get("CXXFLAGS", ""))]


def find_compiler() -> list[str]:
    """A compiler that really makes a Python module with OpenMP."""
    named = shlex.split(os.environ.get("CXX", ""))
    found = [[path] for name in ("c++", "g++", "clang++") if (path := shutil.which(name))]
    compiler = named or (found[0] if found else None)
    if not compiler:
        raise Unavailable("no C++ compiler found (CXX, c++, g++ and clang++ were looked for)")
    flags = [*cxx_flags(), *python_flags(), *link_flags()]
    compiles(compiler, flags, CXX_PROBE, ".cpp", f"{' '.join(compiler)} cannot build a Python module with OpenMP")
    return compiler


def find_isas(compiler: list[str], machine: str) -> dict[str, list[str]]:
    """Instruction set -> flags: those that the compiler knows for this machine, narrowest first."""
    isas: dict[str, list[str]] = {"portable": []}
    if machine.lower() in ("x86_64", "amd64"):
        for isa, flags in X86_ISAS.items():
            try:
                compiles(compiler, [*flags, "-c"], "int probe;\n", ".cpp", isa)
            except Unavailable:
                continue
            isas[isa] = flags
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


def find_archs(nvcc: Path) -> list[int]:
    """Compute capabilities to compile for, ascending, 75 for 7.5. Those of the default that nvcc lacks are left out."""
    asked = os.environ.get("AWSRN_FAST_CUDA_ARCHS", "").strip()
    words = re.split(r"[;, ]+", asked or DEFAULT_ARCHS)
    if not all(re.fullmatch(r"\d+\.\d", word) for word in words):
        raise SetupError(f'AWSRN_FAST_CUDA_ARCHS={asked}: must be compute capabilities such as "7.5;8.6"')
    archs = sorted({int(word.replace(".", "")) for word in words})
    known = {int(arch) for arch in re.findall(r"compute_(\d+)", run_quietly([str(nvcc), "--list-gpu-arch"], str(nvcc)))}
    if asked and not known.issuperset(archs):
        lacking = ", ".join(f"{arch // 10}.{arch % 10}" for arch in archs if arch not in known)
        raise SetupError(f"AWSRN_FAST_CUDA_ARCHS={asked}: {nvcc} does not know {lacking}")
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

    def add(self, source: Path, command: list[str], variant: str = "") -> None:
        self.units.append((source, f"{self.name}/{source.relative_to(CSRC)}{variant}.o", command))


def plan_cpu() -> Library:
    compiler = find_compiler()
    isas = find_isas(compiler, platform.machine())
    library = Library(CPU)
    base = [*compiler, *cxx_flags(), f"-I{CSRC}"]
    listed = "-DAWSRN_FAST_ISAS(X)=" + "".join(f"X({isa})" for isa in isas)
    for source in sorted(CSRC.glob("*.cpp")):
        if source.name != "bindings_cuda.cpp":
            library.add(source, [*base, *library.bindings_flags, listed])
    for source in sorted(CSRC.glob("cpu/*.cpp")):
        for isa, flags in isas.items():
            # Kernels throw nothing; what unwinding needs would be shared between the instruction sets.
            library.add(source, [*base, "-fno-exceptions", *flags, f"-DAWSRN_FAST_ISA={isa}"], f".{isa}")
    library.compiler, library.link_flags = compiler, link_flags()
    library.line = f"built for {', '.join(isas)} with {' '.join(compiler)}"
    return library


def plan_cuda() -> Library:
    compiler = find_compiler()
    root = find_cuda()
    nvcc, archs = root / "bin/nvcc", find_archs(root / "bin/nvcc")
    host = ["-ccbin", compiler[-1]] if os.environ.get("CXX") else []
    compiles([str(nvcc)], [*host, "-c"], CUDA_PROBE, ".cu", f"{nvcc} does not work")
    library = Library(CUDA)
    named = ";".join(f"{arch // 10}.{arch % 10}" for arch in archs)
    flags = [f"-I{CSRC}", f"-I{root}/include", *library.bindings_flags, f'-DAWSRN_FAST_CUDA_ARCHS="{named}"']
    library.add(CSRC / "bindings_cuda.cpp", [*compiler, *cxx_flags(), *flags])
    for source in sorted(CSRC.glob("cuda/*.cu")):
        command = [str(nvcc), *host, *NVCC_FLAGS, *arch_flags(archs), "-Xcompiler=-fPIC,-fvisibility=hidden"]
        library.add(source, [*command, f"-I{CSRC}"])
    folders = [folder for name in ("lib64", "lib") if (folder := root / name).is_dir()]
    system = ["-ldl", "-lrt", "-lpthread", "-Wl,--exclude-libs,ALL"]  # nothing of cudart is exported
    library.compiler = compiler
    library.link_flags = [*link_flags(), *(f"-L{folder}" for folder in folders), "-lcudart_static", *system]
    library.line = f"built for compute capability {named} with {nvcc}"
    return library


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


def build(folder: Path, outputs: dict[str, Path], libraries: list[Library]) -> None:
    """Compile and link what has changed; objects and build.ninja are kept in ``folder``."""
    import ninja

    folder.mkdir(parents=True, exist_ok=True)
    write_ninja(folder / "build.ninja", outputs, libraries)
    done = subprocess.run([str(Path(ninja.BIN_DIR, "ninja")), "-C", str(folder)], check=False)
    if done.returncode:
        raise SetupError(
            "the native libraries did not compile (AWSRN_FAST_NATIVE=0 AWSRN_FAST_CUDA=0 installs without)"
        )


def write_ninja(path: Path, outputs: dict[str, Path], libraries: list[Library]) -> None:
    from ninja import ninja_syntax

    def words(command: list[str]) -> str:
        return shlex.join(command).replace("$", "$$")

    def name(target: Path) -> str:
        # Relative, so that a checkout may lie below any name at all; Writer.build escapes spaces, but no dollars.
        return ninja_syntax.escape(os.path.relpath(target, path.parent.resolve()))

    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        writer = ninja_syntax.Writer(file, width=1000)
        writer.rule("compile", "$compiler -c $in -o $out -MD -MF $out.d", depfile="$out.d", deps="gcc")
        writer.rule("link", "$compiler $in -o $out $flags")
        for library in libraries:
            objects = [unit for _, unit, _ in library.units]
            for source, unit, command in library.units:
                writer.build(unit, "compile", name(source), variables={"compiler": words(command)})
            variables = {"compiler": words(library.compiler), "flags": words(library.link_flags)}
            writer.build(name(outputs[library.name]), "link", objects, variables=variables)
