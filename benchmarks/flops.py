"""Floating-point operations and minimum memory traffic of a row, counted on meta tensors."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import torch
from rows import OpRow
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from awsrn_fast import ops


def _convolution_backward(grad_shape, x_shape, w_shape, *sizes, output_mask=(True, True, True), **_) -> int:
    """FLOPs of a convolution's backward; torch 2.13 counts a grouped convolution's weight gradient as a dense one's."""
    mask = sizes[-1] if sizes and isinstance(sizes[-1], (list, tuple)) and len(sizes[-1]) == 3 else output_mask
    return 2 * prod(grad_shape) * prod(w_shape[1:]) * (mask[0] + mask[1])


FLOPS = {torch.ops.aten.convolution_backward: _convolution_backward}


class Work(NamedTuple):
    """FLOPs of convolutions and matrix products (exponentials and the like are not counted), and memory traffic in
    bytes: each input read once, each output written once; backward also reads the outputs' gradients, reads the inputs
    again and writes theirs."""

    flops: int
    bytes: int


def on_meta(row: OpRow) -> dict[str, Any]:
    """The row's arguments as meta tensors, requiring gradients if it has a backward pass."""
    shapes = row.case.shapes.items()
    leaves = {
        name: None if shape is None else torch.empty(shape, dtype=row.dtype, device="meta", requires_grad=row.backward)
        for name, shape in shapes
    }
    return leaves | row.case.options


def of_op(row: OpRow) -> Work:
    """The minimum for an op: the reference's FLOPs, without intermediate results in memory."""
    arguments = on_meta(row)
    leaves = [v for v in arguments.values() if isinstance(v, Tensor)]
    with FlopCounterMode(display=False, custom_mapping=FLOPS) as counter, sdpa_kernel(SDPBackend.MATH):
        outputs = ops.ROWS[row.op].reference(**arguments)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        if row.backward:
            torch.autograd.grad(outputs, leaves, [torch.empty_like(y) for y in outputs])
    given, made = (sum(t.nbytes for t in tensors) for tensors in (leaves, outputs))
    return Work(counter.get_total_flops(), given + made + row.backward * (2 * given + made))
