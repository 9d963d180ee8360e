"""The change of an image's grid of pixels, from which its place in the world follows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GridChange:
    """(Height, width) of an image before and after its pixels were made smaller; its edges stay where they are."""

    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def down(self) -> float:
        """Factor of the rows' number."""
        return self.after[0] / self.before[0]

    @property
    def across(self) -> float:
        """Factor of the columns' number."""
        return self.after[1] / self.before[1]
