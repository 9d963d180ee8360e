"""``conv3x3``: a plain 3x3 convolution, such as the one that ends a local residual fusion."""

from __future__ import annotations

from torch import Tensor

from awsrn_fast import backends
from awsrn_fast.ops._arguments import autocast, check

from . import autograd  # noqa: F401  registers the native kernel
from .reference import reference

DIMS = {"x": "N C H W", "weight": "O C 3 3", "bias": "O"}

backends.register_reference("conv3x3", reference, DIMS)


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``conv2d(x, weight, bias)`` with zero 'same' padding.

    Args:
        x: ``[N, C, H, W]``.
        weight: ``[O, C, 3, 3]``; bias: ``[O]``.

    Returns:
        ``y [N, O, H, W]`` in x's memory format.

    Kept for the backward pass beyond arguments and result: ``0`` bytes.

    Raises:
        TypeError, ValueError: a wrong dtype, device or shape; names the argument.
    """
    sizes = check("conv3x3", DIMS, x=x, weight=weight, bias=bias)
    return backends.run("conv3x3", sizes, *autocast(x, weight, bias))


conv3x3.reference = reference
