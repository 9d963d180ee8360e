"""Compiling and linking by ninja: its file, a line of progress every few seconds, and failures as one sentence."""

from __future__ import annotations

import os
import queue
import re
import shlex
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from setuptools.errors import SetupError

PATIENCE = 5
"""Seconds without a line after which the state is printed."""
WAY_OUT = "AWSRN_FAST_NATIVE=0 AWSRN_FAST_CUDA=0 installs without them"


def build(folder: Path, outputs: dict[str, Path], libraries: list) -> None:
    """Compile and link what has changed; objects and build.ninja are kept in ``folder``.

    Raises:
        SetupError: it failed; one sentence that says why.
    """
    import ninja

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_ninja(folder / "build.ninja", outputs, libraries)
    except OSError as error:
        raise SetupError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    jobs = os.environ.get("MAX_JOBS", "").strip()
    if jobs and not (jobs.isdecimal() and int(jobs)):
        raise SetupError(f"MAX_JOBS={jobs}: must be a whole number of 1 or more")
    command = [str(Path(ninja.BIN_DIR, "ninja")), "-C", str(folder), *(["-j", jobs] if jobs else [])]
    status, lines = run_with_progress(command)
    if status:
        reason = why_failed(lines, folder)
        raise SetupError(f"the native libraries did not compile: {reason} ({WAY_OUT})")


def run_with_progress(command: list[str]) -> tuple[int, list[str]]:
    """Run ninja; its lines are printed and returned, and where none comes for a while, how far it is."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"NINJA_STATUS": "[%f/%t] "},
    )
    assert process.stdout is not None
    started, lines, state = time.monotonic(), [], "starting"
    for line in lines_or_silence(process.stdout):
        if line is None:
            print(f"awsrn_fast: compiling, {state}, {time.monotonic() - started:.0f} s", flush=True)
            continue
        print(line, flush=True)
        lines.append(line)
        if done := re.match(r"\[(\d+/\d+)\]", line):
            state = f"{done[1]} done"
    return process.wait(), lines


def lines_or_silence(stream: IO[str]) -> Iterator[str | None]:
    """The lines of a stream, and None whenever there was none for PATIENCE seconds."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=PATIENCE)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def why_failed(lines: Iterable[str], folder: Path) -> str:
    """The reason in a compiler's or ninja's output, as half a sentence."""
    lines = [line.strip() for line in lines]
    text = "\n".join(lines)
    if "No space left on device" in text:
        return f"no space left on the disk of {folder} or of {tempfile.gettempdir()} (TMPDIR names another)"
    if "Read-only file system" in text or "Permission denied" in text:
        return f"no permission to write below {folder}, or to run the compiler"
    if re.search(r"out of memory|Cannot allocate memory|Killed (signal|\(program)|cannot allocate", text, re.I):
        return "the compiler ran out of memory; MAX_JOBS=1 compiles one unit at a time"
    errors = [line for line in lines if re.search(r"\berror\b", line, re.I)]
    return (errors or [line for line in lines if line] or ["ninja said nothing"])[0]


def write_ninja(path: Path, outputs: dict[str, Path], libraries: list) -> None:
    """Write the file that says how each unit and library is made."""
    from ninja import ninja_syntax

    def words(command: list[str]) -> str:
        return shlex.join(command).replace("$", "$$")

    def name(target: Path) -> str:
        # Relative, so that a checkout may lie below any name at all; Writer.build escapes spaces, but no dollars.
        return ninja_syntax.escape(os.path.relpath(target, path.parent.resolve()))

    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        writer = ninja_syntax.Writer(file, width=1000)
        writer.rule(
            "compile", "$compiler -c $in -o $out -MD -MF $out.d", "compiling $unit", depfile="$out.d", deps="gcc"
        )
        writer.rule("link", "$compiler $in -o $out $flags", "linking $unit")
        for library in libraries:
            objects = [unit for _, unit, _ in library.units]
            for source, unit, command in library.units:
                variables = {"compiler": words(command), "unit": unit.partition("/")[2].removesuffix(".o")}
                writer.build(unit, "compile", name(source), variables=variables)
            variables = {"compiler": words(library.compiler), "flags": words(library.link_flags), "unit": library.name}
            writer.build(name(outputs[library.name]), "link", objects, variables=variables)
