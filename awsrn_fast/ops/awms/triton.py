"""``awms`` for torch.library: the Triton kernels."""

from __future__ import annotations

from awsrn_fast import backends
from awsrn_fast.ops._library import differentiable, not_differentiable
from awsrn_fast.ops._triton import define_triton, reasons_against_products

from .autograd import BWD_SCHEMA, SCHEMA, _bwd_fake, _fwd_fake, _setup_context, backward_by

OP = "awms"

fwd = define_triton(OP, SCHEMA, "awms.awms_fwd", _fwd_fake)
bwd = define_triton(f"{OP}_bwd", BWD_SCHEMA, "awms.awms_bwd", _bwd_fake)
differentiable(fwd, backward_by(bwd), _setup_context)
not_differentiable(bwd)
backends.register(OP, "triton", fwd, reasons_against_products)
