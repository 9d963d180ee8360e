"""Memory that training and upscaling take, predicted before they start."""

from __future__ import annotations

from .budget import ASSUMED, REASONS, Assumptions, Need, need, parse_size, show_size
from .prediction import Network, Prediction, Target, predict_inference, predict_training
from .search import largest
from .tracking import Tracker

__all__ = [
    "ASSUMED",
    "REASONS",
    "Assumptions",
    "Need",
    "Network",
    "Prediction",
    "Target",
    "Tracker",
    "largest",
    "need",
    "parse_size",
    "predict_inference",
    "predict_training",
    "show_size",
]
