"""Discriminator, adversarial losses and stages against hand-computed values."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from awsrn_fast.losses import (
    STAGES,
    Discriminator,
    GeneratorLoss,
    PerceptualLoss,
    VGG19Features,
    discriminator_loss,
    generator_loss,
)

REAL, FAKE = (1.5, -0.25, 3.0), (-2.0, 0.75, 0.1)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def column(values) -> torch.Tensor:
    return torch.tensor(values)[:, None]


@pytest.fixture(scope="module")
def network() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator()


@pytest.fixture(scope="module")
def features(vgg_file) -> VGG19Features:
    return VGG19Features(vgg_file, ("conv1_2",))


def test_discriminator_loss_is_equation_14() -> None:
    expected = -sum(log(sigmoid(x)) for x in REAL) / 3 - sum(log(1 - sigmoid(x)) for x in FAKE) / 3
    assert discriminator_loss(column(REAL), column(FAKE)).item() == pytest.approx(expected, rel=1e-6)


def test_generator_loss_does_not_saturate() -> None:
    expected = -sum(log(sigmoid(x)) for x in FAKE) / 3
    assert generator_loss(column(FAKE)).item() == pytest.approx(expected, rel=1e-6)
    lost = torch.tensor([[-300.0]], requires_grad=True)
    loss = generator_loss(lost)
    loss.backward()
    assert (loss.item(), lost.grad.item()) == pytest.approx((300, -1))
    assert discriminator_loss(column((-200.0,)), column((150.0,))).item() == pytest.approx(350)


class TestDiscriminator:
    def test_is_what_its_description_says(self, network) -> None:
        x = torch.rand(2, 3, 192, 192)
        weights = iter(network.state_dict().values())
        y, sizes = 2 * x - 1, []
        for i, stride in enumerate([1, 2] * 5):
            y = F.conv2d(y, next(weights), next(weights) if i == 0 else None, stride, padding=1)
            if i:
                mean = y.mean((0, 2, 3), keepdim=True)
                variance = ((y - mean) ** 2).mean((0, 2, 3), keepdim=True)
                gain, shift = next(weights), next(weights)
                y = (y - mean) / (variance + 1e-5).sqrt() * gain[:, None, None] + shift[:, None, None]
            y = torch.where(y > 0, y, 0.2 * y)
            sizes.append((y.shape[1], y.shape[2]))
        widths, sides = (64, 128, 256, 512, 512), (192, 96, 48, 24, 12, 6)
        assert sizes == [(w, side) for i, w in enumerate(widths) for side in sides[i : i + 2]]
        y = y.flatten(1) @ next(weights).T + next(weights)
        assert y.shape == (2, 1024)
        y = torch.where(y > 0, y, 0.2 * y) @ next(weights).T + next(weights)
        assert next(weights, None) is None
        torch.testing.assert_close(network(x), y, rtol=1e-3, atol=1e-4)

    def test_statistics_are_the_batch_s_in_every_mode(self, network) -> None:
        x = torch.rand(2, 3, 192, 192)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        with torch.no_grad():
            trained, evaluated = network.train()(x), network.eval()(x)
            together, alone = network(x)[:1], network(x[:1])
        network.train()
        assert torch.equal(trained, evaluated)
        assert not torch.allclose(together, alone, atol=1e-5)
        assert not list(network.buffers())
        assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())

    def test_another_size_is_an_error(self, network) -> None:
        for shape in ((1, 3, 128, 128), (1, 3, 192, 96), (1, 1, 192, 192), (3, 192, 192)):
            with pytest.raises(ValueError, match=r"Discriminator: x must be \[N, 3, 192, 192\], got"):
                network(torch.zeros(shape))


class TestStages:
    @pytest.fixture
    def pair(self) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        return [torch.rand(3, 3, 8, 8, generator=generator) for _ in range(2)]

    def test_p_is_the_mean_absolute_difference(self, pair) -> None:
        a, b = (image.flatten().tolist() for image in pair)
        total, parts = GeneratorLoss(STAGES["P"])(*pair)
        assert total.item() == pytest.approx(sum(abs(x - y) for x, y in zip(a, b, strict=True)) / len(a), rel=1e-5)
        assert list(parts) == ["pixel"]

    @pytest.mark.parametrize(
        ("stage", "weights"), [("G", (1e-2, 1.0, 5e-3)), ("G-literal", (None, 5.0, 0.15))], ids=["G", "equation 15"]
    )
    def test_totals_of_the_adversarial_stages(self, features, pair, stage, weights) -> None:
        perceptual = PerceptualLoss(features, STAGES[stage].norm)
        total, parts = GeneratorLoss(STAGES[stage], perceptual)(*pair, column(FAKE))
        pixel = (pair[0] - pair[1]).abs().mean().item()
        by_hand = (pixel, perceptual(*pair).item(), -sum(log(sigmoid(x)) for x in FAKE) / 3)
        expected = sum(weight * value for weight, value in zip(weights, by_hand, strict=True) if weight)
        assert total.item() == pytest.approx(expected, rel=1e-5)
        names = ("pixel", "perceptual", "adversarial")
        assert {name: value.item() for name, value in parts.items()} == pytest.approx(
            {n: v for n, v, w in zip(names, by_hand, weights, strict=True) if w}, rel=1e-5
        )
        assert not any(value.requires_grad for value in parts.values())

    def test_norms_go_with_the_weights(self) -> None:
        assert (STAGES["G"].norm, STAGES["G-literal"].norm) == ("l1", "l2")
        assert [str(stage) for stage in STAGES.values()] == [
            "1 L1",
            "0.01 L1 + 1 VGG + 0.005 GAN",
            "5 VGG + 0.15 GAN",
        ]

    def test_what_is_missing_is_said(self, features, pair) -> None:
        with pytest.raises(ValueError, match="0.01 L1 \\+ 1 VGG \\+ 0.005 GAN needs the perceptual loss"):
            GeneratorLoss(STAGES["G"])
        with pytest.raises(ValueError, match="needs the discriminator's logits"):
            GeneratorLoss(STAGES["G"], PerceptualLoss(features))(*pair)
