"""Convolution with weight norm that can be folded for inference."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from awsrn_fast import ops

from .prepared import Prepared

GAIN, DIRECTION, FOLDED = "weight_g", "weight_v", "folded"
"""Weights in a state dict: the two of weight norm in the training form, the one that they make in the folded form."""
FOLDED_INTO_TRAINING = "a fused network's weights do not fit the training form; load those that it was fused from"


class WNConv2d(Prepared):
    """Square 'same' convolution with weight norm, ``weight = g * v / ||v||`` per output channel.

    Parameters are named as torch's old ``weight_norm`` names them (``weight_g``, ``weight_v``, ``bias``), since the
    public AWSRN checkpoints carry those names. After :meth:`fold` there is one plain ``weight``.

    Args:
        in_channels, out_channels, kernel_size: as in :class:`torch.nn.Conv2d`; the kernel size is odd.
    """

    folded: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, kernel_size)
        assert plain.bias is not None
        self.weight_g = nn.Parameter(_norm(plain.weight.detach()))
        self.weight_v = nn.Parameter(plain.weight.detach())
        self.bias = nn.Parameter(plain.bias.detach())

    def weight(self) -> Tensor:
        """``[out_channels, in_channels, K, K]``, as the convolution uses it."""
        if self.is_folded:
            return self.folded
        return weight_norm(self.weight_g, self.weight_v)

    def fold(self) -> None:
        """Replace gain and direction by the weight itself: same output, nothing to compute per call, no training."""
        if self.is_folded:
            return
        weight = self.weight().detach()
        _without_parametrizations(self)
        del self.weight_g, self.weight_v
        self.register_buffer(FOLDED, weight)
        self.is_folded = True

    def sources(self) -> tuple[Tensor, ...]:
        return (self.weight(),)

    def prepare(self, *weights: Tensor) -> Tensor | None:
        return ops.conv3x3.prepare(*weights) if weights[0].shape[-1] == 3 else None

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """``x [N, C, H, W]``; to a 3x3 convolution up to three ``others`` that follow it, as if concatenated."""
        weight = self.weight()
        if weight.shape[-1] == 3:
            x1, x2, x3 = (*others, None, None, None)[:3]
            return ops.conv3x3(x, weight, self.bias, x1, x2, x3, self.prepared_weights())
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights in the training form are folded on the way into a folded one; the other way they are refused."""
        if self.is_folded and {prefix + GAIN, prefix + DIRECTION} <= state.keys():
            gain, direction = state.pop(prefix + GAIN), state.pop(prefix + DIRECTION)
            state[prefix + FOLDED] = weight_norm(gain, direction)
        elif not self.is_folded and prefix + FOLDED in state:
            rest[-1].append(f"{prefix}{FOLDED}: {FOLDED_INTO_TRAINING}")
        super()._load_from_state_dict(state, prefix, *rest)


class Scale(nn.Module):
    """One learned factor, ``scale [1]`` (the adaptive weights of AWRU, LFB and AWMS)."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([float(value)]))


def _without_parametrizations(module: nn.Module) -> None:
    """Replace parametrized parameters by their values.

    Not by torch's remove_parametrizations, which changes the class that a deep copy shares with its original.
    """
    if not parametrize.is_parametrized(module):
        return
    assert isinstance(module.parametrizations, nn.ModuleDict)
    values = {name: getattr(module, name).detach() for name in module.parametrizations}
    module.__class__ = module.__class__.__bases__[0]
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


def weight_norm(gain: Tensor, direction: Tensor) -> Tensor:
    """``[out_channels, in_channels, K, K]`` from its two parts, ``g [out_channels, 1, 1, 1]`` and ``v``."""
    return direction * (gain / _norm(direction))


def _norm(weight: Tensor) -> Tensor:
    if weight.is_meta:  # torch computes this shape by its compiler's machinery, a second of imports
        return weight.new_empty(len(weight), 1, 1, 1)
    return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)  # [out_channels, 1, 1, 1]
