"""Plugin for spandrel, the library by which chaiNNer, ComfyUI and others load networks (extra ``spandrel``).

After :func:`install`, spandrel's ``ModelLoader`` reads weights of both networks: ``.safetensors`` of this package and
``.pth`` of the public code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import UserError
from .models import SuperResolution
from .models.variants import build, public_names, read_hyper

if TYPE_CHECKING:
    from spandrel import Architecture, ArchRegistry, ImageModelDescriptor

ARCHITECTURES = {"awsrn": "AWSRN", "improved": "Improved AWSRN"}
"""Names of the networks as spandrel shows them."""


def install(registry: ArchRegistry | None = None) -> None:
    """Make both networks known to spandrel; a second call changes nothing.

    The scale and all sizes are read from the state dict. Not in it, and not passed on by spandrel's loader, are the
    span of the non-local fusion and the source of the gates' means: they are taken as in the bundled weights.

    Args:
        registry: where to register them; None: spandrel's own, which every ``ModelLoader`` uses by default.

    Raises:
        UserError: spandrel is not installed.
    """
    try:
        import spandrel
    except ModuleNotFoundError as error:
        if error.name != "spandrel":
            raise UserError(f"spandrel needs {error.name}, which is not installed: pip install {error.name}") from error
        raise UserError("spandrel is not installed: pip install spandrel") from error
    known = spandrel.MAIN_REGISTRY if registry is None else registry
    # Before all others, so that no looser detection claims these weights.
    before = tuple(support.architecture.id for support in known.architectures() if support.architecture.id not in _IDS)
    for network in ARCHITECTURES:
        known.add(spandrel.ArchSupport.from_architecture(_architecture(network), before), ignore_duplicates=True)


_IDS = tuple(name.replace(" ", "") for name in ARCHITECTURES.values())


def network_of(state: Mapping[str, Tensor]) -> str | None:
    """Which network a state dict belongs to, ``"awsrn"`` or ``"improved"``; None: another's."""
    try:
        return read_hyper(public_names(state))[0]
    except (ValueError, AttributeError):  # keys of other networks, and values that are no tensors
        return None


def _architecture(network: str) -> Architecture[SuperResolution]:
    import spandrel

    class Ours(spandrel.Architecture[SuperResolution]):
        def load(self, state_dict: Mapping[str, Any]) -> ImageModelDescriptor[SuperResolution]:
            model = build(state_dict)
            facts = model.facts
            return spandrel.ImageModelDescriptor(
                model.fuse(),
                model.state_dict(),  # in fp32: spandrel loads it once more, and weight norm would be folded in fp16
                architecture=self,
                purpose="SR",
                tags=[facts.variant],
                supports_half=True,
                supports_bfloat16=True,
                scale=facts.scale,
                input_channels=3,
                output_channels=3,
                # It tiles by itself as the memory requires, with the whole image's gates.
                tiling=spandrel.ModelTiling.INTERNAL,
                call_fn=_upscaled,
            )

    name = ARCHITECTURES[network]
    return Ours(id=name.replace(" ", ""), name=name, detect=lambda state: network_of(state) == network)


def _upscaled(model: SuperResolution, image: Tensor) -> Tensor:
    lower = image.dtype == torch.bfloat16 or (image.dtype == torch.float16 and image.is_cuda)
    return model.upscale(image, dtype=image.dtype if lower else torch.float32)
