"""The commands by name, and how they are started: ``awsrn-fast NAME`` or ``python -m awsrn_fast.NAME``.

Nothing here imports torch, so that the list, the version and a mistyped name are answered quickly.
"""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import __version__, cli, threads
from .errors import UserError
from .limits import limit_threads

COMMANDS = {
    "upscale": "enlarge image files and folders",
    "replay": "run a recorded upscaling again and compare the bits",
    "compare": "show an image upscaled by several networks in one picture or page",
    "train": "train a network, on your images or the embedded ones",
    "evaluate": "measure PSNR and SSIM on benchmark sets",
    "export": "write a network as ONNX, .pt2 or safetensors",
    "prune": "leave out branches that contribute little",
    "ablate": "train the parts of the recipe one by one and compare them",
    "fit": "predict which batch, patch and tile fit a card's memory",
    "tune": "measure the fastest tiles of the Triton kernels on this GPU",
    "selftest": "run every kernel that this machine can run, against fp64",
    "info": "say what this machine has, what was built and which kernels run",
}
"""Description of each command, in the order of the list."""
COMPUTING = ("upscale", "replay", "compare", "evaluate", "prune")
"""Commands whose number of threads adapts to the machine's load; training keeps a fixed number."""
SCRIPT = "awsrn-fast"
MODULES = "python -m awsrn_fast."
SHELLS = ("bash", "zsh", "tcsh")

_started_with = MODULES


def spelled(name: str) -> str:
    """The command ``name`` as its user would write it, in the form that started this process."""
    return f"{_started_with}{name}"


def run_module(name: str) -> NoReturn:
    """``python -m awsrn_fast.NAME``."""
    _run(name, sys.argv[1:])


def main(prog: str = SCRIPT) -> NoReturn:
    """The console script, and ``python -m awsrn_fast``: the list of commands, or one of them."""
    global _started_with
    _started_with = f"{prog} "
    first, rest = sys.argv[1:2], sys.argv[2:]
    if first and not first[0].startswith("-"):
        _run(first[0], rest)
    cli.run(lambda: _about(prog))


def _run(name: str, arguments: Sequence[str]) -> NoReturn:
    def command() -> int | None:
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, 1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise UserError(f"no command {name!r}: {meant}the commands are {', '.join(COMMANDS)}")
        gc.disable()  # importing torch makes 170,000 objects that stay; looking through them takes a tenth of its time
        of_name = importlib.import_module(f"{__package__}.{name}.command")
        gc.freeze()
        gc.enable()
        limit_threads()
        return of_name.main(arguments)

    remark = threads.prepare(yielding=name in COMPUTING)
    if remark and "--help" not in arguments:
        cli.console.print(remark)
    cli.run(command)


def _about(prog: str) -> int:
    listed = ["commands:", *(f"  {name:9} {does}" for name, does in COMMANDS.items())]
    listed += ["", f"{prog} COMMAND --help lists a command's options."]
    p = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND [OPTIONS]",
        description="Super-resolution with AWSRN and an improved AWSRN.",
        epilog="\n".join(listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    p.add_argument("--version", action="version", version=f"awsrn-fast {__version__}")
    p.add_argument(
        "--print-completion", choices=SHELLS, metavar="SHELL", help=f"print completions for {', '.join(SHELLS)}"
    )
    try:
        args, unknown = p.parse_known_args()
    except argparse.ArgumentError as error:
        raise UserError(f"{error} ({prog} --help lists the options)") from error
    if unknown:
        raise UserError(f"unrecognized arguments: {' '.join(unknown)} ({prog} --help lists the options)")
    if args.print_completion:
        print(completion(args.print_completion))
    else:
        p.print_help()
    return 0


def completion(shell: str) -> str:
    """A script that completes the commands, their options and files in ``shell``.

    Raises:
        UserError: shtab, which writes it, is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise UserError("completions are written by shtab, which is not installed: pip install shtab") from error
    everything = argparse.ArgumentParser(prog=SCRIPT)
    of_commands = everything.add_subparsers(dest="command")
    for name, does in COMMANDS.items():
        own = importlib.import_module(f"{__package__}.{name}.command").parser()
        with_files = of_commands.add_parser(name, help=does, parents=[own], add_help=False, conflict_handler="resolve")
        for action in with_files._actions:
            if action.nargs != 0 and action.choices is None and action.type in (None, Path):
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    return shtab.complete(everything, shell)
