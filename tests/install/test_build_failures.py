"""What a build says when it cannot go on, or has less than all: one sentence that names the reason."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from types import ModuleType

import build_run
import pytest
from setuptools.errors import SetupError

TOO_NEW = (
    "/usr/local/cuda/include/crt/host_config.h:143:2: error: #error -- unsupported GNU version! gcc versions later "
    "than 14 are not supported! The nvcc flag '-allow-unsupported-compiler' can be used to override this version check;"
)


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def library(build: ModuleType, tmp_path: Path, compiler: str) -> object:
    made = build.Library(build.CPU)
    (tmp_path / "unit.cpp").touch()
    made.units.append((tmp_path / "unit.cpp", "awsrn_fast._cpu/unit.cpp.o", [compiler]))
    made.compiler, made.link_flags = [compiler], []
    return made


def failure(build: ModuleType, tmp_path: Path, compiler: str) -> str:
    output = {build.CPU: tmp_path / "out.so"}
    with pytest.raises(SetupError) as caught:
        build_run.build(tmp_path / "objects", output, [library(build, tmp_path, compiler)])
    assert "\n" not in str(caught.value) and not (tmp_path / "out.so").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    "said, sentence",
    [
        ("fatal error: error writing to /tmp/x.s: No space left on device", "no space left on the disk of "),
        ("unit.cpp:1:2: error: 'what' was not declared in this scope", "unit.cpp:1:2: error: 'what' was not declared"),
        ("c++: fatal error: Killed signal terminated program cc1plus", "ran out of memory; MAX_JOBS=1 compiles one"),
        ("virtual memory exhausted: Cannot allocate memory", "ran out of memory; MAX_JOBS=1 compiles one"),
        ("cannot create x.o: Permission denied", "no permission to write below "),
        ("cannot create x.o: Read-only file system", "no permission to write below "),
    ],
)
def test_a_failing_compiler_is_one_sentence(build: ModuleType, tmp_path: Path, said: str, sentence: str) -> None:
    compiler = script(tmp_path / "c++", f'echo "before"; echo "{said}" >&2; exit 1')
    message = failure(build, tmp_path, str(compiler))
    assert message.startswith(f"the native libraries did not compile: {'the compiler ' * ('ran out' in sentence)}")
    assert sentence in message and "AWSRN_FAST_NATIVE=0 AWSRN_FAST_CUDA=0 installs without them" in message


def test_a_folder_that_cannot_be_written_is_one_sentence(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "objects").touch()
    with pytest.raises(SetupError, match=f"cannot write {tmp_path / 'objects'}: File exists"):
        build_run.build(tmp_path / "objects", {}, [])


def test_the_number_of_jobs_is_checked(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_JOBS", "many")
    with pytest.raises(SetupError, match="MAX_JOBS=many: must be a whole number of 1 or more"):
        build_run.build(tmp_path, {}, [])


def test_a_long_unit_is_not_silent(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(build_run, "PATIENCE", 0.2)
    slow = 'for last; do :; done; case "$*" in *-MF*) sleep 1;; esac'
    copy = 'while [ $# -gt 0 ]; do case $1 in -o) touch "$2";; -MF) echo "x:" > "$2";; esac; shift; done'
    compiler = script(tmp_path / "c++", f"{slow}\n{copy}")
    made = library(build, tmp_path, str(compiler))
    for expected in ("[1/2] compiling unit.cpp", "no work to do"):  # the second time nothing is compiled
        build_run.build(tmp_path / "objects", {build.CPU: tmp_path / "out.so"}, [made])
        said = capsys.readouterr().out
        assert expected in said
        assert ("awsrn_fast: compiling, starting, " in said) is (expected[0] == "[")


def test_only_what_has_changed_is_compiled_again(
    build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    (tmp_path / "header.h").write_text("#define ANSWER 42\n")
    (tmp_path / "with.cpp").write_text('#include "header.h"\nint with() { return ANSWER; }\n')
    (tmp_path / "without.cpp").write_text("int without() { return 0; }\n")
    made = build.Library(build.CPU)
    made.compiler, made.link_flags = [compiler], ["-shared"]
    for name in ("with", "without"):
        made.units.append((tmp_path / f"{name}.cpp", f"awsrn_fast._cpu/{name}.o", [compiler, "-fPIC"]))

    def compiled() -> list[str]:
        build_run.build(tmp_path / "objects", {build.CPU: tmp_path / "out.so"}, [made])
        return sorted(re.findall(r"compiling (\w+)$", capsys.readouterr().out, re.M))

    assert compiled() == ["with", "without"]
    assert compiled() == []
    later = time.time() + 2  # ninja compares times
    (tmp_path / "header.h").write_text("#define ANSWER 43\n")
    os.utime(tmp_path / "header.h", (later, later))
    assert compiled() == ["with"]


def test_a_too_new_host_compiler_is_recognised(build: ModuleType, tmp_path: Path) -> None:
    nvcc = script(tmp_path / "nvcc", f'echo "In file included from x.h:" >&2; echo "{TOO_NEW}" >&2; exit 1')
    with pytest.raises(build.Unavailable) as caught:
        build.check_nvcc(nvcc, [])
    said = str(caught.value)
    assert "gcc versions later than 14 are not supported" in said and "CXX=g++-14" in said
    assert "NVCC_APPEND_FLAGS=-allow-unsupported-compiler" in said and "\n" not in said


def test_a_broken_nvcc_is_one_sentence(build: ModuleType, tmp_path: Path) -> None:
    nvcc = script(tmp_path / "nvcc", "echo 'nvcc fatal: Could not set up the environment' >&2; exit 1")
    with pytest.raises(build.Unavailable, match=r"nvcc does not work: nvcc fatal: Could not set up the environment$"):
        build.check_nvcc(nvcc, [])


def test_a_compiler_without_openmp_builds_without_threads(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("c++")
    if real is None:
        pytest.skip("no C++ compiler")
    refuses = 'case "$*" in *-fopenmp*) echo "error: unsupported option -fopenmp" >&2; exit 1;; esac'
    monkeypatch.setenv("CXX", str(script(tmp_path / "c++", f'{refuses}\nexec {real} "$@"')))
    compiler = build.find_compiler()
    assert compiler.openmp == [] and compiler.lacking == "no OpenMP: error: unsupported option -fopenmp"
    planned = build.plan_cpu()
    assert planned.line.endswith("c++, without threads (no OpenMP: error: unsupported option -fopenmp)")
    assert not any("-fopenmp" in command for _, _, command in planned.units) and "-fopenmp" not in planned.link_flags


def test_a_compiler_cache_is_used_where_it_works(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = script(tmp_path / "bin/real-c++", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    ccache = script(tmp_path / "bin/ccache", "exit 1")
    sccache = script(tmp_path / "bin/sccache", 'exec "$@"')
    assert build.find_launcher([str(compiler)]) == [str(sccache)]
    script(ccache, 'exec "$@"')
    assert build.find_launcher([str(compiler)]) == [str(ccache)]
    assert build.find_launcher([str(ccache), str(compiler)]) == []  # CXX="ccache c++"
    masquerade = tmp_path / "masquerade/c++"
    masquerade.parent.mkdir()
    masquerade.symlink_to(ccache)
    assert build.find_launcher([str(masquerade)]) == []
