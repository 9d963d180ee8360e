"""A page of nested facts, for people who read records."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from awsrn_fast.files import write_text

HERE = Path(__file__).parent


def write_report(path: str | os.PathLike, title: str, content: Mapping[str, Any]) -> None:
    """Write ``content`` (mappings, lists and plain values) as tables in tables, one self-contained HTML file.

    Raises:
        RunError: it cannot be written.
    """
    template = Template((HERE / "report.html").read_text(encoding="utf-8"))
    write_text(path, template.substitute(title=html.escape(title), body=_shown(content)))


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        rows = (f"<tr><th>{html.escape(str(name))}</th><td>{_shown(each)}</td></tr>" for name, each in value.items())
        return f"<table>{''.join(rows)}</table>"
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        return "".join(_shown(each) for each in value)
    if isinstance(value, list | tuple):
        return html.escape(", ".join(map(str, value))) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else html.escape(f"{value:,}" if isinstance(value, int) else str(value))
