"""Outcome of a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from awsrn_fast.ops._accuracy import Deviation


@dataclass(frozen=True)
class Outcome:
    """One line of the table.

    Attributes:
        name: of the check, as ``--plant`` takes it.
        status: "ok", "FAILED", or "not run".
        worst: the largest error, as a share of what is allowed; None where nothing was compared.
        detail: what failed, or why it was not run.
        seconds: that it took.
    """

    name: str
    status: str
    worst: float | None = None
    detail: str = ""
    seconds: float = 0.0


def judged(name: str, found: Iterable[tuple[str, Deviation]], seconds: float) -> Outcome:
    """The outcome of comparisons, each with the case that it belongs to."""
    compared = list(found)
    wrong = [(case, deviation) for case, deviation in compared if not deviation.right]
    worst = max((deviation.share for _, deviation in compared), default=None)
    if wrong:
        case, deviation = wrong[0]
        rest = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return Outcome(name, "FAILED", worst, f"{case}: {deviation}{rest}", seconds)
    return Outcome(name, "ok", worst, "", seconds)
