"""The build's module, loaded for each test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = (
    "AWSRN_FAST_NATIVE",
    "AWSRN_FAST_CUDA",
    "AWSRN_FAST_CUDA_ARCHS",
    "CXX",
    "CUDA_HOME",
    "CUDA_PATH",
    "MAX_JOBS",
)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``csrc/build_native.py`` in an environment without its variables."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("build_native", ROOT / "csrc/build_native.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
