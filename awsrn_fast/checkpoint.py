"""Weights files: safetensors with the network's configuration in the header, and ``.pth`` of the public code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from .errors import UserError
from .files import replacing
from .models import SuperResolution, build
from .weights_reader import HEADER_KEY, read_state_dict

BUNDLED = Path(__file__).parent / "weights"
"""Folder of the bundled weights, each with a model card (.md)."""


def bundled_names() -> list[str]:
    """Names that :func:`load` accepts."""
    return sorted(path.stem for path in BUNDLED.glob("*.safetensors"))


def save_weights(
    path: str | os.PathLike,
    model: SuperResolution,
    *,
    training: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network's weights as safetensors, whole or not at all.

    Args:
        path: file to (re)place.
        model: a network in its training form.
        training: facts to store in the header with the hyper-parameters (iterations, figures, data).
        dtype: dtype of the stored weights; float16 halves the file.

    Raises:
        ValueError: the network is fused.
    """
    if model.is_fused:
        raise ValueError("save_weights: a fused network has lost its training form; save the one it was fused from")
    header = {"network": model.network, "hyper": model.hyper, "training": dict(training or {})}
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
    content = save(tensors, metadata={HEADER_KEY: json.dumps(header)})
    with replacing(path) as beside:
        beside.write_bytes(content)


def load(path_or_name: str | os.PathLike, device: str | torch.device = "cpu") -> SuperResolution:
    """A trained network from a weights file, in eval mode; the file alone is enough.

    ``facts.training`` of the result holds what is known of the training, such as the licence of its data.

    Args:
        path_or_name: a name of :func:`bundled_names`, a ``.safetensors`` of this package, or a ``.pth``/``.pt`` with a
            state dict of the public AWSRN code (read with ``weights_only``: such a file cannot run code).
        device: where to put it.

    Raises:
        UserError: there is no such file, it cannot be read, or it holds other weights.
    """
    path = weights_file(path_or_name)
    state, header = read_state_dict(path)
    try:
        model = build(state, header.get("hyper"))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} does not hold weights of AWSRN or its improved form: {error}") from error
    model.training_facts = header.get("training", {})
    return model.to(device).eval()


def weights_file(path_or_name: str | os.PathLike) -> Path:
    """The file of bundled weights, or the path as given.

    Raises:
        UserError: there is no such file.
    """
    path = Path(path_or_name)
    if str(path_or_name) in bundled_names():
        path = BUNDLED / f"{path_or_name}.safetensors"
    if not os.path.isfile(path):  # False also for names that no file system accepts, where Path raises
        names = ", ".join(bundled_names())
        raise UserError(f"no weights file {path}: give a .safetensors or .pth file, or one of {names}")
    return path


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """Header of a file by :func:`save_weights`: network, hyper, training."""
    return read_state_dict(Path(path))[1]
