"""Export of a network to torch.export and ONNX programs for any image size."""

from __future__ import annotations

import json
import logging
import warnings
from typing import TYPE_CHECKING

import torch

from awsrn_fast import backends
from awsrn_fast.models import SuperResolution
from awsrn_fast.nn import NonLocal

from .attention import BlockNonLocal, GlobalNonLocal

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.onnx import ONNXProgram

LARGEST_SIDE = 65536
"""Upper bound that torch.export wants for height and width of the input image, in pixels."""
INPUT, OUTPUT = "image", "upscaled"
"""Names in the ONNX graph: RGB in [0, 1], ``[1, 3, height, width]`` -> ``[1, 3, scale*height, scale*width]``."""


def exportable(model: SuperResolution, clamp: bool = True) -> SuperResolution:
    """The fused form with every part independent of the image's size."""
    fused = model.fuse(clamp).to("cpu", torch.float32)
    if fused.facts.non_local:
        layer = fused.non_local
        assert isinstance(layer, NonLocal)
        fused.non_local = GlobalNonLocal(layer) if layer.block is None else BlockNonLocal(layer)
    return fused


def torch_program(model: SuperResolution, clamp: bool = True) -> ExportedProgram:
    """``model`` by torch.export: fp32, plain PyTorch operators (the reference backend), height and width dynamic.

    Args:
        model: a network, fused or not; it stays as it is.
        clamp: limit the output to [0, 1].
    """
    sides = {axis: torch.export.Dim(name, min=1, max=LARGEST_SIDE) for axis, name in ((2, "height"), (3, "width"))}
    example = torch.rand(1, 3, 70, 50, dtype=torch.float32, device="cpu")
    with backends.use_backend("reference"), torch.no_grad():
        return torch.export.export(exportable(model, clamp), (example,), dynamic_shapes=(sides,))


def onnx_program(model: SuperResolution, clamp: bool = True) -> ONNXProgram:
    """``model`` as ONNX: fp32, height and width dynamic, the facts in its metadata.

    Args:
        model, clamp: as in :func:`torch_program`.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            torch_program(model, clamp),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({2: "height", 3: "width"},),
        )
    assert program is not None  # as with dynamo=True
    program.model.metadata_props.update(describe(model, clamp))
    return program


def describe(model: SuperResolution, clamp: bool) -> dict[str, str]:
    """Metadata for users of the file, as text by key."""
    facts = model.facts
    ranges = "in [0, 1]" if clamp else "in [0, 1], not clamped"
    return {
        "awsrn_fast.network": json.dumps({"variant": facts.variant, "scale": facts.scale, "hyper": model.hyper}),
        "awsrn_fast.input": f"{INPUT} float32 [1, 3, height, width], RGB in [0, 1]",
        "awsrn_fast.output": f"{OUTPUT} float32 [1, 3, {facts.scale}*height, {facts.scale}*width], RGB {ranges}",
    }
