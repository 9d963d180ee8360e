"""The CPU kernels for another processor, emulated: ``python tests/emulate.py [TEST ...]``.

Cross-compiles csrc/cpu's portable kernels, without Python and PyTorch, with ``tests/emulated/driver.cpp`` for 64-bit
ARM, where their vectors become NEON's, and runs the tests of the kernels with each call carried out by that program
under qemu's user-mode emulation: inputs go to it, results come back, and are held against the same references as ever.
``--here`` builds the program for this machine instead.

As ``-p emulate`` this file is pytest's plugin that puts the program in the library's place. Debian's packages:
``g++-aarch64-linux-gnu qemu-user``.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CSRC = ROOT / "csrc"
DRIVER = HERE / "emulated/driver.cpp"
PROGRAM = "AWSRN_FAST_EMULATED"
TESTS = ["tests/ops", "tests/cpu_kernels", "-k", "cpu", "-m", "not gpu and not slow"]
FLAGS = ["-std=c++17", "-O3", "-Wall", "-Wextra", "-Wno-psabi", "-fopenmp", "-DAWSRN_FAST_ISAS(X)=X(portable)"]


def commands(here: bool) -> tuple[str, list[str]]:
    """The compiler and what runs its programs. Raises SystemExit, naming the packages, if they are missing."""
    if here:
        return os.environ.get("CXX", "c++"), []
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if not shutil.which(compiler) or not shutil.which(emulator):
        raise SystemExit("emulate: install g++-aarch64-linux-gnu and qemu-user (Debian's names), or use --here")
    return compiler, [emulator]


def build(compiler: str, folder: Path) -> Path:
    """The program, compiled anew where a source is newer."""
    program = folder / "driver"
    sources = [path for path in CSRC.rglob("*") if path.suffix in (".h", ".cpp")] + [DRIVER]
    if program.exists() and program.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return program
    folder.mkdir(parents=True, exist_ok=True)
    kernels = sorted(CSRC.glob("cpu/*.cpp"))
    flags = [*FLAGS, f"-I{CSRC}"]

    def compiled(source: Path) -> Path:
        isa = ["-fno-exceptions", "-DAWSRN_FAST_ISA=portable"] if source in kernels else []
        result = folder / f"{source.stem}.o"
        subprocess.run([compiler, *flags, *isa, "-c", str(source), "-o", str(result)], check=True)
        return result

    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))) as pool:
        objects = list(pool.map(compiled, [DRIVER, CSRC / "dispatch.cpp", *kernels]))
    subprocess.run([compiler, "-fopenmp", "-static", *map(str, objects), "-o", str(program)], check=True)
    return program


def main(arguments: list[str]) -> int:
    """Build, run, and return pytest's status."""
    here = "--here" in arguments
    compiler, emulator = commands(here)
    program = build(compiler, ROOT / "build/emulated" / ("here" if here else "aarch64"))
    chosen = [each for each in arguments if each != "--here"] or TESTS
    environment = os.environ | {
        PROGRAM: "\n".join([*emulator, str(program)]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]),
    }
    command = [sys.executable, "-m", "pytest", "-p", "emulate", "-p", "no:cacheprovider", "-q", *chosen]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


class Emulated:
    """Stand-in for the module ``awsrn_fast._cpu`` whose functions the program carries out."""

    FLOAT32, BFLOAT16 = 0, 1

    def __init__(self, command: list[str], build_id: str) -> None:
        self.build_id = build_id
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.calls = 0

    def available_isas(self) -> list[str]:
        return ["portable"]

    def isa(self) -> str:
        return "portable"

    def set_isa(self, name: str) -> None:
        if name != "portable":
            raise ValueError(f"{name}: the emulated program has portable kernels only")

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._call(name, arguments)

    def _call(self, name: str, arguments: tuple) -> int:
        if self._process.poll() is not None:
            raise SystemExit(f"emulate: the program has ended with status {self._process.returncode}")
        self.calls += 1
        memory = _Memory()
        packed = b"".join(memory.packed(each) for each in arguments)
        contents = [each.numpy().tobytes() for each in memory.buffers]
        sent = [_text(name), struct.pack("<I", len(contents))]
        sent += [struct.pack("<Q", len(each)) + each for each in contents]
        self._process.stdin.write(b"".join((*sent, packed)))
        self._process.stdin.flush()
        failed, length = struct.unpack("<BI", self._read(5))
        message, (result,) = self._read(length).decode(), struct.unpack("<q", self._read(8))
        for buffer in memory.buffers:
            buffer.numpy()[:] = memoryview(self._read(buffer.numel()))
        if failed:
            raise ValueError(message)
        return result

    def _read(self, count: int) -> bytes:
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise RuntimeError(f"the emulated program ended with status {self._process.wait()}")
        return data


class Address(int):
    """An address that knows its tensor."""

    tensor: Any = None


def address(tensor: Any) -> Address:
    """In the place of ``awsrn_fast.ops._cpu.address``."""
    value = Address(0 if tensor is None else tensor.data_ptr())
    value.tensor = tensor
    return value


class _Memory:
    """The storages that a call's addresses lie in, as bytes."""

    def __init__(self) -> None:
        self.buffers: list[Any] = []
        self._numbers: dict[int, int] = {}

    def packed(self, value: object) -> bytes:
        if isinstance(value, Address):
            return b"p" + struct.pack("<qq", *self._place(value.tensor))
        if isinstance(value, tuple):
            return b"".join(map(self.packed, value))
        return b"f" + struct.pack("<d", value) if isinstance(value, float) else b"n" + struct.pack("<q", value)

    def _place(self, tensor: Any) -> tuple[int, int]:
        if tensor is None:
            return -1, 0
        storage = tensor.untyped_storage()
        number = self._numbers.get(storage.data_ptr())
        if number is None:
            number = self._numbers[storage.data_ptr()] = len(self.buffers)
            self.buffers.append(torch.empty(0, dtype=torch.uint8).set_(storage))
        return number, tensor.data_ptr() - storage.data_ptr()


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def _take_the_librarys_place(command: list[str]) -> None:
    import awsrn_fast.ops
    from awsrn_fast import native
    from awsrn_fast.ops import _cpu

    if native.cpu is None:
        raise SystemExit(f"emulate: the library itself is needed, too: {native.cpu_reason}")
    assert (native.cpu.FLOAT32, native.cpu.BFLOAT16) == (Emulated.FLOAT32, Emulated.BFLOAT16)
    native.cpu = Emulated(command, native.cpu.build_id)
    original = _cpu.address
    for name, module in list(sys.modules.items()):
        if name.startswith(awsrn_fast.ops.__name__) and getattr(module, "address", None) is original:
            module.address = address


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Says how much was emulated: a run that emulated nothing would pass as well."""
    from awsrn_fast import native

    terminalreporter.write_line(f"{native.cpu.calls} calls were carried out by {os.environ[PROGRAM].split()[-1]}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
elif os.environ.get(PROGRAM):
    import torch

    _take_the_librarys_place(os.environ[PROGRAM].split("\n"))
