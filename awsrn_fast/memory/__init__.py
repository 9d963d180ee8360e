"""How much memory training and upscaling take, known before they start."""

from __future__ import annotations

from .prediction import Network, Prediction, Target, predict_inference, predict_training
from .tracking import Tracker

__all__ = ["Network", "Prediction", "Target", "Tracker", "predict_inference", "predict_training"]
