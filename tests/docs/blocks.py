"""Commands and snippets of the pages: fenced blocks of bash and Python, in order.

A comment in front of a block says what differs from what is printed; it does not show on the rendered page:

    <!-- test
    not run: REASON
    slow
    awsrn_fast.train: --iterations 2 --batch 2
    -->

``not run`` leaves the block out, ``slow`` runs it in the slow tests alone, and any other line names a module whose
commands get more arguments, so that training takes seconds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md")))
_BLOCK = re.compile(r"(?:<!-- test\n(?P<marks>.*?)-->\n+)?```(?P<language>bash|python)\n(?P<text>.*?)```", re.DOTALL)

NOT_RUN = {
    r"pip install|python -m venv": "the installs are tests of their own (tests/install) and the first step of .ci/run",
    r"python -m pytest|\.ci/run|mkdocs |pre-commit ": "runs the tests or builds these pages; .ci/run does both",
    r"compute-sanitizer": "needs a GPU",
    r"docker ": "needs Docker; hadolint checks the Dockerfile",
}
"""Commands that no page runs, and why."""


class Block(NamedTuple):
    """One fenced block: language, text, why it is not run (or nothing), and what its commands get in addition."""

    language: str
    text: str
    not_run: str
    slow: bool
    more: dict[str, str]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, such as ``docs/install.md``."""
    found = []
    for match in _BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")):
        marks = dict(_mark(line) for line in (match["marks"] or "").splitlines() if line.strip())
        not_run, slow = marks.pop("not run", ""), "slow" in marks
        marks.pop("slow", None)
        found.append(Block(match["language"], match["text"], not_run, slow, marks))
    return found


def commands(block: Block) -> list[str]:
    """The commands of a block of bash that are run, each with what its mark adds."""
    lines = block.text.replace("\\\n", " ").splitlines()
    lines = [re.sub(r"\s+#\s.*$", "", line).strip() for line in lines if not line.startswith("#")]
    return [_with_more(line, block.more) for line in lines if line and not why_not_run(line)]


def why_not_run(command: str) -> str:
    """The reason of ``NOT_RUN`` against a command, or nothing."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(rf"(\w+=\S+ )*({pattern})", command)), "")


def _mark(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


def _with_more(command: str, more: dict[str, str]) -> str:
    for module, arguments in more.items():
        if re.search(rf"\b{re.escape(module)}\b", command):
            return f"{command} {arguments}"
    return command
