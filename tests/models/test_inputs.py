"""What a network is given: a sentence for what it cannot take, one warning for values that it does not expect."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from awsrn_fast.models import AWSRN, ImprovedAWSRN, SuperResolution

X = torch.rand(1, 3, 8, 9)


def network() -> SuperResolution:
    torch.manual_seed(0)
    return ImprovedAWSRN(2, channels=16, wide=32, blocks=1, units=2, kernels=(1, 3)).eval()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "x, error, said",
    [
        ((255 * X).byte(), TypeError, "got torch.uint8: divide 8-bit values by 255"),
        (X.long(), TypeError, r"floating point in \[0, 1\], got torch.int64"),
        (X > 0.5, TypeError, "got torch.bool"),
        (X.to(torch.complex64), TypeError, "got torch.complex64"),
        (X.double(), TypeError, r"x is torch.float64, the network torch.float32: call x.to\(torch.float32\)"),
        (X.half(), TypeError, "x is torch.float16, the network torch.float32"),
        (X.numpy(), TypeError, r"must be a tensor \[N, 3, H, W\], got ndarray; upscale\(\) takes arrays"),
        (Image.new("RGB", (4, 4)), TypeError, "got Image; upscale"),
        ([[0.0]], TypeError, "got list"),
        (None, TypeError, "got NoneType"),
        (X[0], ValueError, r"got shape \[3, 8, 9\]; add the batch dimension: x\[None\]"),
        (X[:, :1], ValueError, r"x must be RGB \[N, 3, H, W\] in \[0, 1\], got shape \[1, 1, 8, 9\]"),
        (torch.rand(1, 4, 8, 9), ValueError, r"got shape \[1, 4, 8, 9\]"),
        (X.permute(0, 2, 3, 1), ValueError, r"got shape \[1, 8, 9, 3\]"),
        (X[:, :, :0], ValueError, r"got shape \[1, 3, 0, 9\]"),
        (X.to_sparse(), TypeError, r"dense tensor, got torch.sparse_coo: call x.to_dense\(\)"),
        (X.to("meta"), ValueError, r"x is on meta, the network on cpu: call x.to\('cpu'\)"),
    ],
)
def test_wrong_input_is_named(x: object, error: type[Exception], said: str, fused: bool) -> None:
    model = network().fuse() if fused else network()
    with pytest.raises(error, match=said):
        model(x)


def messages(model: SuperResolution, *inputs: torch.Tensor) -> list[str]:
    with warnings.catch_warnings(record=True) as caught, torch.no_grad():
        warnings.simplefilter("always")
        for x in inputs:
            model(x)
    assert all(w.filename == __file__ for w in caught), "a warning names the line that calls the network"
    return [str(w.message) for w in caught]


def test_values_far_outside_are_warned_of_once() -> None:
    model = network()
    assert messages(model, X, X + 0.3, X - 0.3) == []
    (said,) = messages(model, 255 * X, 255 * X)
    assert "the network expects [0, 1]: divide 8-bit values by 255" in said
    assert messages(model, -X - 1) == [], "one warning a network"
    assert len(messages(network().fuse(), 2 * X - 2)) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_warned_of_once(value: float) -> None:
    x = X.clone()
    x[0, 0, 3, 3] = value
    (said,) = messages(network(), x, x)
    assert "not finite (NaN or infinity), and so will the result" in said


def test_tiles_warn_once_too() -> None:
    model = network().fuse()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.upscale(255 * torch.rand(3, 40, 70), tile=32)
    assert len([w for w in caught if "expects [0, 1]" in str(w.message)]) == 1


@pytest.mark.parametrize("kind", [AWSRN, ImprovedAWSRN])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_upscale_with_weights_in_another_dtype(kind: type[SuperResolution], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = kind(2, channels=16, wide=32, blocks=1, units=2).eval()
    for form in (model, model.fuse()):
        image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        exact = form.upscale(image)
        cast = form.to(dtype)
        assert np.abs(cast.upscale(image).astype(int) - exact).max() <= 1
        assert np.abs(cast.upscale(image, dtype=torch.bfloat16).astype(int) - exact).max() <= 6
        assert cast.head["0"].bias.dtype == dtype, "the network itself must stay as it is"
