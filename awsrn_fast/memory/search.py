"""Search for the largest size that fits, with few evaluations of a cost that grows with it."""

from __future__ import annotations

from collections.abc import Callable


def largest(cost: Callable[[int], int], limit: int, step: int = 1, power: int = 1, most: int = 2**16) -> int:
    """The largest multiple of ``step``, at most ``most``, whose cost is within the limit; 0 if none is.

    Args:
        cost: a non-decreasing function.
        limit: what the cost may be.
        step: the grid.
        power: the cost is about ``a + b * size**power``; only used for guesses; bisection guarantees the result.
        most: where to stop.
    """
    costs: dict[int, int] = {}

    def fits(count: int) -> bool:
        costs[count] = cost(count * step)
        return costs[count] <= limit

    top = most // step
    if top < 1 or not fits(1):
        return 0
    low, high = 1, top + 1  # low fits; high does not, or is out of reach
    evaluations = 0
    while high - low > 1:
        guess = 2 * low if len(costs) < 2 else _where(costs, low, limit, power)
        if evaluations >= 8:  # the guesses do not converge: the cost has a kink
            guess = (low + high) // 2 if high <= top else 2 * low
        guess = min(max(guess, low + 1), high - 1)
        if fits(guess):
            low = guess
        else:
            high = guess
        evaluations += 1
    return low * step


def _where(costs: dict[int, int], low: int, limit: int, power: int) -> int:
    """Size at which the curve through the best fitting size and the evaluation nearest to the limit meets the limit."""
    other = min((count for count in costs if count != low), key=lambda count: abs(costs[count] - limit))
    slope = (costs[low] - costs[other]) / (low**power - other**power)
    if slope <= 0:
        return 2 * low
    return int((low**power + (limit - costs[low]) / slope) ** (1 / power))
