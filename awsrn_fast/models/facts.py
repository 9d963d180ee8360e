"""The facts of a network, from its modules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from awsrn_fast.inference.facts import Facts
from awsrn_fast.nn import AWMS, ChannelAttention, DWPWAttention, NonLocal, Part, WNConv2d

from .sizes import variant_of

HD_PIXELS = 1280 * 720
"""Output size that the literature counts mult-adds at."""


class Described(Protocol):
    """The attributes of a :class:`~awsrn_fast.models.SuperResolution` that its facts are computed from."""

    network: str
    hyper: dict[str, Any]
    scale: int
    channels: int
    tail: AWMS
    training_facts: dict[str, Any]

    def modules(self) -> Iterator[nn.Module]: ...

    def state_dict(self) -> Mapping[str, Tensor]: ...

    def parts(self) -> list[Part]: ...


def describe(model: Described) -> Facts:
    """The facts of a :class:`~awsrn_fast.models.SuperResolution`, from its modules."""
    hyper = model.hyper
    positions = HD_PIXELS / model.scale**2
    # One position per input pixel; at x3 the literature too counts the fraction that 720 / 3 * 1280 / 3 leaves.
    separate = sum(_mult_adds(m, positions) for m in model.modules())
    kernels = model.tail.kernels
    branch_taps, merged_taps = sum(k * k for k in kernels), kernels[-1] ** 2
    tail_step = model.channels * 3 * model.scale**2 * positions
    attended = isinstance(getattr(model, "non_local", None), NonLocal)
    if "weight" in model.tail._buffers:  # fused: the branches are gone
        separate += tail_step * branch_taps
    return Facts(
        variant=variant_of(model.network, hyper),
        scale=model.scale,
        channels=model.channels,
        parameters=sum(t.numel() for t in model.state_dict().values()),
        mult_adds=round(separate),
        mult_adds_merged=round(separate + tail_step * (merged_taps - branch_taps)),
        receptive_field=2 * sum(stage.reach for part in model.parts() for stage in part) + 1,
        block=hyper.get("block"),
        halo=hyper.get("halo", 0),
        non_local=attended,
        activations=4 * (3 + max(_body_floats(hyper), 3 * model.channels + 15 * model.scale**2)),
        training=model.training_facts,
    )


def _body_floats(hyper: dict[str, Any]) -> int:
    """The wide map before and after its ReLU, the levels of a block, its input, its output and one more."""
    return 2 * hyper["wide"] + (hyper["units"] + 3) * hyper["channels"]


def _mult_adds(module: nn.Module, positions: float) -> float:
    if isinstance(module, WNConv2d):
        return module.weight().numel() * positions
    if isinstance(module, nn.Conv2d):
        return module.weight.numel() * positions
    if isinstance(module, DWPWAttention):
        return (module.pointwise.weight.numel() + module.attention.weight.numel()) * positions
    if isinstance(module, ChannelAttention):
        return module.squeeze.weight.numel() + module.excite.weight.numel()
    if isinstance(module, NonLocal):
        inner, channels = module.theta.weight.shape
        keys = positions if module.block is None else min(positions, (module.block + 2 * module.halo) ** 2)
        return (4 * inner * channels + 2 * inner * keys) * positions
    return 0
