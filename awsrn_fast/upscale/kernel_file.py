"""The kernel of ``--kernel``: by name, or numbers in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from awsrn_fast.errors import UserError
from awsrn_fast.inference.forward_model import KERNELS


def read_kernel(text: str) -> str | np.ndarray:
    """A name of ``KERNELS``, or the taps ``[k, k]`` in a file: .npy, or text with a row of numbers a line.

    Raises:
        UserError: neither.
    """
    if text in KERNELS:
        return text
    path = Path(text)
    if not path.is_file():
        raise UserError(f"--kernel {text}: neither {' nor '.join(KERNELS)} nor a file of numbers")
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False).astype(np.float64)
        return np.loadtxt(path.read_text(encoding="utf-8").replace(",", " ").splitlines(), ndmin=2)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"--kernel {text}: not a file of numbers, a row a line ({reason})") from error
