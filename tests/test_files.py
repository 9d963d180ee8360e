"""Files are replaced whole, through links, and with the permissions they had."""

from __future__ import annotations

import os

import pytest

from awsrn_fast.errors import RunError
from awsrn_fast.files import replacing, write_text


@pytest.mark.parametrize("target", ["store/t.txt", "store/new.txt"])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_link_stays_and_its_target_is_written(tmp_path, target, steps):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/t.txt").write_text("old")
    (tmp_path / "l1").symlink_to(target)
    (tmp_path / "l2").symlink_to("l1")
    write_text(tmp_path / f"l{steps}", "new")
    assert (tmp_path / "l1").is_symlink() and (tmp_path / "l2").is_symlink()
    assert (tmp_path / target).read_text() == "new"
    assert {p.name for p in (tmp_path / "store").iterdir()} == {"t.txt", target.split("/")[1]}


def test_links_that_lead_nowhere_are_refused_and_stay(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("gone/x")
    for name, reason in (("a", "Too many levels of symbolic links"), ("c", "No such file or directory")):
        with pytest.raises(RunError, match=f"{name}: {reason}"):
            write_text(tmp_path / name, "new")
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b", "c"}


def test_permissions_stay(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    os.chmod(path, 0o600)
    write_text(path, "new")
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == 0o600


def test_a_failure_leaves_the_target_of_a_link(tmp_path):
    (tmp_path / "t").write_text("old")
    (tmp_path / "l").symlink_to("t")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "l") as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "t").read_text() == "old" and {p.name for p in tmp_path.iterdir()} == {"t", "l"}
