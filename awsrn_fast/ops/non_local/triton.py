"""``non_local`` for torch.library: PyTorch's own projections around the Triton kernels of the attention."""

from __future__ import annotations

import torch
from torch import Tensor

from awsrn_fast import backends
from awsrn_fast.ops._library import define_composite, differentiable, not_differentiable
from awsrn_fast.ops._triton import define_triton, reasons_against_products

from .autograd import (
    ATTEND_BWD_SCHEMA,
    ATTEND_SCHEMA,
    SCHEMA,
    _attend_bwd_fake,
    _setup_context,
    backward_by,
    too_long,
    with_projections,
)

MOST_CHANNELS = 64
"""Of a query."""


def _attend_fake(qkv: Tensor, height: int, width: int, block: int | None, halo: int) -> tuple[Tensor, Tensor]:
    n, positions, channels = qkv.shape
    return qkv.new_empty((n, positions, channels // 3)), qkv.new_empty((n, positions, 2), dtype=torch.float32)


attend = define_triton("non_local_attend", ATTEND_SCHEMA, "non_local.non_local_attend_fwd", _attend_fake)
attend_bwd = define_triton(
    "non_local_attend_bwd", ATTEND_BWD_SCHEMA, "non_local.non_local_attend_bwd", _attend_bwd_fake
)
differentiable(attend, backward_by(attend_bwd), _setup_context)
not_differentiable(attend_bwd)
non_local = define_composite("non_local_triton", SCHEMA, with_projections(attend))
backends.register(
    "non_local", "triton", non_local, lambda call: reasons_against_products(call) + too_long(call, MOST_CHANNELS)
)
