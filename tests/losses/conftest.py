"""A VGG19 file in torchvision's form with seeded random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

# Of torchvision's vgg19().features.
INDICES = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512)


@pytest.fixture(scope="session")
def vgg_state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {}
    for index, channels, width in zip(INDICES, CHANNELS[:-1], CHANNELS[1:], strict=True):
        scale = (2 / (9 * channels)) ** 0.5  # the signal keeps its size through the ReLUs
        state[f"features.{index}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=generator)
        state[f"features.{index}.bias"] = 0.05 * torch.randn(width, generator=generator)
    for index in (0, 3, 6):
        state[f"classifier.{index}.weight"] = torch.randn(4, 4, generator=generator)
        state[f"classifier.{index}.bias"] = torch.randn(4, generator=generator)
    return state


@pytest.fixture(scope="session")
def vgg_file(vgg_state: dict[str, Tensor], tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("vgg") / "vgg19-dcbb9e9d.pth"
    # The published file, too, is in the format from before torch 1.6.
    torch.save(vgg_state, path, _use_new_zipfile_serialization=False)
    return path
