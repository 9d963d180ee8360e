"""Search for the largest size that fits, with few evaluations of a cost that grows with it."""

from __future__ import annotations

from collections.abc import Callable

ON_CURVE = 0.05
"""How far a cost may be from the curve through two others, relative to what one more step costs, and lie on it."""


def largest(
    cost: Callable[[int], int],
    limit: int,
    step: int = 1,
    power: int = 1,
    most: int = 2**16,
    start: int = 1,
    by_curve: bool = False,
) -> int:
    """The largest multiple of ``step``, at most ``most``, whose cost is within the limit; 0 if none is.

    Args:
        cost: a non-decreasing function.
        limit: what the cost may be.
        step: the grid.
        power: the cost is about ``a + b * size**power``; only used for guesses; bisection guarantees the result.
        most: where to stop.
        start: size whose cost is evaluated first.
        by_curve: whether the next larger size need not be evaluated where three costs lie on such a curve, by which it
            does not fit. The result fits in any case.
    """
    costs: dict[int, int] = {}
    top = most // step
    low, high = 0, top + 1  # low fits, or is 0; high does not, or is out of reach
    guess = min(max(start // step, 1), top)
    evaluations = 0
    while high - low > 1:
        expected = _curve(costs, power, limit)
        costs[guess] = cost(guess * step)
        if costs[guess] <= limit:
            low = guess
            if by_curve and expected and expected.ends_at(guess, costs[guess], limit):
                break
        else:
            high = guess
        evaluations += 1
        curve = _curve(costs, power, limit)
        if evaluations > 8:  # the guesses do not converge: the cost has a kink
            guess = (low + high) // 2 if high <= top else 2 * low
        elif curve:
            guess = curve.reaches(limit)
        else:
            guess = int(guess * (max(limit, 0) / max(costs[guess], 1)) ** (1 / power)) if len(costs) == 1 else 2 * low
        guess = min(max(guess, low + 1), high - 1)
    return low * step


class _Curve:
    """The curve ``a + b * size**power`` through two costs."""

    def __init__(self, first: tuple[int, int], second: tuple[int, int], power: int) -> None:
        self.power = power
        self.slope = (first[1] - second[1]) / (first[0] ** power - second[0] ** power)
        self.offset = first[1] - self.slope * first[0] ** power

    def at(self, size: int) -> float:
        return self.offset + self.slope * size**self.power

    def reaches(self, limit: int) -> int:
        return int((max(limit - self.offset, 0) / self.slope) ** (1 / self.power))

    def ends_at(self, size: int, cost: int, limit: int) -> bool:
        """Whether the cost of ``size`` lies on the curve, and that of the next size beyond the limit."""
        tolerance = ON_CURVE * (self.at(size + 1) - self.at(size))
        return abs(cost - self.at(size)) <= tolerance and self.at(size + 1) > limit + tolerance


def _curve(costs: dict[int, int], power: int, limit: int) -> _Curve | None:
    """The curve through the two costs nearest to the limit, if there are two and it rises."""
    if len(costs) < 2:
        return None
    first, second, *_ = sorted(costs.items(), key=lambda item: abs(item[1] - limit))
    curve = _Curve(first, second, power)
    return curve if curve.slope > 0 else None
