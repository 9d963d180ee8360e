"""Modelled performance of a card: ``python benchmarks/roofline.py [--card "RTX 2080 Ti"] [--results results]``.

All output comes from the model in ``card_model.py``; only the column that ``--results`` (of a run on that card) fills
is measured. ``report.py`` adds the same figures to the report of a run on a known card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from card_model import CARDS, HEAD, Card, card_of, cells, described, model
from network_model import model_of
from report import read
from rows import DTYPE_NAMES, NetworkRow, op_rows

from awsrn_fast.errors import UserError

NETWORKS = ("network", "model: floor", "model: estimate", "model: eager channels_last", "eager / estimate", "measured")
VARIANTS = ("improved-s", "improved-full", "awsrn-s", "awsrn-full")


def table(card: Card, dtype: torch.dtype, measured: dict[str, float]) -> list[tuple[str, ...]]:
    """Lines of text, one per row, under :data:`HEAD`."""
    return [cells(model(row, card, measured.get(row.name))) for row in op_rows((dtype,))]


def network_cells(row: NetworkRow, card: Card, measured: float | None) -> tuple[str, ...]:
    """A network's modelled times, under :data:`NETWORKS`."""
    found = model_of(row, card)
    expected = found.estimate
    return (
        row.name,
        f"{1e3 * found.floor:.2f} ms",
        "-" if expected is None else f"{1e3 * expected:.2f} ms",
        f"{1e3 * found.eager:.2f} ms",
        "-" if expected is None else f"{found.eager / expected:.1f}",
        "-" if measured is None else f"{1e3 * measured:.2f} ms",
    )


def _measured(path: Path | None, name: str) -> dict[str, float]:
    if path is None:
        return {}
    rows, machine = read(path)
    if card_of(machine["device"]) != name:
        raise UserError(f"{path} was measured on {machine['device']}, not on {name}")
    return {row["row"]: row["contenders"][row["leader"]]["median_s"] for row in rows}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {name: dtype for dtype, name in DTYPE_NAMES.items()}
    parser.add_argument("--card", choices=CARDS, default="RTX 2080 Ti")
    parser.add_argument("--dtype", choices=names, default="fp16")
    parser.add_argument("--results", type=Path, help="JSON of a benchmark run on that card")
    args = parser.parse_args(argv)
    card = CARDS[args.card]
    print(f"{args.card}: {described(card)}\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    measured = _measured(args.results, args.card)
    for line in table(card, names[args.dtype], measured):
        print(f"| {' | '.join(line)} |")
    print(f"\n| {' | '.join(NETWORKS)} |\n|{'---|' * len(NETWORKS)}")
    for variant in VARIANTS:
        row = NetworkRow(variant, 4, 256, 256, names[args.dtype])
        print(f"| {' | '.join(network_cells(row, card, measured.get(row.name)))} |")


if __name__ == "__main__":
    main()
