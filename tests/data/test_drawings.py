from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("drawings", ROOT / "training/drawings.py")
drawings = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawings)


@pytest.fixture(scope="module")
def fonts() -> list[Path]:
    import matplotlib

    found, _ = drawings.find_fonts(Path(matplotlib.get_data_path(), "fonts/ttf"))
    return [path for path in found if path.name.startswith("DejaVu")]


@pytest.mark.parametrize("index", range(3))
def test_a_drawing_is_a_function_of_seed_and_index(index: int, fonts: list[Path]) -> None:
    first, again, other = (np.array(drawings.draw(seed, index, fonts, [])) for seed in (0, 0, 1))
    assert first.shape == (drawings.SIDE, drawings.SIDE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(np.diff(first.astype(int), axis=1)).max() > 100, "sharp edges are what it is for"


def test_fonts_without_latin_letters_and_icons_are_told_apart(tmp_path: Path, fonts: list[Path]) -> None:
    (tmp_path / "a.ttf").symlink_to(fonts[0])
    (tmp_path / "fontawesome.ttf").symlink_to(fonts[0])
    (tmp_path / "broken.otf").write_bytes(os.urandom(100))
    assert drawings.find_fonts(tmp_path) == ([tmp_path / "a.ttf"], [tmp_path / "fontawesome.ttf"])
