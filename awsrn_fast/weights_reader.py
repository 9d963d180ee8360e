"""Safe reading of state dicts from untrusted weights files: a one-sentence error, or tensors that a network accepts.

Sizes are checked before memory of that size is allocated, and only plain, finite floating-point tensors are returned.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .errors import UserError

HEADER_KEY = "awsrn_fast"
NESTED = ("state_dict", "model_state_dict", "params_ema", "params", "model")
"""Names under which other tools' .pth files keep the state dict."""
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST_FILE = 2**30
"""Limit on the decompressed bytes; the largest network here takes 9 MB, with its optimiser 30 MB."""
MOST_NUMBERS = 2**26
"""Limit on the elements of all tensors by shape: an expanded view of one number may have any size."""

State = dict[str, Tensor]


def read_state_dict(path: Path) -> tuple[State, dict[str, Any]]:
    """State dict in fp32 and the header (empty where the format has none) of a .safetensors or .pth file.

    Raises:
        UserError: it cannot be read, or holds something else; names the file and what is wrong.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        size = os.path.getsize(path)
    except OSError as error:
        raise UserError(f"cannot read weights {path}: {error.strerror or error}") from error
    if max(size, _unpacked(path)) > LARGEST_FILE:
        raise UserError(f"{path} holds more than {LARGEST_FILE >> 30} GB: too large for weights of these networks")
    if path.suffix.lower() == ".safetensors" or start[8:] == b"{":
        state, header = _safetensors(path)
    else:
        state, header = _pickled(path), {}
    return {name: _floats(path, name, tensor) for name, tensor in _sized(path, state).items()}, header


def _safetensors(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
            text = (file.metadata() or {}).get(HEADER_KEY, "{}")
    except Exception as error:  # arbitrary bytes can raise arbitrary errors
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read weights {path}: {reason}; is the file complete?") from error
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"cannot read weights {path}: its header {HEADER_KEY!r} is not JSON: {error}") from error
    if not isinstance(header, dict) or not all(isinstance(header.get(k, {}), dict) for k in ("hyper", "training")):
        raise UserError(f"cannot read weights {path}: its header {HEADER_KEY!r} is not a mapping of hyper and training")
    return state, header


def _pickled(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes of any kind, so errors of any kind
        # Not torch's own message, which recommends weights_only=False, which lets the file run code.
        raise UserError(
            f"cannot read weights {path}: not a file of tensors alone; save model.state_dict() by torch.save, or check "
            "that the file is complete"
        ) from error
    for name in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
            break
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} does not hold a state dict: save model.state_dict(), not the model or an optimiser")
    # Counter of torch's AveragedModel.
    return {name: tensor for name, tensor in content.items() if name != "n_averaged"}


def _sized(path: Path, state: Mapping[Any, Tensor]) -> State:
    """The state dict, after checks of types and sizes."""
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise UserError(f"{path} does not hold a state dict: {name!r} is not a weight's name")
        if tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu":
            raise UserError(f"{path}: {name} is not a plain tensor of numbers: save it dense")
        if tensor.dtype not in FLOATING:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UserError(f"{path}: {name} holds {kind} numbers; weights are floating point")
    count = sum(math.prod(tensor.shape) for tensor in state.values())
    if count > MOST_NUMBERS:
        raise UserError(f"{path} expands to {count:,} numbers: too many for weights of these networks")
    return dict(state)


def _floats(path: Path, name: str, tensor: Tensor) -> Tensor:
    values = tensor.detach().to(torch.float32)
    if not torch.isfinite(values).all():
        raise UserError(f"{path}: {name} holds values that are not finite")
    return values


def _unpacked(path: Path) -> int:
    """Decompressed bytes declared by a .pth, a zip archive; 0 for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist())
    except Exception:  # not an archive, or a damaged one, which torch will refuse
        return 0
