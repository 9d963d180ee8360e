"""``python tests/cuda_host COMMAND``: what the harness does outside of pytest."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    # As pyproject.toml has it for pytest.
    sys.path[1:1] = [str(HERE.parents[1]), str(HERE.parent / "ops"), str(HERE.parents[1] / "csrc")]
    parser = argparse.ArgumentParser(prog="python tests/cuda_host", description="CUDA kernels on the CPU.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table", help="write docs/cuda_kernels.md: what nvcc makes of the kernels")
    builder = commands.add_parser("build", help="compile the kernels with g++")
    builder.add_argument("variant", nargs="?", default="plain", choices=("plain", "race", "asan"))
    sanitize = commands.add_parser("sanitize", help="run every kernel under the sanitizers (preloaded: see the tests)")
    sanitize.add_argument("fault", nargs="?", help="only a planted fault, which must end the process")
    options = parser.parse_args()

    if options.command == "build":
        import host_build

        print(host_build.module_path(options.variant))
    elif options.command == "table":
        import kernel_table

        kernel_table.DOCUMENT.write_text(kernel_table.page(), encoding="utf-8")
    else:
        import sanitized

        sanitized.run_fault(options.fault) if options.fault else sanitized.run_ops()


main()
