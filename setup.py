"""Builds the native libraries; the rest of the package is in pyproject.toml, the compiling in csrc/build_native.py.

Environment variables:
    AWSRN_FAST_NATIVE=auto|0|1: the CPU library. auto builds it where a C++ compiler works, 1 insists, 0 leaves it out.
    AWSRN_FAST_CUDA=auto|0|1: the CUDA library, likewise, where nvcc is found.
    AWSRN_FAST_CUDA_ARCHS: compute capabilities such as "7.5;8.6", by default those of this machine's GPUs; PTX of the
        highest is added for later GPUs.
    AWSRN_FAST_ORIGIN: who builds, for awsrn_fast.info, such as "wheel of release 1.0"; "from source" by default.
    CXX, CXXFLAGS, LDFLAGS, CUDA_HOME, CUDA_PATH, MAX_JOBS: as everywhere.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import SetupError

sys.path.insert(0, str(Path(__file__).resolve().parent / "csrc"))

import build_native
import build_run

BUILD_INFO = Path("awsrn_fast/_build_info.json")


class BuildNative(build_ext):
    """Has ninja build both libraries, and records beside them what was built or why not, for ``awsrn_fast.info``."""

    def run(self) -> None:
        try:
            self.build()
        except OSError as error:  # no rights, no space
            raise SetupError(f"cannot write {error.filename or self.build_lib}: {error.strerror}") from error

    def build(self) -> None:
        libraries, lines = build_native.plan()
        origin = os.environ.get("AWSRN_FAST_ORIGIN", "").strip() or "from source"
        lines = {name: f"{line} ({origin})" if line.startswith("built") else line for name, line in lines.items()}
        for name, line in lines.items():
            print(f"awsrn_fast: {name} library {line}", flush=True)

        build_lib = Path(self.build_lib).resolve()
        # Not build_temp: an editable install makes a new one each time, and nothing would be reused.
        objects = Path("build", f"native-{sys.implementation.cache_tag}").resolve()
        files = {name: Path(self.get_ext_filename(name)) for name in (build_native.CPU, build_native.CUDA)}
        built = {library.name: files[library.name] for library in libraries}
        folders = [build_lib, Path()] if self.inplace else [build_lib]
        for folder in folders:
            (folder / BUILD_INFO).parent.mkdir(parents=True, exist_ok=True)
            (folder / BUILD_INFO).write_text(json.dumps(lines, indent=2) + "\n")
            for name in files.keys() - built.keys():  # one of an earlier build would be taken for this one's
                (folder / files[name]).unlink(missing_ok=True)

        if built:
            build_run.build(objects, {name: build_lib / file for name, file in built.items()}, libraries)
        if self.inplace:
            for file in built.values():
                self.copy_file(str(build_lib / file), str(file))
        self.extensions = [extension for extension in self.extensions if extension.name in built]


setup(
    packages=[*find_packages(include=["awsrn_fast", "awsrn_fast.*"]), "awsrn_fast.kernels"],
    package_dir={"awsrn_fast.kernels": "kernels"},
    package_data={
        "awsrn_fast": ["py.typed", "weights/*"],
        "awsrn_fast.data": ["sample/*", "sample/*/*"],
        "awsrn_fast.page": ["*.html", "*.css", "*.js"],
        "awsrn_fast.kernels": ["tuned/*.json"],
    },
    include_package_data=False,
    ext_modules=[Extension(name, sources=[]) for name in (build_native.CPU, build_native.CUDA)],
    cmdclass={"build_ext": BuildNative},
)
