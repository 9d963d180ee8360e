"""Fixtures and marks that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA GPU")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with Set5, B100, Urban100 and train; they are not part of the project."""
    folder = Path(os.environ.get("AWSRN_FAST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "Set5" / "HR").is_dir():
        pytest.skip(f"no benchmark images in {folder}: set AWSRN_FAST_DATA to a folder with Set5/HR, B100/HR, ...")
    return folder
