"""Fused kernels and a complete toolkit for super-resolution with AWSRN and its improved form."""

from __future__ import annotations

from pathlib import Path
from pkgutil import extend_path

# Started from the repository root, Python imports this source tree: the built libraries are then in the installed
# package, and awsrn_fast.kernels is the folder kernels/ beside it. An installed package has all of its own, and must
# not take another installation's libraries.
if (Path(__path__[0]).parent / "setup.py").is_file():
    __path__ = [*extend_path(__path__, __name__), str(Path(__path__[0]).parent)]

__version__ = "0.1.0"

from . import nn, ops
from .backends import explain, use_backend
from .checkpoint import load
from .models import AWSRN, ImprovedAWSRN

__all__ = ["AWSRN", "ImprovedAWSRN", "explain", "load", "nn", "ops", "use_backend"]
