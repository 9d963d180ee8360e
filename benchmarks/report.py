"""One Markdown table and plots from a benchmark run: ``python benchmarks/report.py results -o docs/results``.

``results`` is the folder of ``python -m pytest benchmarks --store results``, from which an interrupted run resumes, or
the file of ``--benchmark-json``. Ratios above 1 mean that ours is faster than the best peer.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from card_model import CARDS, HEAD, Card, card_of, cells, described, model
from rows import DTYPE_NAMES, op_rows

from awsrn_fast.errors import UserError
from awsrn_fast.files import replacing, write_text

KINDS = {"OpRow": "Ops", "NetworkRow": "Networks", "TrainingRow": "Training steps"}


def main(argv: list[str] | None = None) -> Path:
    """Write the report; returns its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of a run's --store, or the file of its --benchmark-json")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/results"), metavar="DIR")
    args = parser.parse_args(argv)
    rows, machine = read(args.results)
    name = re.sub(r"[^a-z0-9]+", "-", machine["device"].lower()).strip("-")
    path = args.output / f"{name}.md"
    write_text(path, markdown(rows, machine, name))
    _plot(args.output / f"{name}-ratios.png", _draw_ratios, rows)
    _plot(args.output / f"{name}-roofline.png", _draw_roofline, rows)
    return path


def stored_as(folder: Path, row: str) -> Path:
    """File name of a row under ``--store``."""
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', row.lower()).strip('-')}.json"


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a run, in order, and the machine's facts."""
    try:
        if path.is_dir():
            files = sorted(path.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
            rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        else:
            found = json.loads(path.read_text(encoding="utf-8"))["benchmarks"]
            rows = [{**b["extra_info"], "group": b["group"]} for b in found]
        return rows, rows[0]["machine"]
    except (OSError, json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{path} does not hold a benchmark run ({type(error).__name__}: {error})") from error


def markdown(rows: list[dict[str, Any]], machine: dict[str, Any], name: str) -> str:
    """The table in Markdown: ratio, medians and spreads, achieved rates, memory."""
    facts = ", ".join(f"{key} {value}" for key, value in machine.items() if key != "device")
    lines = [f"# {machine['device']}", "", f"{facts}. {_state(rows)}", ""]
    lines += [
        "Medians of interleaved turns in one process, fastest and slowest turn in brackets; every contender passed "
        "the check against fp64 first. Ratio: best peer over ours. Ceilings are the most that torch reached on this "
        "machine in the same run. Peak: growth over the built network and one warm-up.",
        "",
        f"![ratios]({name}-ratios.png)",
        "",
        f"![roofline]({name}-roofline.png)",
    ]
    for group, title in KINDS.items():
        chosen = [row for row in rows if row["group"] == group]
        if chosen:
            lines += [
                "",
                f"## {title}",
                "",
                "| row | ours | best peer | ratio | arithmetic, bandwidth | peak, peer's |",
            ]
            lines += ["|---|---|---|---|---|---|", *map(_line, chosen)]
    lines += _beside_the_model(rows, machine["device"])
    return "\n".join(lines) + "\n"


def _state(rows: list[dict[str, Any]]) -> str:
    """Summary over all rows of the machine's state right before and after each."""
    states = [row[when] for row in rows for when in ("state_before", "state") if when in row]
    said = [f"load {_range(values)}" for values in [[state["load"] for state in states]] if values]
    for key, unit in (("clock_mhz", "MHz"), ("temperature_c", "degrees"), ("power_w", "W")):
        values = [state[key] for state in states if key in state]
        said += [f"{key.partition('_')[0]} {_range(values)} {unit}"] if values else []
    reasons = sorted({reason for state in states for reason in state.get("throttled", [])})
    said += [f"throttled by {', '.join(reasons)}"] if reasons else []
    return f"Right before and after the rows: {', '.join(said)}." if said else ""


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


class Expected(NamedTuple):
    """Expected results on Turing cards, none of which has been measured."""

    row: str
    what: str
    least: float
    of: Callable[[dict[str, Any], Card], float]


def _times_eager(row: dict[str, Any], card: Card) -> float:
    eager = min(times["median_s"] for name, times in row["contenders"].items() if name.startswith("eager"))
    return eager / row["contenders"][row["leader"]]["median_s"]


def _times_branches(row: dict[str, Any], card: Card) -> float:
    return row["contenders"]["eager branches"]["median_s"] / row["contenders"][row["leader"]]["median_s"]


def _share_of_bandwidth(row: dict[str, Any], card: Card) -> float:
    return row["gigabytes"] / card.bandwidth


def _share_of_products(row: dict[str, Any], card: Card) -> float:
    return row["gigaflops"] / 1e3 / card.tensor


EXPECTED = (
    Expected("dwpw_attention forward, 64 channels, 256x256, fp16", "times eager", 3, _times_eager),
    Expected("dwpw_attention forward, 64 channels, 256x256, fp16", "of the bandwidth", 0.75, _share_of_bandwidth),
    Expected("non_local forward, d=32, 96x96, fp16", "of the tensor cores' peak", 0.5, _share_of_products),
    Expected("awms forward, x4, 128x128, fp16", "times its branches", 1.8, _times_branches),
    Expected("improved-s x4, 128x128, fp16", "times eager", 2, _times_eager),
)


def _beside_the_model(rows: list[dict[str, Any]], device: str) -> list[str]:
    """For a card in the model's table: each op row's modelled times, and the expectation for Turing."""
    name = card_of(device)
    if name is None:
        return []
    card, measured = CARDS[name], {row["row"]: row for row in rows}
    lines = ["", "## Model and measurement", "", f"{name}: {described(card)}", ""]
    lines += [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for row in op_rows(tuple(DTYPE_NAMES)):
        if row.name in measured:
            found = measured[row.name]
            seconds = found["contenders"][found["leader"]]["median_s"]
            lines.append(f"| {' | '.join(cells(model(row, card, seconds)))} |")
    known = [each for each in EXPECTED if each.row in measured] if card.capability == (7, 5) else []
    if known:
        lines += ["", "Expected of Turing cards before one was measured:", "", "| row | | at least | measured |"]
        lines.append("|---|---|---|---|")
        for each in known:
            value = each.of(measured[each.row], card)
            lines.append(f"| {each.row} | {each.what} | {each.least:g} | {value:.2f} |")
    return lines


def _line(row: dict[str, Any]) -> str:
    times = [f"{name} {_time(row['contenders'][name])}" for name in (row["leader"], row["best_peer"])]
    reached = "-"
    if row.get("gigaflops") is not None:
        reached = f"{row['gigaflops']:.0f} GFLOP/s ({row['percent_of_arithmetic']:.0f} %), "
        reached += f"{row['gigabytes']:.1f} GB/s ({row['percent_of_bandwidth']:.0f} %)"
    peaks = ", ".join(f"{value / 2**20:.1f} MiB" for value in row.get("peak_bytes", {}).values()) or "-"
    line = f"| {row['row']} | {times[0]} | {times[1]} | **{row['ratio']:.2f}** | {reached} | {peaks} |"
    graph = row.get("graph")
    if graph is None:
        return line
    times = [f"{name} {_time(row['contenders'][name])}" for name in (graph["leader"], graph["best_peer"])]
    return f"{line}\n| as CUDA graphs | {times[0]} | {times[1]} | **{graph['ratio']:.2f}** | | |"


def _time(summary: dict[str, float]) -> str:
    median, low, high = (1e3 * summary[key] for key in ("median_s", "fastest_s", "slowest_s"))
    return f"{median:.3g} ms ({low:.3g}-{high:.3g})"


def _plot(path: Path, draw: Any, rows: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = draw(plt, rows)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=120, bbox_inches="tight")
    plt.close(figure)


def _draw_ratios(plt: Any, rows: list[dict[str, Any]]) -> Any:
    figure, axes = plt.subplots(figsize=(9, 1 + 0.28 * len(rows)))
    ratios = [row["ratio"] for row in rows]
    axes.barh([row["row"] for row in rows], ratios, color=["#2a7f62" if r >= 1 else "#b23a48" for r in ratios])
    for place, ratio in enumerate(ratios):
        axes.text(ratio, place, f" {ratio:.2f}", va="center", fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the best peer")
    return figure


def _draw_roofline(plt: Any, rows: list[dict[str, Any]]) -> Any:
    figure, axes = plt.subplots(figsize=(8, 5))
    shown = [row for row in rows if row.get("flops")]
    for row in shown:
        intensity = row["flops"] / row["bytes"]
        points = axes.loglog(intensity, row["gigaflops"], "o", label=row["row"])
        ceiling = 100 * row["gigaflops"] / row["percent_of_arithmetic"]
        slope = 100 * row["gigabytes"] / row["percent_of_bandwidth"]
        floor = min(ceiling, slope * intensity)
        axes.loglog([intensity] * 2, [row["gigaflops"], floor], ":", color=points[0].get_color())
        axes.loglog(intensity, floor, "_", color=points[0].get_color(), markersize=14)
    axes.set_xlabel("operations a byte that must move")
    axes.set_ylabel("GFLOP/s (dash: what this machine allows)")
    if shown:
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


if __name__ == "__main__":
    print(f"written: {main()}")
