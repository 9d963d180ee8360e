"""Real installs from the source distribution, with and without a compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from awsrn_fast import native

ROOT = Path(__file__).resolve().parents[2]
NOT_SOURCE = ("build", "dist", "runs", "venv", "__pycache__", "_build_info.json", "*.so", "*.egg-info", ".*")
VARIABLES = ("AWSRN_FAST_NATIVE", "AWSRN_FAST_CUDA", "AWSRN_FAST_CUDA_ARCHS", "CXX", "PYTHONPATH")

pytestmark = pytest.mark.slow


def environment(**changes: str) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in VARIABLES} | changes


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy, so that the build folder of this checkout is neither used nor changed.
    tree = tmp_path_factory.mktemp("tree") / "awsrn_fast"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    (tree / "awsrn_fast/_build_info.json").write_text("{}")
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tree, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (tarball,) = (tree / "dist").iterdir()
    return tarball


def install(sdist: Path, target: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    options = ["--no-deps", "--no-build-isolation", "--verbose", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *options, str(sdist)]
    return subprocess.run(command, env=environment(**changes), cwd=target.parent, capture_output=True, text=True)


def run_installed(target: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=target.parent,
        env=environment(PYTHONPATH=str(target), OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def package_files(package: Path) -> set[str]:
    files = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(package)) for path in files if path.suffix not in (".so", ".json")}


def test_sdist_holds_the_sources_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "LICENSE", "kernels/__init__.py", "csrc/bindings.cpp", "csrc/bindings_cuda.cpp"} <= names
    assert {"csrc/build_native.py", "csrc/cpu/vec.h", "awsrn_fast/source_id.py"} <= names
    assert package_files(ROOT / "awsrn_fast") <= {name.removeprefix("awsrn_fast/") for name in names}
    assert [name for name in names if name.endswith((".so", ".o", ".pyc", "_build_info.json"))] == []


def test_install_from_the_sdist(sdist: Path, tmp_path: Path) -> None:
    if native.cpu is None:
        pytest.skip(native.cpu_reason)
    done = install(sdist, tmp_path / "site", AWSRN_FAST_NATIVE="1", AWSRN_FAST_CUDA="0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "awsrn_fast: cpu library built for portable" in done.stdout + done.stderr
    facts = json.loads(run_installed(tmp_path / "site", "-m", "awsrn_fast.info", "--json"))
    assert facts["native"]["cpu"]["loaded"], facts["native"]
    assert Path(facts["native"]["cpu"]["file"]).is_relative_to(tmp_path)
    assert facts["native"]["cpu"]["build"].endswith("(from source)")
    assert facts["native"]["cuda"]["reason"] == "not built: AWSRN_FAST_CUDA=0"
    run_installed(tmp_path / "site", "-c", "import awsrn_fast.kernels")
    installed = package_files(tmp_path / "site/awsrn_fast")
    assert package_files(ROOT / "awsrn_fast") <= installed
    assert "py.typed" in installed, "type checkers ignore the package's types without it"


def test_install_without_a_compiler(sdist: Path, tmp_path: Path) -> None:
    done = install(sdist, tmp_path / "site", PATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "awsrn_fast: cpu library not built: no C++ compiler found" in done.stdout + done.stderr
    facts = json.loads(run_installed(tmp_path / "site", "-m", "awsrn_fast.info", "--json"))
    assert facts["native"]["cpu"]["reason"].startswith("not built: no C++ compiler found")
    assert facts["ops"]["gated_residual"][0]["backend"] == "reference"


def test_insisting_without_a_compiler_fails_with_one_line(sdist: Path, tmp_path: Path) -> None:
    done = install(sdist, tmp_path / "site", PATH=str(tmp_path), AWSRN_FAST_NATIVE="1")
    assert done.returncode != 0
    assert "error: AWSRN_FAST_NATIVE=1, but no C++ compiler found" in done.stdout + done.stderr


def test_uninstalling_leaves_nothing_and_the_wheel_without_libraries_is_small(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    off = environment(AWSRN_FAST_NATIVE="0", AWSRN_FAST_CUDA="0")
    done = subprocess.run([sys.executable, "-c", build], cwd=tree, env=off, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tree / "dist").iterdir()
    assert wheel.stat().st_size <= 12 << 20
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    pip = [str(tmp_path / "env/bin/python"), "-m", "pip", "--quiet"]
    files = [path for path in (tmp_path / "env").rglob("*") if "__pycache__" not in path.parts]
    subprocess.run([*pip, "install", "--no-deps", str(wheel)], env=environment(), check=True)
    assert (tmp_path / "env/bin/awsrn-fast").is_file()
    subprocess.run([*pip, "uninstall", "--yes", "awsrn_fast"], env=environment(), check=True)
    left = {path for path in (tmp_path / "env").rglob("*") if "__pycache__" not in path.parts} - set(files)
    assert left == set()
