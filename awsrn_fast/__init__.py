"""Fused kernels and a complete toolkit for super-resolution with AWSRN and its improved form."""

from __future__ import annotations

import importlib
from pathlib import Path
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import nn, ops
    from .backends import explain, use_backend
    from .checkpoint import load
    from .models import AWSRN, ImprovedAWSRN

# Started from the repository root, Python imports this source tree: the built libraries are then in the installed
# package, and awsrn_fast.kernels is the folder kernels/ beside it. An installed package has all of its own, and must
# not take another installation's libraries.
if (Path(__path__[0]).parent / "setup.py").is_file():
    __path__ = [*extend_path(__path__, __name__), str(Path(__path__[0]).parent)]

__version__ = "0.1.0"

__all__ = ["AWSRN", "ImprovedAWSRN", "explain", "load", "nn", "ops", "use_backend"]

_HOMES = {"explain": "backends", "use_backend": "backends", "load": "checkpoint"}
_HOMES |= {"AWSRN": "models", "ImprovedAWSRN": "models"}
_MODULES = ("nn", "ops")


def __getattr__(name: str) -> Any:
    # Imported lazily: a command that only prints its help need not load torch, and one that computes must set the
    # threads' wait policy before torch is loaded.
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module(".ops", __name__)  # registers the ops' backends
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
