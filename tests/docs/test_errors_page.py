"""docs/errors.md has every message that users meet, and none that is gone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEAST = 8
"""Letters of its own that a message needs; one without hands on what another file says."""


def raised() -> dict[str, str]:
    """The message of each UserError and RunError in the package, with ``{}`` for what is filled in, and where it is."""
    found = {}
    for path in sorted((ROOT / "awsrn_fast").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).split(".")[-1] in KINDS:
                found[_text(node.args[0])] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


KINDS = ("UserError", "RunError")


def listed() -> list[str]:
    """The messages of the page; ``...`` stands for what is filled in."""
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`.+?) \| ", text, re.MULTILINE)
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return "{}"


def _covers(entry: str, message: str) -> bool:
    parts = [re.escape(part) for part in entry.split("...")]
    return re.search(".*".join(parts), message, re.DOTALL) is not None


def test_every_message_is_on_the_page() -> None:
    entries = listed()
    missing = {
        message: place
        for message, place in raised().items()
        if len(re.sub(r"\{\}|\W", "", message)) >= LEAST and not any(_covers(entry, message) for entry in entries)
    }
    assert not missing, f"add to docs/errors.md: {missing}"


def test_every_entry_is_raised_somewhere() -> None:
    messages = [*raised(), "out of memory"]  # the last is of awsrn_fast.cli
    gone = [entry for entry in listed() if not any(_covers(entry, message) for message in messages)]
    assert not gone, f"remove from docs/errors.md: {gone}"


def test_a_message_is_found_by_its_words() -> None:
    assert _covers("no device ...", "no device {}: use auto") and not _covers("no device ...", "device {} is gone")
    assert len(raised()) > 100
