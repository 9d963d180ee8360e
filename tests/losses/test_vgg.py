"""VGG19 features and the perceptual loss against plain numpy, and what a wrong file leads to."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from awsrn_fast.errors import UserError
from awsrn_fast.losses import PerceptualLoss, VGG19Features
from awsrn_fast.losses.vgg import LAYERS, SHA256, file_sha256

# Of torchvision's vgg19().features.
BLOCKS = [(0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28, 30, 32, 34)]
NAMES = {f"conv{b}_{i}": n for b, block in enumerate(BLOCKS, 1) for i, n in enumerate(block, 1)}
POOLED_BEFORE = (5, 10, 19, 28)


def by_hand(state, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every convolution's output for ``image [3, H, W]``, in fp64."""
    x = (image - np.array([0.485, 0.456, 0.406])[:, None, None]) / np.array([0.229, 0.224, 0.225])[:, None, None]
    features = {}
    for name, index in NAMES.items():
        if index:
            x = np.maximum(x, 0)
        if index in POOLED_BEFORE:
            height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
            even, odd = x[:, 0:height:2, :width], x[:, 1:height:2, :width]
            rows = np.maximum(even, odd)
            x = np.maximum(rows[:, :, 0::2], rows[:, :, 1::2])
        weight = state[f"features.{index}.weight"].double().numpy()
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        total = np.zeros((len(weight), *x.shape[1:]))
        for dy in range(3):
            for dx in range(3):
                shifted = padded[:, dy : dy + x.shape[1], dx : dx + x.shape[2]]
                total += np.tensordot(weight[:, :, dy, dx], shifted, axes=1)
        x = total + state[f"features.{index}.bias"].double().numpy()[:, None, None]
        features[name] = x
    return features


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random((2, 3, 17, 20)), rng.random((2, 3, 17, 20))


@pytest.fixture(scope="module")
def shallow(vgg_file) -> VGG19Features:
    return VGG19Features(vgg_file, ("conv1_2",))


def test_every_layer_is_the_convolution_before_its_relu(vgg_file, vgg_state, images) -> None:
    features = VGG19Features(vgg_file, NAMES).double()
    found = features(torch.from_numpy(images[0]))
    assert list(found) == list(NAMES) and LAYERS == NAMES
    for n, image in enumerate(images[0]):
        for name, expected in by_hand(vgg_state, image).items():
            np.testing.assert_allclose(found[name][n].numpy(), expected, rtol=1e-6, atol=1e-6, err_msg=name)
            assert expected.min() < 0, name


@pytest.mark.parametrize(("norm", "power"), [("l2", 2), ("l1", 1)])
@pytest.mark.parametrize("layers", [("conv5_4",), ("conv2_2", "conv5_4")])
def test_perceptual_loss_is_equation_13(vgg_file, vgg_state, images, layers, norm, power) -> None:
    expected = 0.0
    for layer in layers:
        per_image = []
        for output, target in zip(*images, strict=True):
            a, b = by_hand(vgg_state, output)[layer], by_hand(vgg_state, target)[layer]
            channels, height, width = a.shape
            per_image.append((np.abs(a - b) ** power).sum() / (channels * height * width))
        expected += sum(per_image) / len(per_image)
    loss = PerceptualLoss(VGG19Features(vgg_file, layers), norm)
    found = loss(*(torch.from_numpy(image).float() for image in images))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_only_as_deep_as_the_deepest_layer(vgg_file) -> None:
    features = VGG19Features(vgg_file, ("conv2_2", "conv1_1"))
    assert list(features.convolutions) == ["conv1_1", "conv1_2", "conv2_1", "conv2_2"]
    assert list(features(torch.rand(1, 3, 4, 4))) == ["conv1_1", "conv2_2"]
    assert (features.smallest, VGG19Features(vgg_file, ("conv5_4",)).smallest) == (2, 16)


def test_vgg_is_frozen_and_gradients_flow_to_the_output_alone(shallow) -> None:
    loss = PerceptualLoss(shallow)
    output, target = torch.rand(1, 3, 8, 8, requires_grad=True), torch.rand(1, 3, 8, 8, requires_grad=True)
    before = {name: tensor.clone() for name, tensor in shallow.state_dict().items()}
    loss(output, target).backward()
    assert not shallow.training and not any(p.requires_grad or p.grad is not None for p in shallow.parameters())
    assert output.grad.abs().max() > 0 and target.grad is None
    assert all(torch.equal(before[name], tensor) for name, tensor in shallow.state_dict().items())
    assert loss(target, target).item() == 0


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_gradient_is_that_of_the_loss(vgg_file, norm) -> None:
    generator = torch.Generator().manual_seed(1)
    loss = PerceptualLoss(VGG19Features(vgg_file, ("conv1_2", "conv2_2")), norm).double()
    output, target, direction = (torch.rand(1, 3, 6, 6, dtype=torch.float64, generator=generator) for _ in range(3))
    output.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(output, target), output)
    step = 1e-6  # the ReLUs' kinks are far from most points
    with torch.no_grad():
        slope = (loss(output + step * direction, target) - loss(output - step * direction, target)) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-5)


def test_under_autocast_the_loss_stays_close_and_fp32(vgg_file) -> None:
    loss = PerceptualLoss(VGG19Features(vgg_file, ("conv2_2",)))
    output, target = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(output, target)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(loss(output, target).item(), rel=0.02)


def test_wrong_arguments_are_said(vgg_file, shallow) -> None:
    with pytest.raises(UserError, match=r"no layer 'relu5_4' in VGG19: use names from conv1_1 to conv5_4"):
        VGG19Features(vgg_file, ("conv5_4", "relu5_4"))
    with pytest.raises(UserError, match="no layer of VGG19 given"):
        VGG19Features(vgg_file, ())
    with pytest.raises(ValueError, match=r"sides >= 1, got \[1, 1, 8, 8\]"):
        shallow(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match=r"sides >= 16, got \[1, 3, 15, 99\]"):
        VGG19Features(vgg_file, ("conv5_1",))(torch.rand(1, 3, 15, 99))
    with pytest.raises(ValueError, match="norm must be 'l2' or 'l1'"):
        PerceptualLoss(shallow, "huber")
    with pytest.raises(ValueError, match=r"output is \[1, 3, 8, 8\] and target \[2, 3, 8, 8\]"):
        PerceptualLoss(shallow)(torch.rand(1, 3, 8, 8), torch.rand(2, 3, 8, 8))


class TestFiles:
    def refused(self, path, message: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            VGG19Features(path, ("conv2_2",))
        said = str(error.value)
        assert "\n" not in said and str(path) in said and error.value.status == 2
        assert "VGG19_Weights.IMAGENET1K_V1, vgg19-dcbb9e9d.pth" in said and f"SHA-256 {SHA256}" in said

    def test_missing(self, tmp_path) -> None:
        self.refused(tmp_path / "vgg19-dcbb9e9d.pth", "no VGG19 weights")
        self.refused(tmp_path, "Is a directory")
        assert SHA256.startswith("dcbb9e9d") and len(SHA256) == 64

    @pytest.mark.parametrize("zipped", [False, True])
    def test_cut_short(self, vgg_state, tmp_path, zipped) -> None:
        path = tmp_path / "cut.pth"
        torch.save(dict(list(vgg_state.items())[:8]), path, _use_new_zipfile_serialization=zipped)
        assert VGG19Features(path, ("conv2_2",)).smallest == 2
        whole = path.read_bytes()
        for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            self.refused(path, "cannot read VGG19 weights")

    def test_something_else(self, vgg_state, tmp_path) -> None:
        path = tmp_path / "other.pth"
        path.write_bytes(b"<html>404</html>")
        self.refused(path, "cannot read VGG19 weights")
        torch.save(torch.nn.Linear(2, 2), path)  # needs code to load
        self.refused(path, "not a file of tensors alone")
        torch.save([1, 2], path)
        self.refused(path, "not a state dict")
        missing = {k: v for k, v in vgg_state.items() if k != "features.7.bias"}
        torch.save({k: v for k, v in missing.items() if "features" in k and v.numel() < 150_000}, path)
        self.refused(path, "it has no features.7.bias")
        batch_norm = {"features.0.weight": vgg_state["features.0.weight"], "features.0.bias": torch.zeros(64)}
        torch.save(batch_norm | {"features.2.weight": torch.zeros(128, 64, 3, 3)}, path)
        self.refused(path, r"features.2.weight is \[128, 64, 3, 3\], not \[64, 64, 3, 3\]")

    def test_sha256_of_a_file(self, tmp_path) -> None:
        path = tmp_path / "some.pth"
        path.write_bytes(bytes(range(256)) * 5000)
        assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(UserError, match="no VGG19 weights .*gone.pth"):
            file_sha256(tmp_path / "gone.pth")
