"""``non_local`` composed of its projections and ops for the attention. On a CPU the projections are our own
(csrc/cpu/linear.h says why); on CUDA the first is PyTorch's (csrc/cuda/non_local.h says why) and the last the kernel's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._mixed import linear as mixed_linear
from awsrn_fast.ops._op import Op

from . import cpu, cuda, linear, triton
from .shapes import attended_and_softmax

# softmax is each query's largest score (on a CPU a number near it) and 1 / sum of exp(score - that): the log of the sum
# alone would be too coarse in fp32.
ATTEND = Op(
    "non_local_attend",
    {"cpu": cpu, "triton": triton},
    qkv="N L E",
    height=int,
    width=int,
    block=int | None,
    halo=int,
    results={"attended": "N L D", "softmax": "N L 2"},
    kept=("attended", "softmax"),
    fake=attended_and_softmax,
)


def _attend_project_fake(qkv: Tensor, x: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    attended, softmax = (each if keep else each.new_empty(0) for each in attended_and_softmax(qkv))
    return torch.empty_like(x), attended, softmax


# y = x + w_z attended + b_z, with x as tokens.
ATTEND_PROJECT = Op(
    "non_local_attend_project",
    {"cuda": cuda},
    qkv="N L E",
    x="N L C",
    w_z="C D",
    b_z="C",
    height=int,
    width=int,
    block=int | None,
    halo=int,
    results={"y": "N L C"},
    kept=("attended", "softmax"),
    added="x",
    fake=_attend_project_fake,
)


# At every position, for the projections on a CPU: the bits of PyTorch's product depend on the number of threads.
LINEAR = Op(
    "linear",
    {"cpu": linear},
    x="N L C",
    weight="O C",
    bias="O",
    residual="N L O ?",
    results={"y": "N L O"},
    added="residual",
)


def linear_by_pytorch(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
    y = mixed_linear(x, weight, bias)
    return y if residual is None else residual + y


def with_projections(
    attend: Callable[..., tuple[Tensor, Tensor]], linear: Callable[..., Tensor]
) -> Callable[..., Tensor]:
    """``non_local`` around its attention alone, ``(qkv, height, width, block, halo) -> (attended, softmax)``, and its
    projections, ``(x, weight, bias, residual) -> W x + b + residual``."""

    def non_local(
        x: Tensor,
        w_theta: Tensor,
        b_theta: Tensor,
        w_phi: Tensor,
        b_phi: Tensor,
        w_g: Tensor,
        b_g: Tensor,
        w_z: Tensor,
        b_z: Tensor,
        block: int | None,
        halo: int,
    ) -> Tensor:
        tokens, qkv = _projected(x, (w_theta, w_phi, w_g), (b_theta, b_phi, b_g), linear)
        attended, _ = attend(qkv, *x.shape[2:], block, halo)
        y = linear(attended, w_z, b_z, tokens)
        return laid_out_like(y.transpose(1, 2).reshape(x.shape), x)

    return non_local


def with_first_projections(
    x: Tensor,
    w_theta: Tensor,
    b_theta: Tensor,
    w_phi: Tensor,
    b_phi: Tensor,
    w_g: Tensor,
    b_g: Tensor,
    w_z: Tensor,
    b_z: Tensor,
    block: int | None,
    halo: int,
) -> Tensor:
    """``non_local`` around the attention with the last projection."""
    tokens, qkv = _projected(x, (w_theta, w_phi, w_g), (b_theta, b_phi, b_g), linear_by_pytorch)
    y = ATTEND_PROJECT.forward["cuda"](qkv, tokens, w_z, b_z, *x.shape[2:], block, halo)
    return laid_out_like(y.transpose(1, 2).reshape(x.shape), x)


def _projected(
    x: Tensor, weights: tuple[Tensor, ...], biases: tuple[Tensor, ...], linear: Callable[..., Tensor]
) -> tuple[Tensor, Tensor]:
    """``x`` as tokens ``[N, H*W, C]``, and ``qkv``."""
    # Dense, or linear would round a bf16 product before it adds the bias.
    tokens = x.flatten(2).transpose(1, 2).contiguous()
    return tokens, linear(tokens, torch.cat(weights), torch.cat(biases), None)


COMPOSITES = {
    "cpu": with_projections(ATTEND.forward["cpu"], LINEAR.forward["cpu"]),
    "cuda": with_first_projections,
    "triton": with_projections(ATTEND.forward["triton"], linear_by_pytorch),
}
