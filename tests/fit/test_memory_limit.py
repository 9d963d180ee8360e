"""``python -m awsrn_fast.train --memory-limit``: refused before anything is written, or not at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from awsrn_fast.config import Config
from awsrn_fast.errors import UserError
from awsrn_fast.train.command import main
from awsrn_fast.train.distributed import World
from awsrn_fast.train.memory_limit import Budget

CPU = torch.device("cpu")

ON_CPU = "--device cpu --dtype float32"
SMALL = f"--variant awsrn-sd {ON_CPU} --curriculum false --patch 8 --scale 2"


def refusal(config: Config, world: World | None = None) -> str:
    with pytest.raises(UserError) as error:
        Budget(config, CPU, torch.float32, world or World()).check_steps()
    assert "\n" not in str(error.value)
    return str(error.value)


def fits(config: Config, world: World | None = None) -> bool:
    try:
        Budget(config, CPU, torch.float32, world or World()).check_steps()
    except UserError:
        return False
    return True


def test_a_run_beyond_the_limit_does_not_start(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match=r"--memory-limit 0.4GB: training with 16 patches of 48 is predicted to take"):
        main(["--variant", "awsrn-s", *ON_CPU.split(), "--memory-limit", "0.4GB", "--out", str(out)])
    assert not out.exists()


def test_what_is_named_as_fitting_fits() -> None:
    plain = Config(variant="awsrn-m", memory_limit="0.42GB", curriculum=False, patch=48, batch=16)
    words = re.search(r"what fits is .* --patch 48 --batch (\d+) --checkpoint-activations true$", refusal(plain))
    batch = int(words[1])
    smaller = Config(**vars(plain) | {"batch": batch, "checkpoint_activations": True})
    assert 1 <= batch < 16
    assert fits(smaller) and not fits(Config(**vars(smaller) | {"batch": batch + 1}))


def test_checkpointing_is_named_where_it_is_enough() -> None:
    config = Config(variant="awsrn-full", memory_limit="0.5GB", curriculum=False, patch=48, batch=16)
    assert re.search(r"predicted to take \d+ MB .*; with --checkpoint-activations true it is \d+ MB$", refusal(config))
    assert fits(Config(**vars(config) | {"checkpoint_activations": True}))


def test_processes_share_the_batch() -> None:
    config = Config(variant="awsrn-s", memory_limit="0.4GB", curriculum=False, patch=48, batch=16)
    assert not fits(config) and fits(config, World(0, 4))
    tight = Config(**vars(config) | {"batch": 400})
    assert int(re.search(r"--batch (\d+)", refusal(tight, World(0, 4)))[1]) % 4 == 0


def test_not_even_one_patch() -> None:
    said = refusal(Config(variant="awsrn-s", memory_limit="301MB"))
    assert "not even one patch would fit: take a smaller --patch (with --curriculum false) or --variant" in said


def test_a_large_validation_image_is_found_before_the_run(tmp_path: Path) -> None:
    run = [*SMALL.split(), "--batch", "1", "--out", str(tmp_path / "run")]
    with pytest.raises(
        UserError, match=r"validating on an image of 256 x 256 LR pixels is predicted to take .*--valid"
    ):
        main([*run, "--memory-limit", "380MB"])


def test_what_is_no_size_is_refused() -> None:
    with pytest.raises(UserError, match="'lots' is not a size"):
        Budget(Config(memory_limit="lots"), CPU, torch.float32, World())


def test_a_run_within_the_limit_and_with_checkpointing_ends_with_the_same_bits(tmp_path: Path) -> None:
    run = [*SMALL.split(), "--batch", "2", "--iterations", "2", "--fass", "false"]
    assert main([*run, "--out", str(tmp_path / "plain"), "--memory-limit", "4GB"]) == 0
    assert main([*run, "--out", str(tmp_path / "again"), "--checkpoint-activations", "true"]) == 0
    plain, again = (torch.load(tmp_path / name / "state.pt", weights_only=True)["model"] for name in ("plain", "again"))
    assert all(torch.equal(plain[name], again[name]) for name in plain)
