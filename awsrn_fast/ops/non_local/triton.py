"""``non_local`` for torch.library: PyTorch's own projections around the Triton kernels of the attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from awsrn_fast import backends
from awsrn_fast.ops._arguments import laid_out_like
from awsrn_fast.ops._library import define_composite, differentiable, not_differentiable
from awsrn_fast.ops._triton import define_triton, reasons_against_products

from .autograd import ATTEND_BWD_SCHEMA, ATTEND_SCHEMA, SCHEMA, _attend_bwd_fake, _setup_context, backward_by


def _attend_fake(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[Tensor, Tensor]:
    n, positions, channels = qkv.shape
    return qkv.new_empty((n, positions, channels // 3)), qkv.new_empty((n, positions, 2), dtype=torch.float32)


def _non_local(
    x: Tensor,
    w_theta: Tensor,
    b_theta: Tensor,
    w_phi: Tensor,
    b_phi: Tensor,
    w_g: Tensor,
    b_g: Tensor,
    w_z: Tensor,
    b_z: Tensor,
    block: int | None = None,
    halo: int = 0,
) -> Tensor:
    height, width = x.shape[2:]
    tokens = x.flatten(2).transpose(1, 2).contiguous()  # [N, H*W, C]
    qkv = F.linear(tokens, torch.cat((w_theta, w_phi, w_g)), torch.cat((b_theta, b_phi, b_g)))
    attended, _ = attend(qkv, height, width, block, halo)
    z = F.linear(attended, w_z, b_z)
    return laid_out_like(x + z.transpose(1, 2).reshape(x.shape), x)


attend = define_triton("non_local_attend", ATTEND_SCHEMA, "non_local.non_local_attend_fwd", _attend_fake)
attend_bwd = define_triton(
    "non_local_attend_bwd", ATTEND_BWD_SCHEMA, "non_local.non_local_attend_bwd", _attend_bwd_fake
)
differentiable(attend, backward_by(attend_bwd), _setup_context)
not_differentiable(attend_bwd)
non_local = define_composite("non_local_triton", SCHEMA, _non_local)
backends.register("non_local", "triton", non_local, reasons_against_products)
