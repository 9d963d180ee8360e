"""Train in a loop of your own: ``python examples/train_own_loop.py FOLDER STEPS``.

The network is an ordinary nn.Module, and the fused kernels have gradients. For resuming, validation, several GPUs and
the recipe's parts use ``python -m awsrn_fast.train``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import awsrn_fast
from awsrn_fast.data import crop_to_multiple, downscale, find_images, read_rgb

SCALE, PATCH, BATCH = 2, 24, 4


def main(folder: str, steps: str) -> None:
    photos = [crop_to_multiple(read_rgb(path), SCALE) for path in find_images([Path(folder)])]
    pairs = [(downscale(hr, SCALE), hr) for hr in photos]
    model = awsrn_fast.ImprovedAWSRN(scale=SCALE, blocks=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    random = np.random.default_rng(0)
    for step in range(int(steps)):
        lr, hr = batch(pairs, random)
        loss = (model(lr) - hr).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: L1 {loss.item():.4f}")


def batch(pairs: list[tuple[np.ndarray, np.ndarray]], random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """LR and HR patches at the same places, RGB in [0, 1], ``[N, 3, H, W]``."""
    cuts = []
    for index in random.integers(len(pairs), size=BATCH):
        lr, hr = pairs[index]
        top, left = (int(random.integers(size - PATCH + 1)) for size in lr.shape[:2])
        cuts.append([cut(lr, top, left, PATCH), cut(hr, top * SCALE, left * SCALE, PATCH * SCALE)])
    low, high = (torch.stack(patches) for patches in zip(*cuts, strict=True))
    return low, high


def cut(image: np.ndarray, top: int, left: int, side: int) -> Tensor:
    return torch.from_numpy(image[top : top + side, left : left + side]).permute(2, 0, 1).float() / 255


if __name__ == "__main__":
    main(*sys.argv[1:])
