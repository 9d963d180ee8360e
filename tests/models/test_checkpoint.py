from __future__ import annotations

import pytest
import torch
from public_awsrn import PublicAWSRN

import awsrn_fast
from awsrn_fast.checkpoint import read_header, save_weights
from awsrn_fast.errors import UserError
from awsrn_fast.models import create


def test_a_weights_file_alone_is_enough(tmp_path) -> None:
    model = create("improved-s", 3, block=16, halo=4, gap="residual").eval()
    save_weights(tmp_path / "w.safetensors", model, training={"iteration": 7})
    loaded = awsrn_fast.load(tmp_path / "w.safetensors")
    assert loaded.hyper == model.hyper and not loaded.training
    x = torch.rand(1, 3, 20, 20)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    assert read_header(tmp_path / "w.safetensors")["training"] == {"iteration": 7}
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"], "nothing is left beside the file"


@pytest.mark.parametrize("nesting", [None, "state_dict", "params"])
def test_public_pth_files_load(tmp_path, nesting: str | None) -> None:
    public = PublicAWSRN(4, 32, 128, 1, 4).eval()
    state = {f"module.{k}": v for k, v in public.state_dict().items()}
    torch.save(state if nesting is None else {nesting: state}, tmp_path / "model.pth")
    model = awsrn_fast.load(tmp_path / "model.pth")
    x = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(model(x) * 255, public(x * 255), rtol=0, atol=255e-4)


def test_wrong_files_give_one_line_that_names_them(tmp_path) -> None:
    good = tmp_path / "good.safetensors"
    save_weights(good, create("awsrn-s", 2))
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:5000])
    (tmp_path / "text.pth").write_text("hello")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "code.pth")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    state = create("awsrn-s", 2).state_dict()
    torch.save({k: v for k, v in state.items() if "b2" not in k}, tmp_path / "incomplete.pth")
    names = ["missing.pth", "cut.safetensors", "text.pth", "code.pth", "other.pth", "list.pth", "incomplete.pth"]
    for name in names:
        with pytest.raises(UserError, match=name) as error:
            awsrn_fast.load(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_failed_save_keeps_the_file_before(tmp_path, monkeypatch) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, create("awsrn-s", 2))
    before = path.read_bytes()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write .*w\.safetensors: No space left on device"):
        save_weights(path, create("awsrn-s", 2))
    assert path.read_bytes() == before
