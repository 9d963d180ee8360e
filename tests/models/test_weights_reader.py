from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

import awsrn_fast
from awsrn_fast.errors import UserError
from awsrn_fast.models import create


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return create("awsrn-sd", 2).state_dict()


def refused(path, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        awsrn_fast.load(path)
    assert "\n" not in str(error.value) and path.name in str(error.value) and len(str(error.value)) < 600


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
def test_wrappers_prefixes_are_taken_off(tmp_path, state, prefix: str) -> None:
    wrapped = {prefix + name: value for name, value in state.items()} | {"n_averaged": torch.tensor(3)}
    torch.save(wrapped, tmp_path / "w.pth")
    loaded = awsrn_fast.load(tmp_path / "w.pth").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


NAME = "body.0.b1.body.0.weight_v"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: (10 * t).to(torch.int8), "weight_v holds int8 numbers; weights are floating point"),
        (lambda t: t.to(torch.complex64), "holds complex64 numbers"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "holds qint8 numbers"),
        (lambda t: t.to_sparse(), "is not a plain tensor"),
        (lambda t: t.to("meta"), "is not a plain tensor"),
        (lambda t: t * float("nan"), "holds values that are not finite"),
        (lambda t: t.double() + 1e200, "holds values that are not finite"),
        (lambda t: torch.zeros(1, dtype=torch.float16).expand(2_400_000_000), "expands to 2,4.* numbers: too many"),
        (lambda t: t.flatten()[0], r"weight_v of shape \[\] in place of"),
        (lambda t: t[:, :1], r"of shape \[128, 1, 3, 3\] in place of \[128, 16, 3, 3\]"),
    ],
)
def test_a_tensor_of_another_kind_is_named(tmp_path, state, change, message: str) -> None:
    torch.save(state | {NAME: change(state[NAME])}, tmp_path / "w.pth")
    refused(tmp_path / "w.pth", message)


def test_missing_and_further_parts_are_named(tmp_path, state) -> None:
    def saved(content: dict) -> None:
        torch.save(content, tmp_path / "w.pth")

    saved({name: value for name, value in state.items() if not name.startswith("tail.")})
    refused(tmp_path / "w.pth", "no branches of the reconstruction")
    saved({name: value for name, value in state.items() if name != NAME})
    refused(tmp_path / "w.pth", f"it has no {NAME}$")
    saved({name: value for name, value in state.items() if not name.startswith("skip.")})
    refused(tmp_path / "w.pth", "no AWSRN weights: there is no 'skip.0.weight_v'")
    saved(state | {f"further{i}": torch.zeros(1) for i in range(9)})
    refused(tmp_path / "w.pth", r"further0, which it does not have, .* \(and 6 faults more\)")
    saved(state | {"tail.tail_k999999.bias": torch.zeros(1)})
    refused(tmp_path / "w.pth", "more than 64 blocks, units or taps")
    saved(state | {"module." + NAME: state[NAME]})
    refused(tmp_path / "w.pth", "weights twice")


def test_other_layouts_of_the_same_numbers_load(tmp_path, state) -> None:
    turned = state[NAME].transpose(0, 1).contiguous().transpose(0, 1)
    torch.save(state | {NAME: turned, "head.0.bias": torch.nn.Parameter(state["head.0.bias"])}, tmp_path / "w.pth")
    loaded = awsrn_fast.load(tmp_path / "w.pth").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", "is not a mapping"),
        ("[1]", "is not a mapping"),
        ('"x"', "is not a mapping"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"hyper": [1]}', "is not a mapping"),
        ('{"training": 7}', "is not a mapping"),
        ('{"hyper": {"block": "y"}}', "block is 'y'"),
        ('{"hyper": {"halo": -1}}', "halo is -1"),
        ('{"hyper": {"gap": "output"}}', "gap is 'output'"),
        ('{"hyper": {"colour": 1}}', "colour"),
    ],
)
def test_a_header_of_another_form_is_refused(tmp_path, text: str, message: str) -> None:
    weights = create("improved-s", 2).state_dict()
    save_file(weights, tmp_path / "w.safetensors", metadata={"awsrn_fast": text})
    refused(tmp_path / "w.safetensors", message)


def test_the_content_decides_where_the_suffix_is_another(tmp_path, state) -> None:
    save_file(state, tmp_path / "w.pth")
    assert awsrn_fast.load(tmp_path / "w.pth").scale == 2


@pytest.mark.parametrize("name", ["no\0name", "x" * 5000])
def test_a_name_that_no_file_can_have_is_missing(name: str) -> None:
    with pytest.raises(UserError, match="no weights file"):
        awsrn_fast.load(name)
