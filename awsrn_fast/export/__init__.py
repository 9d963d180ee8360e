"""Export of networks: ONNX, torch.export's .pt2, and safetensors; ``python -m awsrn_fast.export``."""

from __future__ import annotations

from .programs import onnx_program, torch_program

__all__ = ["onnx_program", "torch_program"]
