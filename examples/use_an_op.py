"""Use a fused op in a network of your own: ``python examples/use_an_op.py``.

Each op is a function with a definition in plain PyTorch at ``.reference``; they agree in value and in gradient.
"""

from __future__ import annotations

import torch

import awsrn_fast
from awsrn_fast import ops


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    x, f = (torch.randn(1, 32, 64, 64, generator=generator) for _ in range(2))
    gate = torch.rand(1, 32, generator=generator)
    one = torch.ones(1)
    x.requires_grad_()

    # x + gate * f, and its mean for the next gate, in one pass
    y, mean = ops.gated_residual(x, f, gate, one, one)
    (y.sum() + mean.sum()).backward()

    expected, _ = ops.gated_residual.reference(x, f, gate, one, one)
    print(awsrn_fast.explain("gated_residual", x))
    print(f"largest difference from plain PyTorch: {(y - expected).abs().max().item():.1e}")


if __name__ == "__main__":
    main()
