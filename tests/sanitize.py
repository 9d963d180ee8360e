"""The native CPU library under AddressSanitizer and UndefinedBehaviorSanitizer.

Builds csrc/ once more, with the sanitizers, into ``build/sanitized/`` and runs the tests of the CPU kernels (or those
that are named) with that library in the place of the installed one. The first error ends the run with its report and a
non-zero status. As ``-p sanitize`` this file is pytest's plugin that puts the library in its place.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LIBRARY = ROOT / "build/sanitized" / f"_cpu{sysconfig.get_config_var('EXT_SUFFIX')}"
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
TESTS = ["tests/ops", "tests/cpu_kernels"]
MARK = "AWSRN_FAST_SANITIZED"


def build() -> None:
    """Compile the library with the sanitizers, for the narrowest and the widest instruction set: minutes each."""
    sys.path.insert(0, str(ROOT / "csrc"))
    import build_native
    import build_run

    widest = list(build_native.X86_ISAS.items())[-1:]
    build_native.X86_ISAS = dict(widest)
    os.environ |= {"CXXFLAGS": FLAGS, "LDFLAGS": "-fsanitize=address,undefined"}
    build_run.build(LIBRARY.parent / "objects", {build_native.CPU: LIBRARY}, [build_native.plan_cpu()])


def main(arguments: list[str]) -> int:
    """Build, run, and return pytest's status."""
    sys.path[1:1] = [str(HERE / "cuda_host"), str(ROOT / "csrc")]
    import host_build

    environment = host_build.sanitized_environment()  # before the flags: it asks the plain compiler
    build()
    environment |= {MARK: str(LIBRARY), "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)])}
    chosen = arguments or [*TESTS, "-m", "not gpu"]
    command = [sys.executable, "-m", "pytest", "-p", "sanitize", "-p", "no:cacheprovider", "-x", "-q", *chosen]
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
elif os.environ.get(MARK):
    import torch  # noqa: F401  first, as awsrn_fast.native has it

    _spec = importlib.util.spec_from_file_location("awsrn_fast._cpu", os.environ[MARK])
    sys.modules["awsrn_fast._cpu"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["awsrn_fast._cpu"])
