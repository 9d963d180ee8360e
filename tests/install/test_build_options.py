"""What csrc/build_native.py decides from the environment, without installing anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import build_run
import pytest
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_tools(tmp_path: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "DEFAULT_CUDA", tmp_path / "cuda")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def toolkit(root: Path, archs: str = "compute_75 compute_80 compute_86 compute_89 compute_90 compute_100") -> Path:
    nvcc = script(root / "bin/nvcc", f"for a in {archs}; do echo $a; done")
    (root / "include").mkdir()
    (root / "include/cuda_runtime.h").touch()
    return nvcc


@pytest.mark.parametrize("value, meant", [("", "auto"), ("auto", "auto"), ("0", "0"), ("1", "1")])
def test_switch(build: ModuleType, monkeypatch: pytest.MonkeyPatch, value: str, meant: str) -> None:
    monkeypatch.setenv("AWSRN_FAST_CUDA", value)
    assert build.switch("AWSRN_FAST_CUDA") == meant


@pytest.mark.parametrize("name", ["AWSRN_FAST_NATIVE", "AWSRN_FAST_CUDA"])
def test_unknown_switch_is_an_error(build: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "yes")
    with pytest.raises(SetupError, match=f"{name}=yes: must be auto, 0 or 1"):
        build.plan()


def test_nothing_wanted(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWSRN_FAST_NATIVE", "0")
    monkeypatch.setenv("AWSRN_FAST_CUDA", "0")
    libraries, lines = build.plan()
    assert libraries == []
    assert lines == {"cpu": "not built: AWSRN_FAST_NATIVE=0", "cuda": "not built: AWSRN_FAST_CUDA=0"}


@pytest.mark.usefixtures("no_tools")
def test_auto_without_compiler_says_so(build: ModuleType) -> None:
    libraries, lines = build.plan()
    assert libraries == []
    assert lines["cpu"].startswith("not built: no C++ compiler found")
    assert "\n" not in lines["cpu"] + lines["cuda"]


@pytest.mark.usefixtures("no_tools")
@pytest.mark.parametrize("name", ["AWSRN_FAST_NATIVE", "AWSRN_FAST_CUDA"])
def test_insisting_without_compiler_is_an_error(build: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SetupError, match=f"{name}=1, but no C.. compiler found"):
        build.plan()


def test_broken_compiler_is_reported_with_its_reason(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = script(tmp_path / "c++", "echo 'fatal error: Python.h: No such file' >&2; exit 1")
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(build.Unavailable, match="cannot build a Python module: fatal error: Python.h"):
        build.find_compiler()


def test_other_processors_get_the_portable_form(build: ModuleType) -> None:
    assert build.find_isas(["unused"], "aarch64") == {"portable": []}


def test_instruction_sets_that_the_compiler_lacks_are_left_out(build: ModuleType, tmp_path: Path) -> None:
    old = script(tmp_path / "c++", 'case "$*" in *avx512bf16*) exit 1;; esac')
    assert list(build.find_isas([str(old)], "x86_64")) == ["portable", "avx2", "avx512"]


def test_a_flag_that_clang_lacks_costs_no_instruction_set(build: ModuleType, tmp_path: Path) -> None:
    clang = script(tmp_path / "clang++", 'case "$*" in *-fno-move-loop-invariants*) exit 1;; esac')
    isas = build.find_isas([str(clang)], "x86_64")
    assert list(isas) == ["portable", "avx2", "avx512", "avx512_bf16"] and isas["avx2"] == build.AVX2_FLAGS
    gcc = script(tmp_path / "g++", "exit 0")
    assert "-fno-move-loop-invariants" in build.find_isas([str(gcc)], "x86_64")["avx2"]


@pytest.mark.usefixtures("no_tools")
def test_insisting_on_cuda_without_nvcc_is_an_error(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: build.Compiler(["c++"], [], []))
    monkeypatch.setenv("AWSRN_FAST_NATIVE", "0")
    monkeypatch.setenv("AWSRN_FAST_CUDA", "1")
    with pytest.raises(SetupError, match=f"AWSRN_FAST_CUDA=1, but no bin/nvcc .*looked in {tmp_path / 'cuda'}"):
        build.plan()


@pytest.mark.usefixtures("no_tools")
def test_nvcc_is_taken_only_with_its_headers(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrapper = script(tmp_path / "somewhere/bin/nvcc", "true")
    monkeypatch.setenv("PATH", str(wrapper.parent))
    with pytest.raises(build.Unavailable, match="somewhere"):
        build.find_cuda()
    toolkit(tmp_path / "cuda")
    assert build.find_cuda() == tmp_path / "cuda"
    toolkit(tmp_path / "newer")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "newer"))
    assert build.find_cuda() == tmp_path / "newer"


@pytest.mark.usefixtures("no_tools")
def test_default_archs_that_nvcc_lacks_are_left_out(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert build.find_archs(toolkit(tmp_path / "new")) == [75, 80]
    monkeypatch.setattr(build, "DEFAULT_ARCHS", "7.5;9.0")
    assert build.find_archs(toolkit(tmp_path / "old", "compute_75 compute_80")) == [75]


@pytest.mark.parametrize(
    "said, archs",
    [
        ("7.5", [75]),
        ("8.6\n8.6\n7.5", [75, 86]),
        ("6.1", [75, 80]),  # older than what the kernels are for: as without one
        ("6.1\n8.9", [89]),
        ("12.0", [100]),  # the latest that this nvcc knows; its PTX runs there
        ("Field compute_cap is not a valid field to query.", [75, 80]),  # an old driver
    ],
)
def test_without_a_choice_this_machines_gpus_are_compiled_for(
    build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, archs: list[int]
) -> None:
    nvcc = toolkit(tmp_path / "cuda")
    script(tmp_path / "bin/nvidia-smi", f"printf '{said}\n'".replace("\n", "\\n"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert build.find_archs(nvcc) == archs
    monkeypatch.setenv("AWSRN_FAST_CUDA_ARCHS", "8.0")
    assert build.find_archs(nvcc) == [80]


def test_named_archs(build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvcc = toolkit(tmp_path)
    monkeypatch.setenv("AWSRN_FAST_CUDA_ARCHS", "10.0;7.5;7.5")
    assert build.find_archs(nvcc) == [75, 100]
    monkeypatch.setenv("AWSRN_FAST_CUDA_ARCHS", "7.5;12.0")
    with pytest.raises(SetupError, match=r"AWSRN_FAST_CUDA_ARCHS=7.5;12.0: .* does not know 12.0"):
        build.find_archs(nvcc)
    monkeypatch.setenv("AWSRN_FAST_CUDA_ARCHS", "sm_75")
    with pytest.raises(SetupError, match='must be compute capabilities such as "7.5;8.6"'):
        build.find_archs(nvcc)


def test_ptx_of_the_highest_arch_is_kept(build: ModuleType) -> None:
    assert build.arch_flags([75, 86]) == [
        "-gencode=arch=compute_75,code=sm_75",
        "-gencode=arch=compute_86,code=sm_86",
        "-gencode=arch=compute_86,code=compute_86",
    ]


def test_only_kernels_are_optimised_as_far_as_it_goes(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "find_compiler", lambda: build.Compiler(["c++"], ["ccache"], ["-fopenmp"]))
    monkeypatch.setattr(build, "find_isas", lambda compiler, machine: {"portable": [], "avx2": ["-mavx2"]})
    levels = {name.partition("/")[2]: command for _, name, command in build.plan_cpu().units}
    assert all(command[0] == "ccache" for command in levels.values())
    assert "-O1" in levels["bindings.cpp.o"] and "-O2" in levels["cpu/awms.cpp.portable.o"]
    assert "-O3" in levels["cpu/awms.cpp.avx2.o"] and "-O2" not in levels["cpu/awms.cpp.avx2.o"]
    monkeypatch.setattr(build, "find_isas", lambda compiler, machine: {"portable": []})  # as on arm64
    levels = {name.partition("/")[2]: command for _, name, command in build.plan_cpu().units}
    assert "-O3" in levels["cpu/awms.cpp.portable.o"]


def test_nothing_is_shared_between_instruction_sets(build: ModuleType, tmp_path: Path) -> None:
    """A function shared by two builds could be the AVX-512 one where a lesser CPU calls it."""
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    try:
        units = build.plan_cpu().units
    except build.Unavailable as reason:
        pytest.skip(str(reason))
    widest = next(name.split(".")[-2] for _, name, _ in reversed(units) if "/cpu/" in name)
    checked = 0
    for source, name, command in units:
        if not name.endswith(f"cpp.{widest}.o"):
            continue
        compiled = tmp_path / f"{source.stem}.o"
        subprocess.run([*command, "-c", str(source), "-o", str(compiled)], check=True)
        listed = subprocess.run(
            ["nm", "-C", "--defined-only", "--extern-only", compiled], capture_output=True, text=True
        )
        symbols = [line.split(maxsplit=2)[2] for line in listed.stdout.splitlines()]
        assert symbols, source
        assert all(f"awsrn_fast::{widest}::" in symbol for symbol in symbols), (source, symbols)
        checked += 1
    assert checked == len(list((ROOT / "csrc/cpu").glob("*.cpp")))


@pytest.mark.parametrize(
    "name", ["a b", "$HOME", "a$ b", "it's", 'say "x"', "grün", "a:b", "a#b|c", "semi;&colon", "a\\b"]
)
def test_a_checkout_below_any_name_builds(tmp_path: Path, build: ModuleType, monkeypatch, name: str) -> None:
    root = tmp_path / name / "src"
    (root / "csrc").mkdir(parents=True)
    (root / "csrc/header.h").write_text("#define ANSWER 42\n")
    (root / "csrc/unit.cpp").write_text('#include "header.h"\nint answer() { return ANSWER; }\n')
    monkeypatch.setattr(build, "CSRC", root / "csrc")
    monkeypatch.setattr(build, "SOURCE_ID", ROOT / "awsrn_fast/source_id.py")
    library = build.Library(build.CPU)
    library.compiler, library.link_flags = build.find_compiler().command, ["-shared"]
    library.add(root / "csrc/unit.cpp", [*library.compiler, "-fPIC", f"-I{root / 'csrc'}"])
    output = root / "build/lib/out put.so"
    for _ in range(2):  # the second time with the dependencies that the compiler wrote down
        build_run.build(root / "build/native", {library.name: output}, [library])
    assert output.is_file()
