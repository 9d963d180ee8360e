"""Ops for torch.library: schema, kernels, fake and gradient.

Not torch.library.custom_op: its first call imports torch._dynamo, 2 s that every short run would pay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

NAMESPACE = "awsrn_fast"
KERNELS: dict[tuple[str, str], Callable[..., Any]] = {}
"""The kernels of the ops by (name, device type)."""
_COMPOSITES = torch.library.Library(NAMESPACE, "FRAGMENT")


def define(
    name: str,
    schema: str,
    *,
    fake: Callable[..., Any],
    cpu: Callable[..., Any] | None = None,
    cuda: Callable[..., Any] | None = None,
    xpu: Callable[..., Any] | None = None,
) -> OpOverload:
    """Define ``awsrn_fast::<name>``; the kernels change no input, and no output is one.

    Args:
        schema: arguments and results, without the name.
        fake: the op on tensors without values.
        cpu, cuda, xpu: the kernels for CPU, for CUDA (and ROCm) and for XPU tensors, where there are any.

    Returns:
        The op.
    """
    full = f"{NAMESPACE}::{name}"
    torch.library.define(full, schema, tags=torch.Tag.pt2_compliant_tag)
    for device, kernel in (("cpu", cpu), ("cuda", cuda), ("xpu", xpu)):
        if kernel is not None:
            torch.library.impl(full, device, kernel)
            KERNELS[name, device] = kernel
    torch.library.register_fake(full, fake)
    return getattr(getattr(torch.ops, NAMESPACE), name).default


def define_composite(name: str, schema: str, function: Callable[..., Any]) -> OpOverload:
    """Define ``awsrn_fast::<name>`` as a function of other ops; what it calls gives device, fake and gradient.

    Args:
        schema: arguments and results, without the name.
        function: the op on any tensors.

    Returns:
        The op.
    """
    _COMPOSITES.define(f"{name}{schema}", tags=torch.Tag.pt2_compliant_tag)
    _COMPOSITES.impl(name, function, "CompositeImplicitAutograd")
    return getattr(getattr(torch.ops, NAMESPACE), name).default


def differentiable(op: OpOverload, backward: Callable[..., Any], setup_context: Callable[..., Any]) -> None:
    """Give an op its gradient; the arguments are torch.library.register_autograd's."""
    torch.library.register_autograd(op, backward, setup_context=setup_context)


def not_differentiable(op: OpOverload) -> None:
    """Make a gradient op raise where it is differentiated itself (double backward)."""

    def refuse(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(f"{op.name()} has no gradient: double backward is not supported; use the reference backend")

    torch.library.register_autograd(op, refuse)
