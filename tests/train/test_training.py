from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from runs import assert_same_run, rows

import awsrn_fast
from awsrn_fast.errors import RunError, UserError
from awsrn_fast.train import trainer as trainer_module
from awsrn_fast.train.command import main, read_config
from awsrn_fast.train.step import Step


def test_a_run_leaves_all_its_files(options: list[str], tmp_path: Path) -> None:
    assert main(options) == 0
    run = tmp_path / "run"
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert names == {
        *("config.yaml", "metrics.csv", "best.safetensors", "last.safetensors", "state.pt", "state.previous.pt"),
        *(f"samples/{i:07d}.png" for i in (2, 4, 6, 8)),  # the ends of the learning rate's cycles
    }
    assert list(rows(run)[0]) == ["iteration", "loss", "lr", "images_per_s", "val_psnr"]
    assert [r["iteration"] for r in rows(run) if r["loss"]] == ["2", "4", "6", "8"]
    assert all(float(r["val_psnr"]) > 5 for r in rows(run) if r["val_psnr"])
    assert awsrn_fast.load(run / "best.safetensors").facts.variant == "awsrn-sd"
    assert Image.open(run / "samples" / "0000008.png").size[0] == 4 * 80
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert (saved["patch"], saved["fass"], saved["variant"]) == (8, True, "awsrn-sd")
    again = read_config(["--config", str(run / "config.yaml"), "--out", str(tmp_path / "other")])
    assert again.variant == "awsrn-sd" and again.patch == 8


def test_an_interrupted_run_resumes_to_the_same_weights(options, tmp_path, monkeypatch, capsys) -> None:
    assert main([*options, "--out", str(tmp_path / "whole")]) == 0
    original = Step.__call__

    def step_then_ctrl_c(self, *batch):
        loss = original(self, *batch)
        if self.learner.iteration == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    with monkeypatch.context() as patched:
        patched.setattr(Step, "__call__", step_then_ctrl_c)
        assert main(options) == 130
    assert main(["--out", str(tmp_path / "run"), "--resume"]) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "run")
    capsys.readouterr()
    assert main(["--out", str(tmp_path / "run"), "--resume"]) == 0
    said = capsys.readouterr().err
    assert "the run is finished, at iteration" in said and "waiting for data" not in said


def test_a_run_rewinds_to_the_checkpoint_before(options, tmp_path, capsys) -> None:
    assert main([*options, "--out", str(tmp_path / "whole")]) == 0
    assert main(options) == 0
    (tmp_path / "run" / "state.pt").write_bytes(b"cut")
    assert main(["--out", str(tmp_path / "run"), "--resume", "--rewind"]) == 0
    assert "going on from iteration 6" in capsys.readouterr().err
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_another_machine_is_said(options, tmp_path, capsys, monkeypatch) -> None:
    assert main(options) == 0
    monkeypatch.setattr("torch.get_num_threads", lambda: 77)
    assert main(["--out", str(tmp_path / "run"), "--resume", "--rewind"]) == 0
    assert re.search(r"results may differ in bits: threads: \d+ then, 77 now", capsys.readouterr().err)


def test_profile_writes_a_trace_with_the_named_ranges(options, tmp_path) -> None:
    assert main([*options, "--profile", "2"]) == 0
    trace = (tmp_path / "run" / "trace.json").read_text()
    assert all(f'"{name}"' in trace for name in ("forward", "backward", "update"))


def test_tensorboard_and_a_start_from_other_weights(options, tmp_path) -> None:
    assert main(options) == 0
    start = ["--init", str(tmp_path / "run" / "last.safetensors")]
    assert main([*options, "--out", str(tmp_path / "next"), *start, "--lr", "1e-12", "--tensorboard", "true"]) == 0
    before, after = (awsrn_fast.load(tmp_path / run / "last.safetensors") for run in ("run", "next"))
    for a, b in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert list((tmp_path / "next").glob("events.out.tfevents.*"))
    with pytest.raises(UserError, match="last.safetensors is awsrn-sd x2: not the network to train"):
        main([*options, "--out", str(tmp_path / "third"), *start, "--variant", "awsrn-s"])


def test_another_scale_gives_its_body(options, tmp_path) -> None:
    assert main(options) == 0
    start = ["--init", str(tmp_path / "run" / "last.safetensors"), "--scale", "4", "--lr", "1e-12"]
    assert main([*options, "--out", str(tmp_path / "x4"), *start]) == 0
    before, after = (awsrn_fast.load(tmp_path / run / "last.safetensors").state_dict() for run in ("run", "x4"))
    body = [name for name in before if name.startswith(("head.", "body."))]
    assert len(body) == len(before) - sum(name.startswith(("skip.", "tail.")) for name in before) > 0
    for name in body:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)


def test_what_a_run_cannot_do_is_said_before_it_starts(options, tmp_path) -> None:
    def refused(arguments: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message) as error:
            main(arguments)
        assert "\n" not in str(error.value)

    refused(["--variant", "awsrn-xl"], "--variant is 'awsrn-xl': must be one of awsrn-full")
    refused(["--patches", "3"], "unrecognized arguments: --patches")
    refused(["--lr", "fast"], "--lr: Expected a float")
    refused([*options, "--device", "cuda:99"], "device 'cuda:99' cannot be used here")
    refused([*options, "--dtype", "float16"], "dtype float16 is for GPUs")
    refused(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")], "nowhere")
    refused(["--out", str(tmp_path / "nothing"), "--resume"], "no run to resume in .*nothing")
    (tmp_path / "wrong.yaml").write_text("variannt: awsrn-s\n")
    refused(["--config", str(tmp_path / "wrong.yaml")], "'variannt' is not accepted")
    assert main(options) == 0
    refused(options, "holds a run already: add --resume")
    refused(["--out", str(tmp_path / "run"), "--resume", "--lr", "0.1"], "started with another --lr")
    (tmp_path / "run" / "state.pt").write_bytes(b"cut")
    refused(["--out", str(tmp_path / "run"), "--resume"], "cannot read training state")


def test_broken_images_are_skipped_with_a_line(options, tmp_path, photos, capsys) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for path in photos.iterdir():
        (mixed / path.name).write_bytes(path.read_bytes())
    (mixed / "broken.png").write_bytes(b"not an image")
    assert main([*options, "--data", str(mixed)]) == 0
    said = capsys.readouterr().err
    assert "broken.png" in said and "skipped" in said


def test_steps_without_a_finite_loss_change_nothing_and_many_end_the_run(options, monkeypatch, capsys) -> None:
    before = {}
    original = trainer_module.batches

    def poisoned(bad):
        def batches(*arguments):
            for i, (lr, hr) in enumerate(original(*arguments)):
                yield (lr * float("nan") if bad(i) else lr), hr

        return batches

    monkeypatch.setattr(trainer_module, "batches", poisoned(lambda i: i == 3))
    original_step = Step.__call__

    def watched(self, *batch):
        before[self.learner.iteration] = [p.detach().clone() for p in self.learner.model.parameters()]
        return original_step(self, *batch)

    monkeypatch.setattr(Step, "__call__", watched)
    assert main(options) == 0
    assert all(torch.equal(a, b) for a, b in zip(before[3], before[4], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(before[4], before[5], strict=True))
    assert "1 steps were skipped" in capsys.readouterr().err

    monkeypatch.setattr(trainer_module, "batches", poisoned(lambda i: True))
    monkeypatch.setattr(trainer_module, "GIVE_UP_AFTER", 3)
    with pytest.raises(RunError, match=r"up to step 3 .*: the run has diverged\. The last good"):
        main([*options[:-1], options[-1] + "-other"])


def test_the_length_of_a_run_is_told_at_its_start(options, monkeypatch, capsys) -> None:
    assert main(options) == 0
    assert "a step takes" not in capsys.readouterr().err  # it ends within seconds
    monkeypatch.setattr(trainer_module, "FIRST_STEPS", 2)
    monkeypatch.setattr(trainer_module, "SHORT", 0)
    assert main([*options[:-1], options[-1] + "-other"]) == 0
    said = capsys.readouterr().err
    assert len(re.findall(r"^a step takes [\d.e-]+ s: the run takes about 0 minutes$", said, re.M)) == 1


def test_quick_preset_beats_bicubic(tmp_path) -> None:
    command = [sys.executable, "-m", "awsrn_fast.train", "--preset", "quick", "--out", str(tmp_path / "run")]
    # Threads that wait without spinning: else a busy machine makes this many times slower.
    passive = os.environ | {"OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=passive)
    assert done.returncode == 0, done.stderr
    found = re.search(r"best validation PSNR ([\d.]+) dB, ([\d.]+) dB above bicubic \(([\d.]+) dB\)", done.stderr)
    assert found, done.stderr
    assert float(found[1]) > float(found[3]) + 0.2


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(options, tmp_path) -> None:
    assert main([*options, "--compile", "default"]) == 0
    assert main([*options, "--out", str(tmp_path / "eager")]) == 0
    compiled, eager = (awsrn_fast.load(tmp_path / run / "last.safetensors").state_dict() for run in ("run", "eager"))
    for key in eager:
        torch.testing.assert_close(compiled[key], eager[key], rtol=1e-3, atol=1e-4)
