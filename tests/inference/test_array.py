"""``model.upscale`` on everything that programs hold images in."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from PIL import Image

import awsrn_fast
from awsrn_fast.inference import SelfEnsemble, Tensors
from awsrn_fast.inference.colors import keep_colors
from awsrn_fast.models import AWSRN, create


@pytest.fixture(scope="module")
def model() -> AWSRN:
    torch.manual_seed(0)
    return AWSRN(2, channels=8, wide=16, blocks=1, units=2).eval()


def rgb(height: int = 9, width: int = 7, planes: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, planes), np.uint8)


def expected(model: AWSRN, values: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
    with torch.no_grad():
        return keep_colors(x, model(x), model.scale)[0].permute(1, 2, 0).numpy()


def with_info(**info: object) -> Image.Image:
    image = Image.new("L", (2, 2))
    image.info |= info
    return image


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_whole_numbers_are_rounded_once(model, dtype, top) -> None:
    image = (rgb().astype(np.float64) / 255 * top).astype(dtype)
    large = model.upscale(image)
    exact = expected(model, image.astype(np.float32) / top)
    assert large.dtype == dtype and large.shape == (18, 14, 3)
    assert np.abs(large - np.clip(exact, 0, 1) * top).max() <= 0.5 + 1e-4 * top


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_values_are_not_clipped(model, dtype) -> None:
    image = (2 * (rgb() / 255) - 0.5).astype(dtype)
    large = model.upscale(image)
    assert large.dtype == dtype and large.min() < 0 and large.max() > 1
    np.testing.assert_allclose(
        large, expected(model, image.astype(np.float32)), atol=1e-5 if dtype != np.float16 else 2e-3
    )


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 2), (5, 6, 3), (5, 6, 4), (1, 1), (1, 40, 3)])
def test_planes_stay_what_they_are(model, shape) -> None:
    image = np.random.default_rng(1).random(shape, np.float32)
    assert model.upscale(image).shape == (2 * shape[0], 2 * shape[1], *shape[2:])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_pillow_images_come_back_as_such(model, mode) -> None:
    image = Image.new(mode, (7, 4), 40000 if mode == "I;16" else None)
    large = model.upscale(image)
    assert isinstance(large, Image.Image) and (large.mode, large.size) == (mode, (14, 8))
    if mode == "RGB":
        np.testing.assert_array_equal(np.asarray(large), model.upscale(np.asarray(image)))


@pytest.mark.parametrize("shape", [(3, 5, 6), (2, 3, 5, 6), (1, 1, 5, 6), (4, 5, 6)])
def test_tensors_keep_batch_dtype_and_planes(model, shape) -> None:
    x = torch.rand(shape)
    y = model.upscale(x)
    assert y.shape == (*shape[:-2], 10, 12) and y.dtype == torch.float32
    if shape == (2, 3, 5, 6):
        with torch.no_grad():
            torch.testing.assert_close(y, keep_colors(x, model(x), model.scale), rtol=1e-5, atol=1e-5)
    eight_bit = model.upscale((255 * x).to(torch.uint8))
    assert eight_bit.dtype == torch.uint8 and eight_bit.shape == y.shape
    assert model.upscale(x.double()).dtype == torch.float64


def test_opaque_alpha_stays_and_varying_alpha_is_upscaled(model) -> None:
    image = rgb(planes=4)
    image[..., 3] = 255
    assert (model.upscale(image)[..., 3] == 255).all()
    np.testing.assert_array_equal(model.upscale(image)[..., :3], model.upscale(image[..., :3]))
    image[:, :3, 3] = 0
    assert len(np.unique(model.upscale(image)[..., 3])) > 2


def test_tiles_and_self_ensemble(model) -> None:
    image = rgb(40, 30).astype(np.float32) / 255
    np.testing.assert_allclose(model.upscale(image, tile=16), model.upscale(image, tile=0), atol=1e-5)
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.no_grad():
        views = keep_colors(x, SelfEnsemble(model)(x), model.scale)[0].permute(1, 2, 0)
    np.testing.assert_allclose(model.upscale(image, self_ensemble=True), views, atol=1e-5)


def test_a_memory_limit_cuts_into_tiles(monkeypatch) -> None:
    """Which of the sizes was taken shows in what the network sees."""
    torch.manual_seed(0)
    large = create("awsrn-s", 2).eval().fuse()
    seen = []
    large.tail.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[2:].numel()))
    image = np.zeros((300, 300, 3), np.uint8)
    monkeypatch.setattr("awsrn_fast.inference.process_memory.resident", lambda: 300 * 2**20)
    large.upscale(image, memory_limit=500 * 2**20)
    assert len(seen) > 1 and max(seen) * large.facts.activations < 120 * 2**20
    with pytest.raises(awsrn_fast.errors.RunError, match="300x300 pixels in the smallest tiles need"):
        large.upscale(image, memory_limit=350 * 2**20)


def test_threads_may_share_a_network() -> None:
    """With gates in play, which are replaced in copies: results as of one thread, and the network untouched."""
    torch.manual_seed(0)
    shared = create("improved-s", 2).eval().fuse()
    before = {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in shared.state_dict().items()}
    pictures = [rgb(40 + 3 * i, 36) for i in range(4)]
    alone = [shared.upscale(picture, tile=32) for picture in pictures]
    together: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        for _ in range(2):
            together[index] = shared.upscale(pictures[index], tile=32)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(pictures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, result in enumerate(alone):
        np.testing.assert_array_equal(together[index], result)
    assert before == {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in shared.state_dict().items()}


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((3, 4, 5)), ValueError, r"an array must be \[H, W\] or \[H, W, 1..4\]"),
        (np.zeros((0, 4, 3)), ValueError, "an array must be"),
        (np.zeros((3, 4), np.int32), TypeError, "an array must be uint8, uint16 or floating point"),
        (torch.zeros(5, 3, 4), ValueError, r"a tensor must be \[C, H, W\]"),
        (torch.zeros(3, 3, 4, dtype=torch.int64), TypeError, "a tensor must be uint8 or floating point"),
        (torch.zeros(0, 3, 3, 4), ValueError, "the batch is empty"),
        (with_info(transparency=7), ValueError, "has a transparent colour: convert it to LA or RGBA"),
        (Image.new("P", (2, 2)), ValueError, "mode L, LA, RGB, RGBA, I;16, not P: convert it"),
        (np.full((3, 4, 3), np.nan), awsrn_fast.errors.RunError, "not finite"),
    ],
)
def test_wrong_images_are_named(model, image, error, message) -> None:
    with pytest.raises(error, match=message):
        model.upscale(image)


def test_a_source_in_memory_gives_its_windows() -> None:
    x = torch.arange(60.0).reshape(1, 3, 4, 5)
    source = Tensors(x)
    assert (source.height, source.width) == (4, 5)
    assert torch.equal(source.window(1, 3, 2, 5), x[:, :, 1:3, 2:5])


def test_a_form_with_8_bit_results_is_refused() -> None:
    model = create("awsrn-sd", 2).fuse(out_dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"floating point results: fuse the model without out_dtype=torch.uint8"):
        model.upscale(np.zeros((4, 5), np.uint8))


def test_info_of_a_pillow_image_is_that_of_the_larger_one():
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A], exif[0x8769] = "Maker", 6, 300.0, {0xA002: 6, 0xA20E: 100.0}
    image = Image.new("RGB", (6, 4))
    image.info = {
        "dpi": (300, 150),
        "icc_profile": b"profile",
        "comment": b"x",
        "gamma": 0.45,
        "jfif_unit": 1,
        "exif": exif.tobytes(),
        "xmp": b"<x tiff:Orientation='6' tiff:ImageWidth='6'/>",
    }
    image.text = {"Title": "picture"}
    before = dict(image.info)
    large = create("awsrn-sd", 2).eval().upscale(image)
    found = Image.Exif()
    found.load(large.info.pop("exif"))
    assert large.info == {
        "dpi": (600, 300),
        "icc_profile": b"profile",
        "comment": b"x",
        "gamma": 0.45,
        "Title": "picture",
        "xmp": b"<x tiff:Orientation='6' tiff:ImageWidth='12'/>",
    }
    assert (found[0x010F], found[0x0112], float(found[0x011A])) == ("Maker", 6, 600)
    assert found.get_ifd(0x8769)[0xA002] == 12 and float(found.get_ifd(0x8769)[0xA20E]) == 200
    assert image.info == before
