"""Gates from the means over the whole image, for tiles that each see a part of it.

The improved network's channel gates are functions of means over the map. A tile that took its own means would be
scaled otherwise than its neighbours. So gates are found once and then held: constants of a copy of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from awsrn_fast.nn import AWRU, LRFU, ChannelAttention, NonLocal

from .spans import Span

Gates = dict[str, Tensor]
"""``[1, C]`` by the name of the ChannelAttention in the network."""


class FixedGate(nn.Module):
    """In place of a ChannelAttention: the same gate whatever the means."""

    def __init__(self, gate: Tensor) -> None:
        super().__init__()
        self.register_buffer("gate", gate)

    def forward(self, mean: Tensor) -> Tensor:
        return self.gate.to(mean.dtype).expand(mean.shape[0], -1)


class _JointGate(nn.Module):
    """One gate for the whole batch, from the mean over it; noted in ``found``."""

    def __init__(self, attention: ChannelAttention, name: str, found: Gates) -> None:
        super().__init__()
        self.attention, self.name, self.found = attention, name, found

    def forward(self, mean: Tensor) -> Tensor:
        gate = self.attention(mean.mean(dim=0, keepdim=True))
        self.found[self.name] = gate.float()
        return gate.expand(mean.shape[0], -1)


def pooled(network: nn.Module) -> dict[str, ChannelAttention]:
    """What takes means over the image, by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, ChannelAttention)}


def sharing(network: nn.Module, instead: Mapping[str, nn.Module], _prefix: str = "") -> nn.Module:
    """A copy of the network with some modules replaced by name; it shares all tensors, and has hooks of its own."""
    twin = object.__new__(type(network))
    twin.__dict__ = network.__dict__.copy()  # not copy.copy, which leaves out the weights that kernels prepared
    for table in ("_parameters", "_buffers", "_forward_hooks", "_forward_pre_hooks"):
        setattr(twin, table, getattr(network, table).copy())
    twin._modules = {}
    for name, child in network._modules.items():
        path = f"{_prefix}{name}"
        if path in instead:
            twin._modules[name] = instead[path]
        else:
            twin._modules[name] = None if child is None else sharing(child, instead, f"{path}.")
    return twin


def with_gates(network: nn.Module, gates: Gates) -> nn.Module:
    """A copy of the network whose gates are constants; it shares all weights."""
    return sharing(network, {name: FixedGate(gate) for name, gate in gates.items()})


def gates_of(network: nn.Module, regions: Tensor) -> Gates:
    """The gates of one run over regions of an image ``[R, 3, h, w]``, each from the means over all of them."""
    found: Gates = {}
    sharing(network, {name: _JointGate(module, name, found) for name, module in pooled(network).items()})(regions)
    return found


class Census:
    """Means of the whole image at every pooled layer, summed up from tiles' own parts.

    Args:
        network: a private copy (hooks are added), such as :func:`with_gates` makes.
    """

    def __init__(self, network: nn.Module) -> None:
        self._sums: dict[str, Tensor] = {}
        self._tile: dict[str, Tensor] = {}
        self._own: tuple[slice, slice] | None = None
        self._pixels = 0
        for name, module in network.named_modules():
            prefix = f"{name}." if name else ""
            if isinstance(module, AWRU) and module.gate is not None:
                if module.gap == "input":
                    self._watch(module, f"{prefix}gate", lambda inputs, output: [inputs[0]])
                else:
                    self._watch(module.body["2"], f"{prefix}gate", lambda inputs, output: [output])
            elif isinstance(module, LRFU):
                self._watch(module, f"{prefix}focus", lambda inputs, output: inputs[0])
            elif isinstance(module, NonLocal):
                attention = f"{name.removesuffix('non_local')}channel_attention"
                self._watch(module, attention, lambda inputs, output: [output])

    def _watch(self, module: nn.Module, name: str, maps: Callable[[tuple, Tensor], list[Tensor]]) -> None:
        def note(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            if self._own is not None:
                rows, columns = self._own
                own = [m[:, :, rows, columns].sum((0, 2, 3), dtype=torch.float64) for m in maps(inputs, output)]
                self._tile[name] = torch.cat(own)

        module.register_forward_hook(note)

    @contextmanager
    def counting(self, rows: Span, columns: Span) -> Iterator[None]:
        """Around the run of a tile; one that fails is not counted."""
        self._own, self._tile = (rows.own, columns.own), {}
        try:
            yield
        finally:
            self._own = None
        for name, sums in self._tile.items():
            self._sums[name] = self._sums.get(name, 0) + sums
        self._pixels += (rows.stop - rows.start) * (columns.stop - columns.start)

    def gates(self, network: nn.Module) -> Gates:
        """The gates that the means give, by the network's own attention."""
        found: Gates = {}
        attentions = pooled(network)
        for name, sums in self._sums.items():
            dtype = attentions[name].squeeze.weight.dtype
            found[name] = attentions[name]((sums / self._pixels).to(dtype)[None]).float()
        return found
