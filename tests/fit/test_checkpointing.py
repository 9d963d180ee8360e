"""Activation checkpointing: the same gradients, less memory, nothing in the weights file."""

from __future__ import annotations

import pytest
import torch

from awsrn_fast.memory import Network, Target, predict_training
from awsrn_fast.models import create
from awsrn_fast.nn.residual import AWRU


def gradients(variant: str, checkpoint: bool, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = create(variant, 2).train()
    model.checkpointing = checkpoint
    picture = torch.rand(2, 3, 20, 23)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        output = model(picture)
    output.float().square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("variant", ["awsrn-m", "improved-m"])
def test_gradients_are_the_same_bits(variant: str, dtype: torch.dtype) -> None:
    kept, computed_again = (gradients(variant, checkpoint, dtype) for checkpoint in (False, True))
    assert any(gradient.any() for gradient in kept.values())
    for name, gradient in kept.items():
        assert torch.equal(gradient, computed_again[name]), name


def test_the_blocks_run_again_in_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create("awsrn-m", 2)
    model.checkpointing = True
    calls = []
    unit = AWRU._unit
    monkeypatch.setattr(AWRU, "_unit", lambda *arguments: calls.append(1) or unit(*arguments))
    units = sum(isinstance(module, AWRU) for module in model.modules())
    picture = torch.rand(1, 3, 8, 8)
    model.train()(picture).sum().backward()
    assert len(calls) == 2 * units
    calls.clear()
    with torch.no_grad():
        model(picture)
    model.eval()(picture)
    assert len(calls) == 2 * units
    assert model.state_dict().keys() == create("awsrn-m", 2).state_dict().keys()


@pytest.mark.parametrize("variant", ["awsrn-full", "improved-full"])
def test_memory_falls_to_less_than_half_with_four_blocks(variant: str) -> None:
    target = Target("cuda", (7, 5), torch.float16)
    kept, computed_again = (
        predict_training(Network(variant, 4, checkpoint_activations=checkpoint), target, batch=16, patch=48)
        for checkpoint in (False, True)
    )
    assert computed_again.work < 0.5 * kept.work
    assert (computed_again.weights, computed_again.optimizer) == (kept.weights, kept.optimizer)
