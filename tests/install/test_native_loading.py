"""Loading the native libraries: shared OpenMP pool, instruction set by name, and a reason whenever one is missing."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import awsrn_fast
from awsrn_fast import native
from awsrn_fast.source_id import source_id

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cpu():
    if native.cpu is None and native.cpu_reason.startswith("not built"):
        pytest.skip(native.cpu_reason)
    assert native.cpu is not None, native.cpu_reason
    return native.cpu


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )


def test_loaded_or_a_reason_why_not() -> None:
    assert (native.cpu is None) == bool(native.cpu_reason)
    assert (native.cuda is None) == bool(native.cuda_reason)
    assert (native.isa is None) == (native.cpu is None)


def test_the_widest_instruction_set_is_chosen(cpu) -> None:
    assert cpu.available_isas()[0] == "portable"
    done = python("from awsrn_fast import native; print(native.isa)", AWSRN_FAST_ISA="")
    assert done.stdout.strip() == cpu.available_isas()[-1], done.stderr


def test_instruction_set_by_name(cpu) -> None:
    done = python("from awsrn_fast import native; print(native.isa)", AWSRN_FAST_ISA="portable")
    assert done.stdout.strip() == "portable", done.stderr


def test_unknown_instruction_set_is_an_error(cpu) -> None:
    done = python("import awsrn_fast.ops", AWSRN_FAST_ISA="avx3")
    assert done.returncode != 0
    assert "AWSRN_FAST_ISA=avx3: instruction set 'avx3' is not available here; available: portable" in done.stderr


def test_a_library_of_other_sources_is_not_loaded(cpu, monkeypatch: pytest.MonkeyPatch) -> None:
    if native._CSRC != ROOT / "csrc":
        pytest.skip("the installed package is under test, not the source tree")
    monkeypatch.setattr(native, "source_id", lambda csrc: "other")
    module, reason = native._load("cpu")
    assert module is None
    assert "was built from other sources than" in reason


def test_a_library_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    assert native._load("cpu") == (None, "does not load: libgomp.so.1: cannot open shared object file")


def test_source_id_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/a.cpp").write_bytes(b"int a;\n")
    first = source_id(tmp_path)
    (tmp_path / "cpu/a.cpp").write_bytes(b"int a;\r\n")
    assert source_id(tmp_path) == first
    (tmp_path / "cpu/a.cpp").rename(tmp_path / "cpu/b.cpp")
    assert source_id(tmp_path) != first


def test_cuda_library_imports_without_a_driver() -> None:
    if native.cuda is None:
        pytest.skip(native.cuda_reason)
    assert native.cuda.archs.startswith("7.5") or "AWSRN_FAST_CUDA_ARCHS" in os.environ
    if torch.cuda.is_available():
        assert len(native.cuda.device_capabilities()) == torch.cuda.device_count()
    else:
        with pytest.raises(RuntimeError, match="CUDA failed while counting devices: "):
            native.cuda.device_capabilities()


def test_one_openmp_library(cpu) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc/self/maps")
    code = (
        "from awsrn_fast import native\n"
        "print({l.split()[-1] for l in open('/proc/self/maps') if 'libgomp' in l or 'libomp' in l})"
    )
    done = python(code)
    assert len(eval(done.stdout)) == 1, done.stdout + done.stderr


def test_kernels_are_part_of_the_package() -> None:
    assert importlib.import_module("awsrn_fast.kernels").__name__ == "awsrn_fast.kernels"


def test_every_folder_with_code_is_a_package() -> None:
    package = Path(awsrn_fast.__file__).parent
    folders = {path.parent for path in package.rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
