"""Pages to compare images with: one self-contained HTML file that needs no server and no network."""

from .build import Layer, Shown, write_page
from .cases import compared
from .report import write_report

__all__ = ["Layer", "Shown", "compared", "write_page", "write_report"]
