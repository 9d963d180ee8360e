"""Whole networks with their bundled weights, as they are used: fused, on every device and dtype."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from awsrn_fast import backends, load
from awsrn_fast.backends import Call
from awsrn_fast.models import SuperResolution
from awsrn_fast.ops._accuracy import Deviation

from .kernels import Place, using
from .outcome import Outcome, judged

NETWORKS = ("improved-s-x4", "awsrn-s-x4")
LEVEL = 1 / 255
"""A gray level. Networks are allowed a hundredth of one in fp32, half a one in 16 bits (rms)."""


def picture(h: int = 40, w: int = 52) -> Tensor:
    """``[1, 3, H, W]`` in [0, 1]: waves of growing frequency, and an edge."""
    y, x = (
        torch.linspace(0, 1, h, dtype=torch.float64, device="cpu")[:, None],
        torch.linspace(0, 1, w, dtype=torch.float64, device="cpu"),
    )
    waves = torch.stack([torch.sin(9 * x**2 * (i + 1) + 5 * y) for i in range(3)])
    return (0.5 + 0.3 * waves + 0.2 * (x > 0.6).double()).clamp(0, 1)[None]


def check_networks(where: list[Place], planted: str, seen: Callable[[Outcome], None]) -> None:
    """Check the networks, and tell ``seen`` each outcome; the arguments are check_ops's."""
    for network in NETWORKS:
        with backends.use_backend("reference"), torch.no_grad():
            truth = load(network).double()(picture())
        for place in where:
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                label = str(dtype).removeprefix("torch.")
                name = f"{network}/{place}/{label}"
                why = _reason_against(place, dtype)
                if why:
                    seen(Outcome(name, "not run", detail=why))
                    continue
                seen(_check(network, name, place, dtype, truth, name == planted))
                if place.device.startswith("cuda"):
                    for kind, run in (("graph", _graph), ("streams", _streams)):
                        seen(_same_bits(f"{name}/{kind}", network, place, dtype, run, f"{name}/{kind}" == planted))


def _reason_against(place: Place, dtype: torch.dtype) -> str:
    device = torch.device(place.device)
    if device.type == "cpu":
        return "float16 is for GPUs" if dtype == torch.float16 else ""
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    call = Call(device.type, capability, dtype, (1, 32, 48, 48))
    return "no kernels for it" if backends.explain("awms", call).chosen == "reference" else ""


def _fused(network: str, place: Place, dtype: torch.dtype) -> SuperResolution:
    return load(network, place.device).to(dtype).fuse().eval()


@torch.no_grad()
def _check(network: str, name: str, place: Place, dtype: torch.dtype, truth: Tensor, plant: bool) -> Outcome:
    start = time.perf_counter()
    x = picture().to(place.device, dtype)
    try:
        with using(place):
            y = _fused(network, place, dtype)(x).double().cpu()
    except RuntimeError as error:
        return Outcome(name, "FAILED", None, str(error).splitlines()[0], time.perf_counter() - start)
    if plant:
        y.view(-1)[0] += 100
    difference = y - truth
    rms = truth.square().mean().sqrt().item()
    if dtype == torch.float32:
        found = Deviation("output", difference.abs().max().item(), 0.01 * LEVEL, rms)
    else:
        found = Deviation("output's rms", difference.square().mean().sqrt().item(), 0.5 * LEVEL, rms)
    return judged(name, [(network, found)], time.perf_counter() - start)


def _graph(model: SuperResolution, x: Tensor) -> Tensor:
    """The replay of a CUDA graph that was captured on another image."""
    held = torch.zeros_like(x)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            model(held)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = model(held)
    held.copy_(x)
    graph.replay()
    return y


def _streams(model: SuperResolution, x: Tensor) -> Tensor:
    """The second of two streams that run at the same time on images of their own."""
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    results = []
    for stream, image in zip(streams, (x.flip(3), x), strict=True):
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results.append(model(image))
    torch.cuda.synchronize()
    return results[1]


@torch.no_grad()
def _same_bits(
    name: str,
    network: str,
    place: Place,
    dtype: torch.dtype,
    run: Callable[[SuperResolution, Tensor], Tensor],
    plant: bool,
) -> Outcome:
    start = time.perf_counter()
    with torch.cuda.device(place.device):
        model, x = _fused(network, place, dtype), picture().to(place.device, dtype)
        try:
            expected, got = model(x).float(), run(model, x).float()
            torch.cuda.synchronize()
        except RuntimeError as error:
            return Outcome(name, "FAILED", None, str(error).splitlines()[0], time.perf_counter() - start)
    largest = (got - expected).abs().max().item() + plant
    found = Deviation("difference from a plain call", largest, 0.0, expected.square().mean().sqrt().item())
    return judged(name, [(network, found)], time.perf_counter() - start)
