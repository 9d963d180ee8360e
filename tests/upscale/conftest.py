"""The command with a network that takes no time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from torch import nn
from torch.nn import functional as F

import awsrn_fast
from awsrn_fast.upscale.command import main


class Bicubic(nn.Module):
    facts = SimpleNamespace(scale=2, receptive_field=9, block=None, halo=0, non_local=False, activations=400)

    def fuse(self) -> Bicubic:
        return self

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="bicubic")


@pytest.fixture
def bicubic(monkeypatch) -> type[Bicubic]:
    """The class of what ``awsrn_fast.load`` gives."""
    monkeypatch.setattr(awsrn_fast, "load", lambda weights: Bicubic())
    return Bicubic


@pytest.fixture
def upscale(bicubic) -> Callable[..., int]:
    """Run the command; its exit status."""
    return lambda *arguments: main([*map(str, arguments), "--weights", "unused", "--device", "cpu"])
