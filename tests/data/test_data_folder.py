from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from awsrn_fast.data import find_images, find_lr, read_rgb, sample_folder
from awsrn_fast.errors import RunError, UserError


def _names(files):
    return [file.name for file in files]


def test_plain_folders_are_searched_at_any_depth_in_order(tmp_path, photo, save):
    for name in ("b.PNG", "a.jpg", "deep/er/c.webp", ".hidden/d.png", "deep/.e.png"):
        save(tmp_path / name, photo())
    (tmp_path / "notes.txt").write_text("no image")
    assert _names(find_images([tmp_path])) == ["a.jpg", "b.PNG", "c.webp"]
    assert _names(find_images([tmp_path / "a.jpg", tmp_path])) == ["a.jpg", "b.PNG", "c.webp"]


def test_the_hr_folder_of_a_set_is_found_and_its_lr_left_out(tmp_path, photo, save):
    save(tmp_path / "Set/HR/a.png", photo())
    save(tmp_path / "Set/LR_bicubic/X4/ax4.png", photo())
    save(tmp_path / "Set/preview.png", photo())
    assert _names(find_images([tmp_path / "Set"])) == ["a.png"]
    assert _names(find_images([tmp_path])) == ["a.png"]


@pytest.mark.parametrize("layout", [("DIV2K_train_HR", "DIV2K_valid_HR"), ("train", "valid")])
def test_layouts_decide_the_split(tmp_path, photo, save, layout):
    for folder, name in zip(layout, ("0800.png", "0801.png"), strict=True):
        save(tmp_path / folder / name, photo(seed=int(name[:4])))
    if layout[0].startswith("DIV2K"):
        save(tmp_path / "DIV2K_train_LR_bicubic/X4/0800x4.png", photo())
    both = [tmp_path / folder for folder in layout]
    for folders in ([tmp_path], both):
        assert _names(find_images(folders, "train")) == ["0800.png"]
        assert _names(find_images(folders, "valid")) == ["0801.png"]
        assert len(find_images(folders)) == 2


@pytest.mark.parametrize("count, held_out", [(2, 1), (20, 1), (50, 2), (300, 10)])
def test_a_plain_folder_holds_out_a_few_by_content(tmp_path, count, held_out):
    folder = tmp_path / "train"  # a name that says one split only does not decide
    folder.mkdir()
    for i in range(count):
        (folder / f"{i:03}.png").write_bytes(f"not decoded here {i}".encode())
    train, valid = find_images([folder], "train"), find_images([folder], "valid")
    assert len(valid) == held_out
    assert sorted(train + valid) == find_images([folder])
    digests = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in train + valid}
    assert max(digests[file] for file in valid) < min(digests[file] for file in train)


def test_a_single_image_is_in_both_splits(tmp_path, photo, save):
    save(tmp_path / "a.png", photo())
    assert find_images([tmp_path], "train") == find_images([tmp_path], "valid") == [tmp_path / "a.png"]


def test_missing_and_empty_folders_are_errors(tmp_path):
    with pytest.raises(UserError, match="no folder .*nowhere"):
        find_images([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="no image in"):
        find_images([tmp_path])


def test_read_rgb_gives_three_upright_channels(tmp_path, photo, save):
    image = photo(6, 8)
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "rgb.png", image)), image)
    gray = read_rgb(save(tmp_path / "gray.png", image[..., 0]))
    np.testing.assert_array_equal(gray, np.repeat(image[..., :1], 3, 2))
    alpha = np.dstack([image, np.arange(48, dtype=np.uint8).reshape(6, 8)])
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "alpha.png", alpha)), image)
    Image.fromarray(image).quantize(256).save(tmp_path / "palette.png")
    assert np.abs(read_rgb(tmp_path / "palette.png").astype(int) - image).mean() < 8
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_rgb(save(tmp_path / "turned.png", image, exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(image, -1))
    assert turned.flags.c_contiguous and turned.flags.writeable


def test_a_broken_image_is_one_line_that_names_it(tmp_path, photo, save):
    whole = save(tmp_path / "a.jpg", photo(200, 200)).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match=r"a\.jpg: ") as caught:
        read_rgb(tmp_path / "a.jpg")
    assert "\n" not in str(caught.value)


def test_lr_files_are_found_by_the_usual_names(tmp_path, photo, save):
    hr = tmp_path / "HR/baby.png"
    with pytest.raises(RunError, match="no LR image babyx4"):
        find_lr(tmp_path, hr, 4)
    plain = save(tmp_path / "baby.png", photo())
    assert find_lr(tmp_path, hr, 4) == plain
    usual = save(tmp_path / "X4/babyx4.png", photo())
    assert find_lr(tmp_path, hr, 4) == usual
    assert find_lr(tmp_path / "X4", hr, 4) == usual


def test_the_embedded_sample_is_what_it_should_be():
    train, valid = find_images([sample_folder()], "train"), find_images([sample_folder()], "valid")
    files = [*train, *valid]
    assert 6 <= len(files) <= 10
    assert 1 <= len(valid) <= 2
    assert sum(file.stat().st_size for file in files) <= 4e6
    licences = (sample_folder() / "LICENSES.md").read_text(encoding="utf-8")
    for file in files:
        assert min(read_rgb(file).shape[:2]) >= 512
        row = next(line for line in licences.splitlines() if f"| {file.parent.name}/{file.name} |" in line)
        assert row.split("|")[-2].strip() in ("CC0 1.0", "public domain")


@pytest.mark.parametrize(
    "links", [{"again": "."}, {"a": ".", "b": "."}, {"in/up": ".."}, {"x": "in", "y": "in"}, {"c": "c"}]
)
def test_links_that_lead_back_give_each_file_once(tmp_path, save, photo, links) -> None:
    for i, name in enumerate(("0.png", "1.png", "in/2.png")):
        save(tmp_path / "set" / name, photo(16, 16, seed=i))
    for name, target in links.items():
        (tmp_path / "set" / name).symlink_to(target)
    found = find_images([tmp_path / "set", tmp_path / "set" / "in"])
    assert sorted(path.name for path in found) == ["0.png", "1.png", "2.png"]


def test_a_linked_folder_and_a_linked_file_elsewhere_are_followed(tmp_path, save, photo) -> None:
    save(tmp_path / "elsewhere" / "0.png", photo(16, 16))
    save(tmp_path / "single.png", photo(16, 16, seed=1))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "single.png")
    assert [path.name for path in find_images([tmp_path / "set"])] == ["1.png", "0.png"]


@pytest.mark.parametrize("layout", [("a{}.png", "b{}.png"), ("train/a{}.png", "valid/b{}.png")])
def test_a_copy_of_a_validation_image_is_not_trained_on(tmp_path, save, photo, layout) -> None:
    for i in range(6):
        for name in layout:
            if i < 5 or name == layout[0]:
                save(tmp_path / name.format(i), photo(16, 16, seed=i))
    train, valid = ({path.read_bytes() for path in find_images([tmp_path], split)} for split in ("train", "valid"))
    assert train and valid and not train & valid
    assert len(train | valid) == 6
