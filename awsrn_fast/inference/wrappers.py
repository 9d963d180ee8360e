"""Wrappers of a network that compose: device and dtype, self-ensemble. Each is ``[N, 3, H, W] -> [N, 3, sH, sW]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from awsrn_fast.nn import AWMS, ChannelAttention, Gates, Part, Prepared, WNConv2d, in_channels_last

from .cuda_graph import Captures, Graphs
from .facts import Facts
from .gates import Census
from .protocols import Model
from .transfers import Result, Transfers

M = TypeVar("M", bound=nn.Module)


def exact_context(facts: Facts) -> int:
    """Context in input pixels that a tile needs beyond its own part for the same result as the whole image.

    The convolutions reach half the receptive field. Those after the non-local fusion read the neighbouring block,
    whose keys reach one block and one halo farther; the image's last block, whose keys are shifted inward, one halo
    more.
    """
    context = facts.receptive_field // 2
    if facts.block is not None:
        context += facts.block + 2 * facts.halo
    return context


class Placed(Model):
    """Run ``model`` on its own device and in ``dtype``, for pictures in fp32 on the CPU.

    Args:
        model: network ``[N, 3, H, W] -> [N, 3, sH, sW]`` with ``facts``.
        device: where to put it.
        dtype: torch.float32, or bfloat16 or float16 through autocast: sums stay fp32. Weights are rounded here, once:
            make another after they change. Those that are not in fp32 are cast to it.
        as_it_is: use the model unmodified; it is on the device and may be in use elsewhere.
        graphs: replay CUDA graphs, one a shape (:class:`~awsrn_fast.inference.cuda_graph.Graphs`); without an effect
            elsewhere. On CUDA the weights are brought into the kernels' layouts here, once, too.
    """

    facts: Facts

    def __init__(
        self,
        model: Model,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        as_it_is: bool = False,
        graphs: bool = True,
    ):
        super().__init__()
        if getattr(model, "out_dtype", None) is not None:
            raise ValueError(
                f"upscaling needs floating point results: fuse the model without out_dtype={model.out_dtype}"
            )
        self.device, self.dtype = torch.device(device), dtype
        self.model = model if as_it_is else in_channels_last(model.to(self.device))
        tensors = (*self.model.parameters(), *self.model.buffers())
        if any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors):
            self.model = with_weights_in(self.model, torch.float32, (nn.Module,))
        if dtype != torch.float32:
            if self.device.type == "cpu":
                with torch.no_grad():  # first with the original weights: kernels prepare their layouts before rounding
                    self.model(torch.zeros(1, 3, 1, 1, dtype=torch.float32, device="cpu"))
            self.model = with_weights_in(self.model, dtype)
        self.facts = model.facts
        self.graphs: Graphs | None = None
        """None: kernels are launched one by one."""
        if self.device.type == "cuda":
            self.model = with_prepared_weights(self.model)
            self.graphs = Graphs(Captures(self.device)) if graphs else None
            self._transfers = Transfers(self.device)

        parts: Callable[[], list[Part]] | None = getattr(self.model, "parts", None)
        if parts is not None:
            self.parts = parts

    def forward(self, x: Tensor, gates: Gates | None = None) -> Tensor:
        """``x`` fp32 on the CPU; so is the result. ``gates``: as the network takes them."""
        if self.overlaps:
            return self.begin(x, gates)().clone(memory_format=torch.contiguous_format)
        return self.run(self.model if gates is None else partial(self.model, gates=gates), x)

    @property
    def overlaps(self) -> bool:
        """Whether :meth:`begin` returns before the result is there."""
        return self.device.type == "cuda"

    def begin(self, x: Tensor, gates: Gates | None = None) -> Result:
        """The same as :meth:`forward` on CUDA, begun: the result is valid until the second call after this one."""
        on_device = self._transfers.up(x)
        with self.precision():
            if isinstance(gates, Census):
                y = gates.run(self.model, on_device, self.graphs)
            elif gates is not None or self.graphs is None:
                y = self.model(on_device) if gates is None else self.model(on_device, gates=gates)
            else:
                (y,) = self.graphs(None, lambda seen: (self.model(seen),), (on_device,))
        return self._transfers.down(y)

    def run(self, function: Callable[..., Tensor], *maps: Tensor) -> Tensor:
        """Run ``function`` on maps ``[N, C, H, W]``, fp32 on the CPU, with the network's device and dtype."""
        placed = [m.to(self.device).contiguous(memory_format=torch.channels_last) for m in maps]
        with self.precision():
            return function(*placed).float().cpu()

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Context without gradients, with autocast to :attr:`dtype`."""
        lower = self.dtype != torch.float32
        # No cache: it would hold casts from a graph's memory.
        with torch.no_grad(), torch.autocast(self.device.type, self.dtype, enabled=lower, cache_enabled=False):
            yield


def sharing(network: M) -> M:
    """A copy of the network's modules that shares all tensors."""
    twin = object.__new__(type(network))
    twin.__dict__ = network.__dict__.copy()  # not copy.copy, which leaves out the weights that kernels prepared
    twin._parameters, twin._buffers = network._parameters.copy(), network._buffers.copy()
    twin._modules = {name: None if m is None else sharing(m) for name, m in network._modules.items()}
    return twin


def with_weights_in(
    network: M, dtype: torch.dtype, kinds: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear, WNConv2d, AWMS)
) -> M:
    """A copy of the network whose weights are cast once, as autocast would cast them at every call; it shares the rest.

    Weights that are computed at every call, by weight norm, stay as they are unless all are cast.

    Args:
        network: the network to copy.
        dtype: the copy's weight dtype; layouts that kernels prepared from the original weights are kept if it is lower.
        kinds: modules whose weights are cast.
    """
    twin = sharing(network)
    lower = dtype != torch.float32
    of_gates = {
        child for module in twin.modules() if isinstance(module, ChannelAttention) for child in module.children()
    }
    for module in twin.modules():
        if not isinstance(module, kinds) or (lower and (hasattr(module, "weight_g") or module in of_gates)):
            continue
        for name, weight in module._parameters.items():
            if weight is not None and _is_cast(weight, lower):
                module._parameters[name] = nn.Parameter(weight.detach().to(dtype), False)
        for name, buffer in module._buffers.items():
            if buffer is not None and _is_cast(buffer, lower):
                module._buffers[name] = buffer.to(dtype)
    if lower:
        for module in twin.modules():
            if isinstance(module, Prepared) and module.prepared is not None:
                module.mark_prepared()
    return twin


def with_prepared_weights(network: M) -> M:
    """A copy of the network, which shares its tensors and keeps its weights in the layouts of the kernels of the device
    they are on, as they are now."""
    twin = sharing(network)
    for module in twin.modules():
        if isinstance(module, Prepared):
            module.keep_prepared()
    return twin


def _is_cast(weight: Tensor, lower: bool) -> bool:
    """Biases and scales stay in fp32 under autocast."""
    return weight.is_floating_point() and not (lower and weight.dim() < 2)


class SelfEnsemble(Model):
    """Mean over the eight flips and rotations of ``x``, each transformed back (Timofte et al., CVPR 2016).

    Goes outside a tiling wrapper, so that every view is tiled from its own (0, 0), as a whole image would be.
    """

    passes = 8
    facts: Facts

    def __init__(self, model: Model):
        super().__init__()
        self.model = model
        self.facts = model.facts

    def forward(self, x: Tensor) -> Tensor:
        """``x [N, 3, H, W]`` -> ``[N, 3, sH, sW]``, fp32."""
        total: Tensor | None = None
        for flip in (False, True):
            seen = x.flip(3) if flip else x
            for turns in range(4):
                y = torch.rot90(self.model(torch.rot90(seen, turns, (2, 3)).contiguous()), -turns, (2, 3)).float()
                y = y.flip(3) if flip else y
                total = y.clone() if total is None else total.add_(y)
        assert total is not None
        return total.div_(8)
