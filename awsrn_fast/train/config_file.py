"""Reading of options from YAML files, lenient about notation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from awsrn_fast.config import Config
from awsrn_fast.errors import UserError

_LISTS = {field.name for field in dataclasses.fields(Config) if isinstance(field.default, tuple)}


def read_options(path: str | Path) -> dict[str, Any]:
    """Options by field name.

    A single value may stand for a list of one, ``data: DIV2K``, and hyphens for underscores.

    Raises:
        UserError: the file cannot be read or is not such YAML; names it, and the key at fault if any.
    """
    try:
        content = yaml.safe_load(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"cannot read {path}: line {line} is not UTF-8 text; save the file as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    if not isinstance(content or {}, dict):
        raise UserError(f"{path} holds no options: write lines such as scale: 4")
    options = {}
    for key, value in (content or {}).items():
        name = str(key).replace("-", "_")
        if name in options:
            raise UserError(f"{path}: {key} is given twice")
        if name in _LISTS and not isinstance(value, list):
            value = [] if value is None else [value]
        if value is None:
            raise UserError(f"{path}: {key} has no value; leave it out, or give one")
        options[name] = value
    return options


def with_contents(arguments: Sequence[str]) -> list[str]:
    """The command line with the file name after ``--config`` replaced by the file's options as JSON."""
    return list(_with_contents(iter(arguments)))


def _with_contents(words: Iterator[str]) -> Iterator[str]:
    for word in words:
        option, equals, path = word.partition("=")
        if option != "--config":
            yield word
            continue
        if not equals:
            path = next(words, "")
        if not path:
            raise UserError("--config has no file: name a YAML file with options")
        yield f"--config={json.dumps(read_options(path), default=str)}"
