from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import sys

import pytest
from rich.table import Table

from awsrn_fast.cli import labelled
from awsrn_fast.terminal import DataConsole, printable

NAMES = (
    "a[/b].png",
    "x[red]y",
    "[link=https://e.org]z[/link]",
    ":smile:",
    "e\x1b]0;title\x07",
    "f\nerror: g",
    "\u202eh",
)


def shown(*what) -> str:
    stream = io.StringIO()
    console = DataConsole(file=stream, force_terminal=False, width=200)
    for each in what:
        console.print(each)
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is_and_in_one_line(name: str) -> None:
    assert shown(name) == printable(name) + "\n"
    assert shown(labelled("skipped", name, "yellow")) == f"skipped: {printable(name)}\n"
    assert not any(c in printable(name) for c in "\x1b\n\x07\u202e")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_table_is_printed_as_it_is(name: str) -> None:
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    assert shown(table).count(printable(name)) == 3


def test_a_lost_terminal_ends_nothing_but_lost_data_is_an_error() -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    DataConsole(stderr=True, file=Full()).print("gone")
    with pytest.raises(OSError, match="No space left"):
        DataConsole(file=Full()).print("gone")


def command(*lines: str, **options) -> subprocess.CompletedProcess:
    code = "\n".join(("from awsrn_fast.cli import run", *lines))
    return subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, text=True, **options)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_no_file_takes_the_number_of_a_closed_stream(closed: tuple[int, ...]) -> None:
    main = ("import os", "run(lambda: 7 if os.open(os.devnull, os.O_RDONLY) > 2 else 8)")
    assert command(*main, preexec_fn=lambda: [os.close(number) for number in closed]).returncode == 7


def test_the_exit_status_says_whether_standard_output_took_its_data() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "w") as full:
        lost = command("run(lambda: print('data'))", stdout=full, stderr=subprocess.PIPE)
        assert lost.returncode == 1 and re.fullmatch(r"error: .*No space left on device\n", lost.stderr)
        assert (
            command("from awsrn_fast.cli import console", "run(lambda: console.print('x'))", stderr=full).returncode
            == 0
        )
