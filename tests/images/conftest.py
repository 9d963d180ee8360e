from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def ramp() -> np.ndarray:
    """[24, 32] of 0 to 255."""
    return (np.add.outer(np.arange(24) * 5, np.arange(32) * 4)).astype(np.uint8)
