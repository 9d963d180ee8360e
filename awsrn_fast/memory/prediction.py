"""Peak memory of a training step or of one picture's inference, run on fake tensors: no data, no arithmetic, no GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from awsrn_fast import backends
from awsrn_fast.inference import Placed
from awsrn_fast.models import SuperResolution, create
from awsrn_fast.nn import Prepared, in_channels_last

from .tracking import Tracker

CUDA_BLOCK = 512
"""torch's CUDA allocator gives out multiples of this (kMinBlockSize in c10/cuda/CUDACachingAllocator.cpp)."""


@dataclass(frozen=True)
class Target:
    """Device and dtype that the program will run with.

    Attributes:
        device: "cpu" or "cuda".
        capability: compute capability; None on a CPU.
        dtype: autocast dtype; torch.float32: no autocast.
    """

    device: str = "cuda"
    capability: tuple[int, int] | None = (7, 5)
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True)
class Network:
    """A variant by name, with the arguments that differ from the class's defaults."""

    variant: str
    scale: int
    options: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = True
    checkpoint_activations: bool = False

    def create(self) -> SuperResolution:
        with torch.random.fork_rng(devices=[]):
            model = create(self.variant, self.scale, **self.options)
        model.checkpointing = self.checkpoint_activations
        return in_channels_last(model) if self.channels_last else model


@dataclass(frozen=True)
class Prediction:
    """Bytes allocated at the peak, by content.

    Attributes:
        weights: parameters and buffers, of every network.
        average: the averaged weights (EMA).
        optimizer: both moments of Adam.
        batch: input, and target in training.
        work: gradients, saved activations and temporaries.
        largest: the largest single tensor; part of the others.
    """

    weights: int
    average: int
    optimizer: int
    batch: int
    work: int
    largest: int

    @property
    def peak(self) -> int:
        """Sum of all parts."""
        return self.weights + self.average + self.optimizer + self.batch + self.work


Gradients = Callable[[SuperResolution, Tensor, Tensor], None]
"""Computes the gradients of a step from the network, LR images ``[B, 3, P, P]`` and HR images ``[B, 3, s*P, s*P]``."""


def predict_training(
    network: Network,
    target: Target,
    batch: int,
    patch: int,
    ema: bool = True,
    beside: Sequence[nn.Module] = (),
    gradients: Gradients | None = None,
) -> Prediction:
    """Peak of a step: forward, loss, backward, clipping, fused Adam, average.

    The step is a later one: the optimiser's state is there already. It is eager; ``torch.compile`` rarely needs more.

    Args:
        network: what is trained.
        target: where.
        batch: samples of a step on one device.
        patch: side of the LR patches.
        ema: whether averaged weights are kept.
        beside: other modules on the device, such as a discriminator; they lose their contents. Those of their
            parameters that require gradients are trained, too.
        gradients: function that computes the gradients; None: stage P, the L1 loss alone.
    """
    model = network.create().train()
    with _tracking(target) as tracker:
        modules = [_emptied(module) for module in (model, *beside)]
        trained = [p for module in modules for p in module.parameters() if p.requires_grad]
        weights = tracker.live
        averaged = [torch.empty_like(p) for p in model.parameters()] if ema else []
        average = tracker.live - weights
        optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True)
        for p in trained:
            averages = {"exp_avg": torch.empty_like(p), "exp_avg_sq": torch.empty_like(p)}
            optimizer.state[p] = {"step": torch.empty((), dtype=torch.float32), **averages}
        moments = tracker.live - weights - average
        lr_image = torch.empty(batch, 3, patch, patch, dtype=torch.float32)
        hr_image = torch.empty(batch, 3, network.scale * patch, network.scale * patch, dtype=torch.float32)
        held = tracker.live - weights - average - moments
        tracker.restart()
        if gradients is None:
            _pixel_gradients(model, lr_image, hr_image, network.channels_last, target.dtype)
        else:
            gradients(model, lr_image, hr_image)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if averaged:
            torch._foreach_lerp_(averaged, [p.detach() for p in model.parameters()], 0.1)
        work = tracker.peak - weights - average - moments - held
        return Prediction(weights, average, moments, held, work, tracker.largest)


def _pixel_gradients(model, lr_image: Tensor, hr_image: Tensor, channels_last: bool, dtype: torch.dtype) -> None:
    _pixel_loss(model, lr_image, hr_image, channels_last, dtype).backward()


def _pixel_loss(model, lr_image: Tensor, hr_image: Tensor, channels_last: bool, dtype: torch.dtype) -> Tensor:
    # Separate function, as in the training step, so that the output lives only as long as the gradient needs it.
    if channels_last:
        lr_image = lr_image.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = model(lr_image)
    output = output.float()
    return F.l1_loss(output, hr_image)


def predict_inference(network: Network, target: Target, height: int, width: int, batch: int = 1) -> Prediction:
    """Peak of upscaling one picture, or one tile, with the fused network.

    Args:
        network: what runs.
        target: where.
        height, width: LR pixels that the network sees at once.
        batch: pictures at once.
    """
    placed = Placed(network.create().eval().fuse(), "cpu", target.dtype)
    placed(torch.zeros(1, 3, 1, 1, dtype=torch.float32))  # kernels prepare weights at the first call
    with _tracking(target) as tracker:
        _emptied(placed)
        weights = tracker.live
        picture = torch.empty(batch, 3, height, width, dtype=torch.float32)
        held = tracker.live - weights
        tracker.restart()
        placed(picture)
        return Prediction(weights, 0, 0, held, tracker.peak - weights - held, tracker.largest)


def _emptied(model: nn.Module) -> nn.Module:
    """The module with its tensors replaced by new ones of the same shapes and layouts."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(_like(weight), weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _like(buffer)
        if isinstance(module, Prepared) and module.made_from is not None:
            module.made_from = tuple(map(_like, module.made_from))
    return model


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)


@contextmanager
def _tracking(target: Target) -> Iterator[Tracker]:
    """Context with fake tensors, counted as by the target's allocator.

    They are on the CPU whatever the target, since builds of torch without CUDA compute nothing on fake CUDA tensors;
    sizes and lifetimes are the same. What depends on the device is set: the choice of backends, and the allocator's
    rounding. Attention has the CPU's flash kernel here; it keeps output and log-sum-exp, as CUDA's kernels do.
    """
    tracker = Tracker(CUDA_BLOCK if target.device == "cuda" else 1)
    with (
        warnings.catch_warnings(),
        backends.as_if_on(target.device, target.capability),
        FakeTensorMode(),
        tracker,
    ):
        warnings.simplefilter("ignore")  # no warning that a GPU runs the reference; that is reported when it does
        yield tracker
