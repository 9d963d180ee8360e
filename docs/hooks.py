"""mkdocs hook: README, CONTRIBUTING and CHANGELOG become pages of the site, so that none of them is written twice."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of ``PAGES`` to what mkdocs found in docs/."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_relinked(text)))
    return files


def _relinked(text: str) -> str:
    """``text`` with links as docs/ sees them; of a link to a file that is no page only its words stay."""

    def link(match: re.Match[str]) -> str:
        words, target = match.groups()
        path, _, anchor = target.partition("#")
        if ":" in path:
            return match.group(0)
        path = PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        return f"[{words}]({path}{'#' + anchor if anchor else ''})" if path or anchor else words

    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", link, text)
