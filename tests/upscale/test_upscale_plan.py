from __future__ import annotations

import os
from pathlib import Path

import pytest

from awsrn_fast.errors import UserError
from awsrn_fast.upscale.plan import plan


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """in/{a.png, sub/b.JPG, sub/notes.txt, .hidden.png}, one.png, two.tif; paths relative to it."""
    for name in ("in/a.png", "in/sub/b.JPG", "in/sub/notes.txt", "in/.hidden.png", "one.png", "two.tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pairs(inputs, out, format=None, overwrite=False) -> list[tuple[str, str]]:
    return [(j.source.as_posix(), j.target.as_posix()) for j in plan(inputs, out, format, overwrite)]


@pytest.mark.parametrize(
    ("out", "format", "target"),
    [
        ("x.png", None, "x.png"),
        ("new/x.JPEG", None, "new/x.JPEG"),
        ("x.jpeg", "jpeg", "x.jpeg"),
        ("folder", None, "folder/one.png"),
        ("v1.2/", None, "v1.2/one.png"),
        ("in", None, "in/one.png"),
        ("folder", "webp", "folder/one.webp"),
    ],
)
def test_one_file(tree, out, format, target):
    assert pairs(["one.png"], out, format) == [("one.png", target)]


def test_folder_keeps_its_structure_and_formats(tree):
    assert pairs(["in"], "out") == [("in/a.png", "out/a.png"), ("in/sub/b.JPG", "out/sub/b.JPG")]
    assert pairs(["in", "one.png"], "out", "png") == [
        ("in/a.png", "out/a.png"),
        ("in/sub/b.JPG", "out/sub/b.png"),
        ("one.png", "out/one.png"),
    ]


def test_output_below_the_input_is_not_read_again(tree):
    assert pairs(["in"], "in/large") == [("in/a.png", "in/large/a.png"), ("in/sub/b.JPG", "in/large/sub/b.JPG")]
    (tree / "in/large").mkdir()
    (tree / "in/large/a.png").touch()
    assert len(pairs(["in"], "in/large", overwrite=True)) == 2


def test_a_file_named_twice_is_done_once(tree):
    assert pairs(["one.png", "one.png"], "out") == [("one.png", "out/one.png")]


def test_unknown_suffix_becomes_png(tree):
    (tree / "scan").touch()
    assert pairs(["scan"], "out") == [("scan", "out/scan.png")]


@pytest.mark.parametrize(
    ("inputs", "out", "format", "message"),
    [
        (["gone.png"], "out", None, "no such file or folder: gone.png"),
        (["one.png", "two.tif"], "in/a.png", None, "in/a.png is a file; several images need a folder"),
        (["in"], "x.png", None, "x.png names one image; several images need a folder"),
        (["one.png"], "x.gif", None, "cannot write x.gif"),
        (["one.png"], "x.png", "webp", "--format webp does not fit the name x.png"),
        (["one.png"], "two.tif/x.png", None, "two.tif is a file"),
    ],
)
def test_wrong_usage_is_found_before_any_work(tree, inputs, out, format, message):
    with pytest.raises(UserError, match=message) as caught:
        plan(inputs, out, format, overwrite=True)
    assert caught.value.status == 2


def test_folder_without_images(tree):
    (tree / "empty").mkdir()
    with pytest.raises(UserError, match="no images in empty"):
        plan(["empty"], "out", None, False)


def test_two_inputs_for_one_output_are_named(tree):
    (tree / "in/a.jpg").touch()
    assert len(plan(["in"], "out", None, False)) == 3
    with pytest.raises(UserError, match=r"in/a\.jpg and in/a\.png would both become out/a\.png"):
        plan(["in"], "out", "png", False)


def test_existing_outputs_need_overwrite(tree):
    (tree / "out/sub").mkdir(parents=True)
    (tree / "out/a.png").touch()
    (tree / "out/sub/b.JPG").touch()
    with pytest.raises(UserError, match=r"out/a\.png exists \(and 1 more\): give --overwrite"):
        plan(["in"], "out", None, False)
    assert len(plan(["in"], "out", None, True)) == 2


@pytest.mark.parametrize("link", [None, os.symlink, os.link], ids=["itself", "symlink", "hardlink"])
def test_an_input_is_never_overwritten(tree, link):
    if link:
        link(tree / "one.png", tree / "x.png")
    with pytest.raises(UserError, match=r"would overwrite the input one\.png"):
        plan(["one.png"], "x.png" if link else "./one.png", None, True)


def test_folder_onto_itself_is_refused_but_another_format_beside_is_not(tree):
    with pytest.raises(UserError, match="would overwrite the input"):
        plan(["in"], "in", None, True)
    assert pairs(["in"], "in", "webp") == [("in/a.png", "in/a.webp"), ("in/sub/b.JPG", "in/sub/b.webp")]


@pytest.fixture
def folding(tmp_path) -> bool:
    """Whether the disk takes names that differ in case only for one."""
    (tmp_path / "probe").touch()
    return (tmp_path / "PROBE").exists()


@pytest.mark.parametrize(
    "names",
    [("Straße.png", "Strasse.png"), ("a.png", "A.png"), ("sub/é.png", "sub/e\u0301.png"), ("a/x.png", "A/x.png")],
)
def test_names_that_fold_alike_are_two_files_where_the_disk_says_so(tree, folding, names):
    if folding:
        pytest.skip("the disk folds names")
    for name in names:
        (tree / "in2" / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / "in2" / name).touch()
    assert {target for _, target in pairs(["in2"], "out")} == {f"out/{name}" for name in names}
    assert {path.name for path in tree.iterdir()} == {"in", "in2", "one.png", "two.tif", "probe"}  # nothing stays


def test_names_that_fold_alike_are_one_file_where_the_disk_says_so(tree, monkeypatch):
    for name in ("Straße.png", "Strasse.png"):
        (tree / "in" / name).touch()
    monkeypatch.setattr("awsrn_fast.upscale.plan._one_file", lambda first, second: True)
    with pytest.raises(UserError, match=r"in/Strasse\.png and in/Straße\.png would both become out/Straße\.png"):
        plan(["in"], "out", None, False)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".jif", ".dib"])
def test_other_suffixes_of_known_formats(tree, suffix):
    (tree / f"in/b{suffix}").touch()
    assert (f"in/b{suffix}", f"out/b{suffix}") in pairs(["in"], "out")


def test_what_a_folder_holds_beside_is_counted_by_suffix(tree):
    for name in ("b.gif", "sub/c.GIF", "d.jp2", "README", ".e.gif"):
        (tree / "in" / name).touch()
    (tree / "in/link").symlink_to(tree / "in/sub")
    (tree / "in/again").symlink_to(tree / "in")
    said = []
    jobs = plan(["in"], "out", None, False, say=said.append)
    assert len(jobs) == 2
    assert said == ["left out: 2 .gif, 1 .jp2, 1 .txt, 1 without a suffix, 2 linked folders"]
    assert plan(["one.png"], "out", None, False, say=said.append) and len(said) == 1
    (tree / "other").mkdir()
    (tree / "other/a.gif").touch()
    with pytest.raises(UserError, match=r"no images in other .*left out: 1 \.gif"):
        plan(["other"], "out", None, False)


def test_links_to_one_file_are_no_two_outputs(tree):
    (tree / "in/b.png").touch()
    (tree / "out").mkdir()
    (tree / "store.png").touch()
    for name in "ab":
        (tree / f"out/{name}.png").symlink_to(tree / "store.png")
    with pytest.raises(UserError, match=r"out/a\.png and out/b\.png are links to one file"):
        plan(["in"], "out", None, True)
