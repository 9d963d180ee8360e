from __future__ import annotations

from pathlib import Path

import pytest
from runs import SMALL_RUN, make_photos


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("AWSRN_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def options(photos: Path, tmp_path: Path) -> list[str]:
    """A run of a few steps on the CPU, into ``tmp_path / "run"``."""
    return [*SMALL_RUN, "--data", str(photos), "--out", str(tmp_path / "run")]
