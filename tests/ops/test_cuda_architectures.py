"""Which code of the CUDA library runs on which GPU, and what is said where none does."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from awsrn_fast import backends, native, ops
from awsrn_fast.backends import Call
from awsrn_fast.ops import _cuda

ROWS = [op for op in ops.ROWS if "cuda" in backends.registered(op)]
DEFAULT = "7.5;8.0;8.6;8.9;9.0"


def built_for(archs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "cuda", SimpleNamespace(archs=archs))


@pytest.mark.parametrize(
    ("archs", "capability", "code"),
    [
        (DEFAULT, (7, 5), 75),
        (DEFAULT, (8, 0), 80),
        (DEFAULT, (8, 6), 86),
        (DEFAULT, (8, 7), 86),
        (DEFAULT, (9, 0), 90),
        (DEFAULT, (10, 0), 90),  # PTX, which the driver compiles
        (DEFAULT, (12, 0), 90),
        ("7.5", (8, 6), 75),
        ("7.5;8.9", (8, 6), None),
        ("8.0", (7, 5), None),
        ("8.0;9.0", (8, 9), 80),
    ],
)
def test_the_code_that_runs(
    archs: str, capability: tuple[int, int], code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_for(archs, monkeypatch)
    assert _cuda.code_for(capability) == code


@pytest.mark.parametrize("op", ROWS)
def test_what_the_build_lacks_is_a_reason(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built_for("7.5", monkeypatch)

    def reasons(dtype: torch.dtype, capability: tuple[int, int] = (8, 6)) -> str:
        return "; ".join(backends.reasons_against(op, "cuda", Call("cuda", capability, dtype, (1, 32, 8, 8))))

    assert reasons(torch.float16) == ""
    assert "bfloat16 in a library built for 7.5 (8.0 and later only); AWSRN_FAST_CUDA_ARCHS=8.6" in reasons(
        torch.bfloat16
    )
    built_for("8.9", monkeypatch)
    assert "built for 8.9, not for compute capability 8.6; AWSRN_FAST_CUDA_ARCHS=8.6" in reasons(torch.float16)


@pytest.mark.parametrize(
    ("driver", "runtime", "versions"),
    [(0, 13000, None), (13000, 13000, None), (13000, 13020, None), (13010, 12080, None), (12040, 13000, "12.4 13.0")],
)
def test_a_driver_that_is_too_old_is_the_librarys_reason(
    driver: int, runtime: int, versions: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SimpleNamespace(driver_version=lambda: driver, runtime_version=runtime)
    monkeypatch.setattr(native, "_load", lambda key: (library, ""))
    module, reason = native._load_cuda()
    if versions is None:
        assert (module, reason) == (library, "")
        return
    assert module is None
    assert all(version in reason for version in versions.split())
    assert reason.startswith("the NVIDIA driver supports CUDA ")
    monkeypatch.setattr(native, "cuda", None)
    monkeypatch.setattr(native, "cuda_reason", reason)
    assert reason in str(backends.explain("awms", Call("cuda", (8, 6), torch.float16, (1, 32, 8, 8))))
