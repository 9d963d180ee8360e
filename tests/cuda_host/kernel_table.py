"""What nvcc makes of the kernels for compute capability 7.5, beside how they are launched.

``python tests/cuda_host table`` writes it into docs/cuda_kernels.md, between two marks. Registers, spills and the
occupancy that a kernel claims come from nvcc's PTX and ptxas; threads and shared memory from running every op's cases
under the harness.
"""

from __future__ import annotations

import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import build_native
import host_build
from build_native import CSRC
from harness import cuda_on_cpu, instances
from suite import cases_of, forward_and_gradients, laid_out

from awsrn_fast import backends, ops
from awsrn_fast.source_id import source_id

DOCUMENT = CSRC.parent / "docs" / "cuda_kernels.md"
MARKS = ("<!-- table -->", "<!-- end of the table -->")


@dataclass(frozen=True)
class Compiled:
    """One kernel instance in the code for compute capability 7.5."""

    source: str
    registers: int
    spilled_bytes: int
    most_threads: int | None  # __launch_bounds__
    claimed_blocks: int | None
    ptx: str


@dataclass(frozen=True)
class Launched:
    """The largest launch of a kernel instance."""

    op: str
    threads: int
    shared_bytes: int
    products: bool


def sources() -> list[Path]:
    return sorted(CSRC.glob("cuda/*.cu"))


@functools.cache
def toolkit() -> Path:
    """The CUDA toolkit's folder; raises build_native.Unavailable with the reason if there is none."""
    return build_native.find_cuda()


def compile_for_75(source: Path) -> tuple[str, str, Path]:
    """PTX, what ptxas says of it, and the cubin; kept in ``build`` until a source changes."""
    bin_folder = toolkit() / "bin"
    folder = CSRC.parent / "build" / "cuda_host" / "static" / source_id(CSRC)
    folder.mkdir(parents=True, exist_ok=True)
    ptx, cubin, log = (folder / f"{source.stem}.{suffix}" for suffix in ("ptx", "cubin", "log"))
    if not log.is_file():
        nvcc = [str(bin_folder / "nvcc"), *build_native.NVCC_FLAGS, f"-I{CSRC}", "-arch=compute_75", "-ptx"]
        subprocess.run([*nvcc, str(source), "-o", str(ptx)], check=True)
        ptxas = [str(bin_folder / "ptxas"), "-v", "-arch=sm_75", str(ptx), "-o", str(cubin)]
        log.write_text(subprocess.run(ptxas, check=True, capture_output=True, text=True).stderr)
    return ptx.read_text(), log.read_text(), cubin


@functools.cache
def compiled() -> dict[str, Compiled]:
    """Every kernel instance by its mangled name."""
    kernels = {}
    for source in sources():
        ptx, log, _ = compile_for_75(source)
        entries = re.split(r"^(?=(?:\.weak |\.visible )?\.entry )", ptx, flags=re.MULTILINE)[1:]
        for entry in entries:
            name = re.search(r"\.entry (\w+)", entry)[1]
            report = re.search(rf"Function properties for {name}\n(.*?)Used (\d+) registers", log, re.DOTALL)
            spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report[1])
            kernels[name] = Compiled(
                source.name,
                int(report[2]),
                int(spills[1]) + int(spills[2]),
                _directive(entry, "maxntid"),
                _directive(entry, "minnctapersm"),
                entry,
            )
    return kernels


def _directive(entry: str, name: str) -> int | None:
    found = re.search(rf"\.{name} (\d+)", entry)
    return int(found[1]) if found else None


@functools.cache
def launched() -> dict[str, Launched]:
    """Every kernel instance that the ops' cases launch, of all dtypes, layouts and architectures, by mangled name."""
    kernels: dict[str, Launched] = {}
    for op in ops.ROWS:
        if "cuda" not in backends.registered(op):
            continue
        for arch, dtype in (parameters.values for parameters in instances()):
            with cuda_on_cpu(op, arch) as module, backends.use_backend(**{op: "cuda"}):
                module.take_launches()
                for case in cases_of(op):
                    for layout in ("contiguous", "channels_last"):
                        arguments = case.make(dtype)
                        first = next(iter(arguments))
                        if layout == "channels_last" and arguments[first].dim() != 4:
                            continue
                        arguments[first] = laid_out(arguments[first], layout)
                        forward_and_gradients(ops.ROWS[op], arguments)
                for name, kernel, _, threads, shared_bytes, products in module.take_launches():
                    before = kernels.get(kernel, Launched(name, 0, 0, False))
                    kernels[kernel] = Launched(
                        name,
                        max(threads, before.threads),
                        max(shared_bytes, before.shared_bytes),
                        products or before.products,
                    )
    return kernels


def possible_blocks(registers: int, threads: int, shared_bytes: int, arch: int = 75) -> int:
    """How many blocks run at a time on one SM of this compute capability."""
    return host_build.module().blocks_that_fit(arch, threads, registers, shared_bytes)


def readable(names: list[str]) -> dict[str, str]:
    """``gated_residual_fwd_kernel<__half, 8, true>`` for each mangled name."""
    done = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True)
    plain = [re.sub(r"\(.*", "", line.replace("void ", "", 1)) for line in done.stdout.splitlines()]
    return {name: re.sub(r"awsrn_fast::", "", text) for name, text in zip(names, plain, strict=True)}


def compiler() -> str:
    """``nvcc 13.0``."""
    done = subprocess.run([str(toolkit() / "bin" / "nvcc"), "--version"], capture_output=True, text=True, check=True)
    return f"nvcc {re.search(r'release ([0-9.]+)', done.stdout)[1]}"


def page() -> str:
    """The document with the present table."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, (start, end) = text.partition(MARKS[0])[0], MARKS
    return f"{before}{start}\n{table()}{end}{text.partition(end)[2]}"


def table() -> str:
    """Markdown: one line a kernel instance."""
    lines = [
        f"What {compiler()} makes of them, beside their largest launch over the cases of the ops' tests. Written by",
        "`python tests/cuda_host table`. Instances for sm_80 and later have no code here. No speed was measured.",
        "",
        "| kernel | threads | registers | spills | shared bytes | blocks an SM: claimed, possible | products |",
        "|---|---|---|---|---|---|---|",
    ]
    names = readable(list(compiled()))
    here = {kernel: code for kernel, code in compiled().items() if "Li80E" not in kernel}
    for kernel, code in sorted(here.items(), key=lambda item: names[item[0]]):
        run = launched().get(kernel)
        if run is None:
            lines.append(f"| `{names[kernel]}` | never launched | {code.registers} | {code.spilled_bytes} | | | |")
            continue
        possible = possible_blocks(code.registers, run.threads, run.shared_bytes)
        products = "mma" if "mma.sync" in code.ptx else "-"
        lines.append(
            f"| `{names[kernel]}` | {run.threads} | {code.registers} | {code.spilled_bytes} | {run.shared_bytes} | "
            f"{code.claimed_blocks}, {possible} | {products} |"
        )
    return "\n".join(lines) + "\n"
