"""A training step against the public recipe's form: ``python benchmarks/bench_train.py [--rounds N] [--compile]``.

The public form has separate branches, torch's weight norm, eager fp32 in NCHW and plain Adam. All forms of a network
start from the same weights and learn from the same batch, in one process, one step of each in turn; a form whose
loss differs is refused. Peak memory is that of one step's tensors, minus those allocated before it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from public_awsrn import PublicAWSRN
from torch import Tensor

from awsrn_fast.config import Config
from awsrn_fast.devices import pick_device, pick_dtype
from awsrn_fast.heap import keep_freed_memory
from awsrn_fast.memory import Tracker
from awsrn_fast.models import SuperResolution, build, create
from awsrn_fast.nn import AWMS
from awsrn_fast.train.distributed import World
from awsrn_fast.train.state import Learner
from awsrn_fast.train.step import Step

PATCH, BATCH, SCALE = 48, 16, 4
PEER = "public form"
LOSS_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 5e-3}
"""Tolerance of the first loss relative to the peer's."""


@dataclass
class Form:
    """One implementation of the step; ``step`` performs it and returns the loss."""

    name: str
    step: Callable[[Tensor, Tensor], Tensor]
    tolerance: float


def peer_step(model: torch.nn.Module, levels: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Eager step with plain Adam; ``levels`` is the value of white in the model's arithmetic."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8)

    def step(lr: Tensor, hr: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = F.l1_loss(model(lr * levels) / levels, hr)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def our_step(model: SuperResolution, dtype: torch.dtype, compile: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """The trainer's own step: clipping and averaged weights included."""
    config = Config(curriculum=False, compile="default" if compile else "none")
    model = model.to(memory_format=torch.channels_last)
    learner = Learner(model, ema=config.ema, scale_gradients=dtype == torch.float16, betas=config.betas)
    return Step(config, learner, dtype, World())


class SeparateBranches(torch.nn.Module):
    """An AWMS as the public recipe would compute it: a convolution, a factor and a PixelShuffle per branch."""

    def __init__(self, merged: AWMS) -> None:
        super().__init__()
        self.branches, self.kernels = merged, merged.kernels

    def forward(self, x: Tensor, skip: Tensor, out_scale: float, out_shift: Tensor, **for_pictures: Any) -> Tensor:
        b = self.branches
        each = (getattr(b, f"scale_k{k}").scale * getattr(b, f"tail_k{k}")(x) for k in b.kernels)
        total = sum(F.pixel_shuffle(y, b.scale) for y in each) + F.pixel_shuffle(skip, b.scale)
        return total * out_scale + out_shift[:, None, None]


def baseline_forms(dtype: torch.dtype, compile: bool, device: torch.device) -> list[Form]:
    """AWSRN-S: the public code's form, then ours."""
    public = PublicAWSRN(SCALE, 32, 128, 1, 4).to(device)

    def ours() -> SuperResolution:
        return build(public.state_dict()).to(device).train()

    return [Form(PEER, peer_step(public, 255), 0), *our_forms(ours, dtype, compile)]


def improved_forms(dtype: torch.dtype, compile: bool, device: torch.device) -> list[Form]:
    """Improved S: its reference ops in the public recipe's form, then ours."""
    torch.manual_seed(0)
    start = create("improved-s", SCALE).state_dict()

    def ours() -> SuperResolution:
        return build(start).to(device).train()

    separate = ours()
    separate.tail = SeparateBranches(separate.tail)
    return [Form(PEER, peer_step(separate, 1), 0), *our_forms(ours, dtype, compile)]


def our_forms(make: Callable[[], SuperResolution], dtype: torch.dtype, compile: bool) -> list[Form]:
    forms = [Form("merged, float32", our_step(make(), torch.float32), LOSS_TOLERANCE[torch.float32])]
    name = str(dtype).removeprefix("torch.")
    if dtype != torch.float32:
        forms.append(Form(f"merged, {name}", our_step(make(), dtype), LOSS_TOLERANCE[dtype]))
    if compile:
        forms.append(Form(f"merged, {name}, compiled", our_step(make(), dtype, True), LOSS_TOLERANCE[dtype]))
    return forms


def patches(batch: int, patch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """LR ``[batch, 3, patch, patch]`` and HR of a batch that every form learns from."""
    lr = torch.rand(batch, 3, patch, patch, generator=torch.Generator().manual_seed(0)).to(device)
    return lr, F.interpolate(lr, scale_factor=SCALE, mode="bicubic").clamp(0, 1)


def measure(forms: list[Form], rounds: int, device: torch.device, batch: int, patch: int) -> list[tuple[str, ...]]:
    """Median, spread and ratio of each form, its peak memory; refuses a form whose first loss is wrong."""
    lr, hr = patches(batch, patch, device)
    first = [form.step(lr, hr).item() for form in forms]
    for form, loss in zip(forms, first, strict=True):
        if abs(loss - first[0]) > form.tolerance * first[0]:
            raise SystemExit(f"{form.name}: first loss {loss:.6f}, the peer's {first[0]:.6f}: not the same computation")
    peaks = [peak_of(form, lr, hr) for form in forms]
    seconds: list[list[float]] = [[] for _ in forms]
    for _ in range(rounds):
        for form, taken in zip(forms, seconds, strict=True):
            start = time.perf_counter()
            form.step(lr, hr)
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    medians = [statistics.median(taken) for taken in seconds]
    return [
        (
            form.name,
            f"{1e3 * median:.0f} ms",
            f"{1e3 * min(taken):.0f}-{1e3 * max(taken):.0f}",
            f"{medians[0] / median:.2f}x",
            f"{peak / 2**20:.0f} MiB",
        )
        for form, median, taken, peak in zip(forms, medians, seconds, peaks, strict=True)
    ]


def peak_of(form: Form, lr: Tensor, hr: Tensor) -> int:
    """Peak bytes of one step's tensors, minus those allocated before it."""
    with Tracker() as tracker:
        form.step(lr, hr)
    return tracker.peak


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile, too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--patch", type=int, default=PATCH)
    args = parser.parse_args(argv)
    keep_freed_memory()  # as in the commands; for all forms alike
    device = pick_device(args.device)
    dtype = pick_dtype("auto", device)
    print(f"{args.batch} patches of {args.patch}x{args.patch}, x{SCALE}, {device}, {torch.get_num_threads()} threads")
    for network, make in (("AWSRN-S", baseline_forms), ("improved-s", improved_forms)):
        print(f"{network}: step, range, ratio to the public form, peak memory")
        rows = measure(make(dtype, args.compile, device), args.rounds, device, args.batch, args.patch)
        for row in rows:
            print("  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, (28, 9, 11, 7, 9), strict=True)))


if __name__ == "__main__":
    main()
