"""One step of stage G: whose gradients come from which loss, and what a step that fails leaves behind."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from awsrn_fast.config import Config
from awsrn_fast.losses import VGG19Features
from awsrn_fast.models import create
from awsrn_fast.train.adversarial_step import AdversarialStep
from awsrn_fast.train.discriminator_state import DiscriminatorState
from awsrn_fast.train.distributed import World
from awsrn_fast.train.state import Learner

LAYERS = ("conv1_2",)


@pytest.fixture(scope="module")
def config(vgg_file) -> Config:
    chosen = {"variant": "awsrn-sd", "stage": "G", "init": "p.safetensors", "vgg_weights": str(vgg_file)}
    # One memory format, so that the formulas below round as the step does.
    rest = {
        "channels_last": False,
        "perceptual_layers": LAYERS,
        "perceptual_norm": "l1",
        "curriculum": False,
        "patch": 48,
        "sgdr": False,
    }
    found = Config(**chosen, **rest, lr=1e-4, discriminator_lr=4e-4, iterations=10, clip=0.0)
    found.check()
    return found


def make_step(config: Config, scale_gradients: bool = False) -> AdversarialStep:
    torch.manual_seed(0)
    learner = Learner(create(config.variant, config.scale).train(), 0.9, scale_gradients, config.betas)
    learner.discriminator_state = DiscriminatorState(config, torch.device("cpu"))
    return AdversarialStep(config, learner, torch.float32, World())


@pytest.fixture
def step(config) -> AdversarialStep:
    return make_step(config)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lr = torch.rand(2, 3, 48, 48, generator=generator)
    return lr, F.interpolate(lr, scale_factor=4, mode="bicubic").clamp(0, 1)


def weights_of(step: AdversarialStep) -> dict[str, dict[str, torch.Tensor]]:
    learner = step.learner
    networks = {
        "network": learner.model,
        "average": learner.average,
        "discriminator": learner.discriminator_state.discriminator,
    }
    return {name: copy.deepcopy(network.state_dict()) for name, network in networks.items()}


def gradients_of(network: torch.nn.Module) -> list[torch.Tensor | None]:
    return [p.grad if p.grad is None else p.grad.clone() for p in network.parameters()]


def test_each_network_learns_from_its_own_loss_alone(step, batch, monkeypatch) -> None:
    network, discriminator = step.learner.model, step.discriminator_state.discriminator
    backward, seen = step.backward, []

    def watched(loss) -> None:
        backward(loss)
        seen.append((gradients_of(network), gradients_of(discriminator)))

    monkeypatch.setattr(step, "backward", watched)
    step.gradients(*batch)
    (network_first, discriminator_first), (network_second, discriminator_second) = seen
    assert all(g is not None for g in network_first) and all(g is None for g in discriminator_first)
    assert all(torch.equal(a, b) for a, b in zip(network_first, network_second, strict=True))
    assert all(g is not None and g.abs().max() > 0 for g in discriminator_second)
    assert all(p.requires_grad for p in discriminator.parameters())
    assert all(p.grad is None for p in step.discriminator_state.loss.parameters())


def test_gradients_are_those_of_the_stage_s_formulas(step, batch, config) -> None:
    lr, hr = batch
    network, discriminator = copy.deepcopy(step.learner.model), copy.deepcopy(step.discriminator_state.discriminator)
    losses = step.gradients(lr, hr)

    output = network(lr)
    features = VGG19Features(config.vgg_weights, LAYERS)
    perceptual = (features(output)["conv1_2"] - features(hr)["conv1_2"]).abs().mean()
    adversarial = -F.logsigmoid(discriminator(output)).mean()
    total = 1e-2 * (output - hr).abs().mean() + perceptual + 5e-3 * adversarial
    expected = torch.autograd.grad(total, list(network.parameters()))
    judged = -F.logsigmoid(discriminator(hr)).mean() - F.logsigmoid(-discriminator(output.detach())).mean()
    expected_d = torch.autograd.grad(judged, list(discriminator.parameters()))

    assert [loss.item() for loss in losses] == pytest.approx([total.item(), judged.item()], rel=1e-5)
    for found, wanted in zip(gradients_of(step.learner.model), expected, strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()
    for found, wanted in zip(gradients_of(step.discriminator_state.discriminator), expected_d, strict=True):
        assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def test_a_step_changes_both_networks_at_their_own_rates(step, batch) -> None:
    before = weights_of(step)
    step.learner.iteration = 4  # the third fifth of the run: both rates have been halved twice
    assert step(*batch) is not None
    after = weights_of(step)
    for name in before:
        assert any(not torch.equal(before[name][key], after[name][key]) for key in before[name]), name
    network, discriminator = step.learner.optimizer.param_groups[0], step.discriminator_state.optimizer.param_groups[0]
    assert (network["lr"], discriminator["lr"]) == pytest.approx((0.25e-4, 1e-4))
    assert network["betas"] == discriminator["betas"] == (0.9, 0.99)
    figures = step.figures()
    assert ["iteration", *figures] == list(step.columns)
    assert 0 < figures["real"] < 1 and 0 < figures["fake"] < 1
    assert step.figures() == {}


@pytest.mark.parametrize("which", ["network's", "discriminator's"])
def test_a_step_without_finite_losses_changes_neither(step, batch, which, monkeypatch) -> None:
    step(*batch)
    step.figures()
    before, moments = weights_of(step), copy.deepcopy(step.discriminator_state.optimizer.state_dict()["state"])
    lr, hr = batch
    if which == "network's":
        lr = lr * float("nan")
    else:
        judge = step.judge
        monkeypatch.setattr(step, "judge", lambda real, fake: judge(real * float("inf"), fake))
    assert step(lr, hr) is None
    after = weights_of(step)
    for name in before:
        assert all(torch.equal(before[name][key], after[name][key]) for key in before[name]), name
    for slot, values in step.discriminator_state.optimizer.state_dict()["state"].items():
        assert all(torch.equal(values[key], moments[slot][key]) for key in values)
    assert step.figures() == {}
    monkeypatch.undo()
    assert step(*batch) is not None


def test_scaled_gradients_lead_to_the_same_step(step, batch, config) -> None:
    scaled = make_step(config, scale_gradients=True)
    for each in (step, scaled):
        assert each(*batch) is not None
    for a, b in zip(gradients_of(step.learner.model), gradients_of(scaled.learner.model), strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm()
    plain, found = (gradients_of(each.discriminator_state.discriminator) for each in (step, scaled))
    assert all((a - b).norm() <= 1e-5 * a.norm() for a, b in zip(plain, found, strict=True))
    before = weights_of(scaled)
    scaled.learner.scaler.update(1e38)  # overflows the network's gradients, not the discriminator's smaller ones
    assert scaled(*batch) is not None
    after = weights_of(scaled)
    assert all(torch.equal(value, after["network"][key]) for key, value in before["network"].items())
    assert not any(torch.equal(value, after["discriminator"][key]) for key, value in before["discriminator"].items())
    assert scaled.learner.overflows == 1 and scaled.learner.scaler.get_scale() == pytest.approx(0.5e38)


def test_the_discriminator_learns_to_tell(step, batch) -> None:
    first = step.gradients(*batch)[1].item()
    for group in step.discriminator_state.optimizer.param_groups:
        group["lr"] = 1e-4
    for _ in range(2):
        step.discriminator_state.optimizer.zero_grad()
        judged = step.gradients(*batch)[1].item()
        step.discriminator_state.optimizer.step()
    assert judged < first
