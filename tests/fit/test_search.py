"""The search for the largest size, the sizes people write, and the table of cards."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from awsrn_fast.errors import UserError
from awsrn_fast.fit.cards import CARDS, find_card
from awsrn_fast.memory import ASSUMED, Assumptions, Prediction, Tracker, largest, need, parse_size, show_size
from awsrn_fast.memory.budget import GIB


@given(
    costs=st.lists(st.integers(0, 100), min_size=1, max_size=60).map(sorted),
    limit=st.integers(-5, 105),
    step=st.integers(1, 4),
    power=st.integers(1, 2),
    start=st.integers(1, 250),
)
@settings(max_examples=300, deadline=None)
def test_the_largest_is_found_on_any_rising_cost(
    costs: list[int], limit: int, step: int, power: int, start: int
) -> None:
    most, exact = step * len(costs), step * sum(cost <= limit for cost in costs)
    assert largest(lambda size: costs[size // step - 1], limit, step, power, most, start) == exact
    assert largest(lambda size: costs[size // step - 1], limit, step, power, most, start, by_curve=True) <= exact


@pytest.mark.parametrize("power", [1, 2])
def test_a_few_looks_are_enough_where_the_cost_is_as_told(power: int) -> None:
    looks = []

    def cost(size: int) -> int:
        looks.append(size)
        return 1000 + 37 * size**power

    for by_curve, most_looks in ((False, 4), (True, 3)):
        looks.clear()
        found = largest(cost, 10**9, power=power, most=10**9, start=16, by_curve=by_curve)
        assert len(looks) <= most_looks
        assert cost(found) <= 10**9 < cost(found + 1)


def test_a_kink_in_the_cost_is_not_taken_for_the_curve() -> None:
    def cost(size: int) -> int:
        return 100 * size if size <= 50 else 5000 + 3 * (size - 50)

    assert largest(cost, 5300, start=16, by_curve=True) == 150


@pytest.mark.parametrize(
    "text, size",
    [("11GB", 11 * 2**30), ("512 MiB", 2**29), ("0.5g", 2**29), ("2TB", 2**41), ("1kb", 1024)],
)
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "11", "GB", "-1GB", "1 GBit", "0GB", "1e3MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is not a size: write a number with its unit, such as 11GB"):
        parse_size(text)


def test_sizes_are_shown_in_the_unit_that_fits() -> None:
    assert (show_size(2**29), show_size(10 * 2**30 + 2**29)) == ("512 MB", "10.50 GB")


def test_what_is_assumed_is_added_to_what_is_predicted() -> None:
    prediction = Prediction(weights=10, average=10, optimizer=20, batch=5, work=55, largest=30)
    parts = need(prediction, Assumptions(context=7, workspace=3, scratch=0.5, fragmentation=0.1))
    assert (parts.allocated, parts.context, parts.workspace, parts.margin, parts.total) == (100, 7, 18, 10, 135)
    assert need(prediction, ASSUMED["cuda"]).total > need(prediction, ASSUMED["cpu"]).total > prediction.peak


@pytest.mark.parametrize(
    "name, memory",
    # What torch.cuda.get_device_properties(0).total_memory is in out-of-memory messages, in GiB.
    [("NVIDIA GeForce RTX 2080 Ti", 10.76), ("tesla t4", 14.75), ("RTX3090", 23.69), ("A100 80GB", 79.15)],
)
def test_usable_memory_is_close_below_what_torch_reports(name: str, memory: float) -> None:
    usable = find_card(name)[1].usable / GIB
    assert 0.98 * memory < usable <= memory


def test_every_card_is_found_by_its_name() -> None:
    assert all(find_card(name) == (name, card) for name, card in CARDS.items())


def test_an_unknown_card_is_one_line_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="'RTX 9999' is not in the table: .*--memory 11GB; known are .*RTX 2080 Ti"):
        find_card("RTX 9999")
    with pytest.raises(UserError, match="may be any of A100 40GB, A100 80GB: say which"):
        find_card("A100")


def test_the_tracker_counts_storages_once_and_as_long_as_they_live() -> None:
    with Tracker() as tracker:
        first = torch.empty(1000)
        views = [first.view(10, 100), first[10:], first.t()]
        assert tracker.live == 4000
        del first
        assert tracker.live == 4000  # the views keep the storage
        del views
        assert (tracker.live, tracker.peak) == (0, 4000)
        tracker.restart()
        torch.empty(100).add_(1).mul(2).sum()
        assert (tracker.live, tracker.peak, tracker.largest) == (0, 800, 400)
    with Tracker(granularity=512) as rounded:
        kept = [torch.empty(1), torch.empty(129)]
        assert (len(kept), rounded.live) == (2, 512 + 1024)


@pytest.mark.parametrize(
    "printed, name",
    [
        ("NVIDIA GeForce RTX 2080 Ti", "RTX 2080 Ti"),
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", "RTX 3060 Laptop"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", "RTX 2070"),
    ],
)
def test_names_as_nvidia_smi_prints_them(printed: str, name: str) -> None:
    assert find_card(printed)[0] == name
