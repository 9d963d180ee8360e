from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from awsrn_fast.data import Degradation, cache, cache_folder, crop_to_multiple, downscale, make_lr, open_photos
from awsrn_fast.errors import RunError, UserError
from awsrn_fast.files import remove_leftovers


@pytest.fixture
def folder(tmp_path, photo, save):
    for i in range(3):
        save(tmp_path / f"photos/{i}.png", photo(50 + i, 63, seed=i))
    return tmp_path / "photos"


def _counted(monkeypatch):
    reads = []
    monkeypatch.setattr(cache, "read_rgb", lambda path, real=cache.read_rgb: reads.append(path) or real(path))
    return reads


def test_photos_are_read_only_maps_of_the_right_pixels(folder, photo):
    photos = open_photos([folder], 4)
    assert len(photos) == 3 and photos.skipped == [] and photos.remarks == []
    for i, got in enumerate(photos):
        hr = crop_to_multiple(photo(50 + i, 63, seed=i), 4)
        assert got.name == str(i)
        assert isinstance(got.hr, np.memmap) and not got.hr.flags.writeable
        np.testing.assert_array_equal(got.hr, hr)
        np.testing.assert_array_equal(got.lr, downscale(hr, 4))
    assert [photo.name for photo in photos[1:]] == ["1", "2"]


def test_each_image_is_decoded_once_for_all_scales_and_settings(folder, monkeypatch):
    reads = _counted(monkeypatch)
    for scale in (2, 4, 8):
        open_photos([folder], scale)
    degraded = open_photos([folder], 4, degradation=Degradation(blur=1.0, noise=5.0))
    assert len(reads) == 3
    clean = open_photos([folder], 4)
    assert (degraded[0].lr != clean[0].lr).any()
    np.testing.assert_array_equal(degraded[0].hr, clean[0].hr)
    np.testing.assert_array_equal(degraded[0].lr, make_lr(np.array(clean[0].hr), 4, Degradation(blur=1.0, noise=5.0)))


def test_the_key_is_the_content(folder, photo, save, monkeypatch):
    open_photos([folder], 4)
    reads = _counted(monkeypatch)
    (folder / "0.png").rename(folder / "renamed.png")
    assert [p.name for p in open_photos([folder], 4)] == ["1", "2", "renamed"]
    assert reads == []
    save(folder / "1.png", photo(64, 64, seed=9))
    assert open_photos([folder], 4)[0].hr.shape == (64, 64, 3)
    assert reads == [folder / "1.png"]


def test_broken_images_are_skipped_and_named(folder):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:200])
    (folder / "4.png").write_bytes(b"")
    photos = open_photos([folder], 4)
    assert [p.name for p in photos] == ["0", "2"]
    assert len(photos.skipped) == 2
    assert "1.png: " in photos.skipped[0] and "4.png: the file is empty" in photos.skipped[1]


def test_a_folder_with_no_usable_image_is_an_error(tmp_path, photo, save):
    save(tmp_path / "tiny/a.png", photo(3, 20))
    with pytest.raises(UserError, match=r"none of the 1 images.*a\.png: 20x3 pixels is less than one pixel at scale 4"):
        open_photos([tmp_path / "tiny"], 4)


def test_the_split_is_among_usable_images(folder):
    train, valid = (open_photos([folder], 4, split=split) for split in ("train", "valid"))
    assert (len(train), len(valid)) == (2, 1)
    (folder / f"{valid[0].name}.png").write_bytes(b"broken")
    train, valid = (open_photos([folder], 4, split=split) for split in ("train", "valid"))
    assert (len(train), len(valid)) == (1, 1)
    (folder / f"{valid[0].name}.png").unlink()
    train, valid = (open_photos([folder], 4, split=split) for split in ("train", "valid"))
    assert train.files == valid.files
    assert "both training and validation" in train.remarks[0]


def test_lr_from_files(folder, tmp_path, photo, save):
    for i in range(3):
        save(tmp_path / f"LR/X4/{i}x4.png", photo(12 if i else 11, 15, seed=50 + i))
    photos = open_photos([folder], 4, lr_folder=tmp_path / "LR")
    np.testing.assert_array_equal(photos[0].lr, photo(12, 15, seed=51))
    assert photos.skipped[0].endswith("its LR image is 15x11, expected 15x12 at x4")
    with pytest.raises(UserError, match="degradation"):
        open_photos([folder], 4, lr_folder=tmp_path / "LR", degradation=Degradation(blur=1.0))


def test_photos_pickle_as_names_not_pixels(folder):
    photos = open_photos([folder], 4)
    data = pickle.dumps(photos)
    assert len(data) < 2000
    np.testing.assert_array_equal(pickle.loads(data)[2].lr, photos[2].lr)


def test_damaged_cache_files_are_made_again(folder, cache_place):
    expected = [np.array(p.lr) for p in open_photos([folder], 4)]
    cache.mapped.cache_clear()
    for file in cache_place.rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:150])
    for got, lr in zip(open_photos([folder], 4), expected, strict=True):
        np.testing.assert_array_equal(got.lr, lr)


def test_a_full_disk_is_an_error_that_leaves_nothing_behind(folder, cache_place, monkeypatch):
    def full(path, content):
        with open(path, "wb") as file:
            file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.Path, "write_bytes", full)
    with pytest.raises(RunError, match="No space left.*AWSRN_FAST_CACHE"):
        open_photos([folder], 4)
    monkeypatch.undo()
    assert [file for file in cache_place.rglob("*") if file.is_file()] == []


def test_leftovers_of_killed_runs_go_after_a_day(folder, cache_place):
    open_photos([folder], 4)
    place = next(cache_place.iterdir())
    old, new = place / ".000000000001.part.npy", place / ".000000000002.part.npy"
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    open_photos([folder], 4)
    assert not old.exists() and new.exists()


def test_a_file_that_another_process_renames_meanwhile_is_no_failure(folder, cache_place):
    open_photos([folder], 4)
    gone = next(cache_place.iterdir()) / ".000000000003.part.npy"
    gone.symlink_to("renamed")  # listed, and not there when it is looked at
    assert len(open_photos([folder], 4))


def _fill(folder, place, barrier, queue):
    barrier.wait()
    photos = open_photos([folder], 4, cache_dir=place)
    queue.put([int(p.lr.astype(int).sum()) for p in photos])


def test_two_processes_may_fill_one_cache(folder, tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_fill, args=(folder, tmp_path / "both", barrier, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    expected = [int(p.lr.astype(int).sum()) for p in open_photos([folder], 4, cache_dir=tmp_path / "alone")]
    assert sums == [expected, expected]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in Linux's /proc")
def test_maps_do_not_use_up_the_file_descriptors(tmp_path):
    for i in range(400):
        np.save(tmp_path / f"{i}.npy", np.zeros(3))
    before = len(os.listdir("/proc/self/fd"))
    for i in range(400):
        cache.mapped(tmp_path / f"{i}.npy")
    assert len(os.listdir("/proc/self/fd")) - before <= 256


def test_progress_is_told_of_every_image(folder):
    calls = []
    open_photos([folder], 2, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_where_the_cache_is(monkeypatch, tmp_path, cache_place):
    assert cache_folder() == cache_place
    monkeypatch.delenv("AWSRN_FAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg/awsrn_fast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/awsrn_fast"


def test_a_user_without_a_home_has_a_cache_all_the_same(monkeypatch, tmp_path):
    for name in ("AWSRN_FAST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cache.Path, "home", none)
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path))
    assert cache.cache_folder() == tmp_path / f"awsrn_fast-{os.getuid()}"
    monkeypatch.setenv("AWSRN_FAST_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(UserError, match="AWSRN_FAST_CACHE=~nobody-of-this-name/cache"):
        cache.cache_folder()


LEAVES_HALF = """
import os, signal, sys
from awsrn_fast.files import replacing
with replacing(sys.argv[1]) as beside:
    beside.write_bytes(b"half")
    print(beside, flush=True)
    {then}
"""


def test_what_a_killed_process_left_goes_at_once_and_what_a_live_one_writes_stays(tmp_path):
    def start(then, **options):
        code = LEAVES_HALF.format(then=then)
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "x.npy")], stdout=subprocess.PIPE, **options
        )

    killed = start("os.kill(os.getpid(), signal.SIGKILL)")
    half = Path(killed.communicate()[0].decode().strip())
    assert half.exists()
    alive = start("sys.stdin.read()", stdin=subprocess.PIPE)
    writing = Path(alive.stdout.readline().decode().strip())
    remove_leftovers(tmp_path)
    assert not half.exists() and writing.exists()
    alive.communicate()
    assert not writing.exists() and (tmp_path / "x.npy").read_bytes() == b"half"
