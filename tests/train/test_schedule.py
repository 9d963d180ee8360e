from __future__ import annotations

from dataclasses import replace

import pytest

from awsrn_fast.config import Config
from awsrn_fast.train.loader import _ahead
from awsrn_fast.train.schedule import cycle_ends, learning_rate, phase_at

CONFIG = Config(iterations=1000, lr=1e-3, lr_min=1e-7)


def test_curriculum_changes_at_30_and_70_percent() -> None:
    sizes = [(phase_at(i, CONFIG).patch, phase_at(i, CONFIG).batch) for i in (0, 299, 300, 699, 700, 999)]
    assert sizes == [(32, 32), (32, 32), (48, 16), (48, 16), (64, 8), (64, 8)]
    plain = replace(CONFIG, curriculum=False, patch=40, batch=5)
    assert {phase_at(i, plain)[1:] for i in (0, 500, 999)} == {(40, 5)}


def test_sgdr_restarts_four_times_and_ends_low() -> None:
    for start in (0, 250, 500, 750):
        assert learning_rate(start, CONFIG) == pytest.approx(1e-3)
        assert learning_rate(start + 125, CONFIG) == pytest.approx(0.5e-3, rel=1e-3)
        assert learning_rate(start + 249, CONFIG) == pytest.approx(1e-7, abs=5e-8)
    assert cycle_ends(CONFIG) == [250, 500, 750, 1000]
    assert cycle_ends(replace(CONFIG, iterations=10)) == [3, 5, 8, 10]


def test_a_single_cycle_stays_at_its_peak_for_the_plateau_and_then_falls() -> None:
    single = replace(CONFIG, cycles=1, plateau=0.8)
    assert [learning_rate(i, single) for i in (0, 400, 799)] == [1e-3] * 3
    assert learning_rate(900, single) == pytest.approx(0.5e-3, rel=1e-3)
    assert learning_rate(999, single) == pytest.approx(1e-7, abs=2e-7)
    assert cycle_ends(single) == [1000]
    longer = replace(single, iterations=2000)  # what --resume with more --iterations does
    assert learning_rate(1599, longer) == 1e-3


def test_without_sgdr_the_rate_is_halved_at_every_fifth() -> None:
    plain = replace(CONFIG, sgdr=False)
    rates = [learning_rate(i, plain) for i in (0, 199, 200, 400, 600, 800, 999)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4, 1.25e-4, 6.25e-5, 6.25e-5])


def test_batches_made_ahead_come_in_order_and_errors_reach_the_caller() -> None:
    assert list(_ahead(iter(range(1, 8)))) == [1, 2, 3, 4, 5, 6, 7]

    def failing():
        yield 1
        raise OSError("disk gone")

    made = _ahead(failing())
    assert next(made) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(made)
