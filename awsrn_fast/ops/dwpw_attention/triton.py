"""``dwpw_attention`` for torch.library: the Triton kernels."""

from __future__ import annotations

import torch

from awsrn_fast import backends
from awsrn_fast.ops._library import differentiable, not_differentiable
from awsrn_fast.ops._triton import define_triton, reasons_against_products

from .autograd import BWD_SCHEMA, SCHEMA, _bwd_fake, _fwd_fake, _setup_context, backward_by, too_many_channels

OP = "dwpw_attention"
MOST_CHANNELS = 64
MOST_IN_FLOAT32 = 32


def _reasons_against(call: backends.Call) -> list[str]:
    most = MOST_IN_FLOAT32 if call.dtype == torch.float32 else MOST_CHANNELS
    reasons = too_many_channels(call, most)
    return reasons_against_products(call) + [f"{why} in {str(call.dtype).removeprefix('torch.')}" for why in reasons]


fwd = define_triton(OP, SCHEMA, "dwpw_attention.dwpw_attention_fwd", _fwd_fake)
bwd = define_triton(f"{OP}_bwd", BWD_SCHEMA, "dwpw_attention.dwpw_attention_bwd", _bwd_fake)
differentiable(fwd, backward_by(bwd), _setup_context)
not_differentiable(bwd)
backends.register(OP, "triton", fwd, _reasons_against)
