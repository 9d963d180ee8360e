"""``python -m awsrn_fast.export``: a network as ONNX, .pt2 or safetensors."""

from __future__ import annotations

from awsrn_fast.cli import run
from awsrn_fast.export.command import main

run(main)
