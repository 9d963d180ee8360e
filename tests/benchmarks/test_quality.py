from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import quality

import awsrn_fast
from awsrn_fast.checkpoint import bundled_names
from awsrn_fast.evaluate.sets import open_sets
from awsrn_fast.metrics import super_resolve

FIGURES = json.loads(quality.FIGURES.read_text(encoding="utf-8"))


def test_every_bundled_file_was_measured_as_it_is() -> None:
    assert {name: FIGURES[name]["sha256"] for name in bundled_names()} == {
        name: quality.checksum(name) for name in bundled_names()
    }


@pytest.mark.parametrize("path", quality.texts(), ids=lambda path: path.name)
def test_tables_show_what_was_measured(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert quality.with_tables(text, FIGURES) == text, "run python benchmarks/quality.py"


def test_every_card_has_its_table() -> None:
    for name in bundled_names():
        assert f"<!-- quality: {name} -->" in (quality.BUNDLED / f"{name}.md").read_text(encoding="utf-8")


def test_a_table_is_opened_by_bicubic_and_takes_the_largest_offset() -> None:
    figures = {
        "bicubic-x2": {"scale": 2, "sets": {"A": {"psnr": 30, "ssim": 0.8, "offset": 0.0, "residual": 3}}},
        "net": {
            "scale": 2,
            "parameters": 1000,
            "sets": {
                "A": {"psnr": 31, "ssim": 0.9, "offset": -0.5, "residual": 1},
                "B": {"psnr": 29, "ssim": 0.7, "offset": 0.25, "residual": 2},
            },
        },
    }
    lines = quality.table(["net"], figures).splitlines()
    assert lines[2] == "| bicubic-x2 | - | 30.00 / 0.8000 | - | +0.00 | 3.00 |"
    assert lines[3] == "| net | 1,000 | 31.00 / 0.9000 | 29.00 / 0.7000 | -0.50 | 2.00 |"
    text = "before\n<!-- quality: net -->\nold\n<!-- /quality -->\nafter\n"
    assert "| net | 1,000 |" in quality.with_tables(text, figures)
    assert "old" not in quality.with_tables(text, figures)


@pytest.mark.slow
@pytest.mark.parametrize("name", bundled_names())
def test_figures_are_those_of_the_files(name: str, shared_data: Path) -> None:
    model = awsrn_fast.load(name)
    found = quality.measured(
        open_sets([str(shared_data / "Set5")], None), partial(super_resolve, model.fuse()), model.facts.scale
    )
    for key, tolerance in {"psnr": 0.005, "ssim": 1e-4, "offset": 0.02, "residual": 0.02}.items():
        assert found["Set5"][key] == pytest.approx(FIGURES[name]["sets"]["Set5"][key], abs=tolerance), key
