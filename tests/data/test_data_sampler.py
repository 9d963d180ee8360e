from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from awsrn_fast.data import Degradation, PatchSampler, make_lr, open_photos, upscale
from awsrn_fast.errors import UserError
from awsrn_fast.metrics import luma


@pytest.fixture
def photos(tmp_path, photo, save):
    for i, (height, width) in enumerate([(80, 120), (64, 160), (24, 40)]):
        save(tmp_path / f"photos/{i}.png", photo(height, width, seed=i))
    return open_photos([tmp_path / "photos"], 2)


def _places(sampler, patch, count):
    return [sampler.place(iteration, 0, patch) for iteration in range(count)]


def test_a_batch_is_a_pure_function_of_seed_iteration_and_index(photos):
    sampler, copy = PatchSampler(photos, 7), pickle.loads(pickle.dumps(PatchSampler(photos, 7)))
    later = sampler.batch(5, 16, 8)
    for i in (9, 0, 5):
        copy.batch(i, 16, 8)
    again = copy.batch(5, 16, 8)
    assert torch.equal(later[0], again[0]) and torch.equal(later[1], again[1])
    assert torch.equal(copy.batch(5, 16, 3, first=5)[1], later[1][5:])
    others = [PatchSampler(photos, 8).batch(5, 16, 8), sampler.batch(6, 16, 8)]
    assert all(other[0].shape != later[0].shape or not torch.equal(other[0], later[0]) for other in others)
    assert len({sampler.place(0, i, 16) for i in range(20)}) > 10


def test_pairs_are_the_same_place_at_both_resolutions(photos):
    sampler = PatchSampler(photos, 0)
    for iteration in range(10):
        lr, hr = sampler.batch(iteration, 16, 4)
        assert lr.dtype == hr.dtype == torch.uint8
        assert hr.shape == (4, 3, 2 * lr.shape[2], 2 * lr.shape[3])
        for index in range(4):
            place = sampler.place(iteration, index, 16)
            photo = photos[place.photo]
            part = photo.lr[place.top : place.top + place.size, place.left : place.left + place.size]
            part = np.rot90(part[:, ::-1] if place.flip else part, place.turns)
            np.testing.assert_array_equal(lr[index].permute(1, 2, 0).numpy(), part)
            mean = hr[index].float().view(3, place.size, 2, place.size, 2).mean((2, 4))
            assert (mean - lr[index]).abs().mean() < 12  # bicubic LR is close to the mean of its HR block


def test_uniform_patches_cover_the_images_area(photos):
    sampler = PatchSampler(photos, 0, fass_fraction=0)
    places = _places(sampler, 12, 6000)
    areas = np.array([40 * 60, 32 * 80, 12 * 20])
    counts = np.array([sum(place.photo == i for place in places) for i in range(3)])
    np.testing.assert_allclose(counts / 6000, areas / areas.sum(), atol=0.02)
    tops = Counter(place.top for place in places if place.photo == 0)
    assert set(tops) == set(range(40 - 12 + 1))
    assert max(tops.values()) < 1.6 * min(tops.values())
    turned = Counter((place.flip, place.turns) for place in places)
    assert len(turned) == 8 and min(turned.values()) > 6000 / 8 * 0.85


def _bicubic_psnr(photo, place):
    top, left, size = 2 * place[1], 2 * place[2], 2 * place[0]
    error = luma(upscale(photo.lr, 2)) - luma(photo.hr)
    return 10 * np.log10(255**2 / (error[top : top + size, left : left + size] ** 2).mean())


def test_hard_patches_are_the_worst_quarter_of_the_grid(photos):
    size = 10
    sampler = PatchSampler(photos, 0, fass_fraction=1.0)
    grid = []
    for i, photo in enumerate(photos):
        height, width = photo.lr.shape[:2]
        tops, lefts = (sorted({*range(0, side - size + 1, 5), side - size}) for side in (height, width))
        grid += [(_bicubic_psnr(photo, (size, y, x)), i, y, x) for y in tops for x in lefts]
    worst = {place[1:] for place in sorted(grid)[: int(np.ceil(len(grid) / 4))]}
    drawn = Counter((place.photo, place.top, place.left) for place in _places(sampler, size, 4000))
    assert set(drawn) == worst
    assert max(drawn.values()) < 3 * min(drawn.values())


def test_half_of_the_patches_are_hard_by_default(photos):
    hard = {(p.photo, p.top, p.left) for p in _places(PatchSampler(photos, 0, fass_fraction=1.0), 10, 3000)}
    off, default = (PatchSampler(photos, 0, **options) for options in ({"fass_fraction": 0.0}, {}))
    share = [np.mean([(p.photo, p.top, p.left) in hard for p in _places(s, 10, 3000)]) for s in (off, default)]
    assert share[0] < 0.05
    assert share[1] == pytest.approx(0.5 + share[0] / 2, abs=0.04)


def test_small_images_have_batches_of_their_own(photos):
    sampler = PatchSampler(photos, 0)
    sizes = Counter()
    for iteration in range(400):
        lr, _ = sampler.batch(iteration, 36, 3)
        sizes[lr.shape[2]] += 1
        assert {sampler.place(iteration, i, 36).size for i in range(3)} == {lr.shape[2]}
    assert set(sizes) == {36, 32, 12}  # the patch, and the short sides of the two smaller images
    areas = {36: 40 * 60, 32: 32 * 80, 12: 12 * 20}
    for size, count in sizes.items():
        assert count / 400 == pytest.approx(areas[size] / sum(areas.values()), abs=0.07)


def test_errors_are_computed_once(photos, cache_place, monkeypatch):
    PatchSampler(photos, 0)
    files = list(cache_place.rglob("*bicubic-error.npy"))
    assert len(files) == 3
    monkeypatch.setattr("awsrn_fast.data.sampler.upscale", None)
    PatchSampler(photos, 0).batch(0, 8, 2)
    with pytest.raises(UserError, match="FASS"):
        PatchSampler(photos, 0, fass_fraction=1.5)
    with pytest.raises(UserError, match="seed"):
        PatchSampler(photos, -1)


def test_no_augmentation_when_asked(photos):
    places = _places(PatchSampler(photos, 0, augment=False), 8, 50)
    assert {(place.flip, place.turns) for place in places} == {(False, 0)}


def test_a_degraded_patch_is_that_of_the_whole_image_and_drawn_anew(photos):
    """Blur and kernels alone draw nothing, so a patch with its surroundings must equal the same part of the image."""
    fixed = Degradation(blur=1.2, resize=("lanczos",))
    sampler = PatchSampler(photos, seed=3, degradation=fixed)
    plain = PatchSampler(photos, seed=3)
    lr, hr = sampler.batch(5, 8, 6)
    assert torch.equal(hr, plain.batch(5, 8, 6)[1])
    for index in range(6):
        place = sampler.place(5, index, 8)
        whole = make_lr(np.asarray(photos[place.photo].hr), photos.scale, fixed)
        part = whole[place.top : place.top + place.size, place.left : place.left + place.size]
        part = np.rot90(part[:, ::-1] if place.flip else part, place.turns)
        np.testing.assert_array_equal(lr[index].permute(1, 2, 0).numpy(), part)

    drawn = PatchSampler(photos, seed=3, degradation=Degradation(noise=(0, 20), jpeg=(40, 95)))
    first, again, later = drawn.batch(5, 8, 6)[0], drawn.batch(5, 8, 6)[0], drawn.batch(6, 8, 6)[0]
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert torch.equal(drawn.batch(5, 8, 3, first=3)[0], first[3:])
