from __future__ import annotations

import pytest

from awsrn_fast.errors import UserError
from awsrn_fast.launcher import Place, place, speaks
from awsrn_fast.train.distributed import local_device
from awsrn_fast.upscale.shard import Shard, pick_shard

ALL = {"WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in (*ALL, "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return lambda variables: [monkeypatch.setenv(*each) for each in variables.items()]


def test_a_launcher_says_the_place(environment) -> None:
    environment(ALL | {"TORCHELASTIC_RUN_ID": "x"})
    assert place() == Place(2, 4, 1) and not place().is_first and not speaks()
    assert pick_shard(None) == Shard(3, 4)


@pytest.mark.parametrize("size", [{}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1"}])
def test_without_a_world_size_the_other_variables_are_left_over(environment, size, monkeypatch) -> None:
    environment({name: value for name, value in ALL.items() if name != "WORLD_SIZE"} | size)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert place() == Place() and speaks() and pick_shard(None) == Shard(1, 1)
    assert local_device("auto") == "auto" and local_device("cuda") == "cuda"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE=x is not a number"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE=-2 is below 0"),
        ({"RANK": ""}, "WORLD_SIZE=4 is set without RANK"),
        ({"MASTER_ADDR": "", "MASTER_PORT": ""}, "without MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "4"}, "RANK=4 is not below WORLD_SIZE=4"),
        ({"RANK": "one"}, "RANK=one is not a number"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK=x is not a number"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT=99999 is not a port number"),
    ],
)
def test_variables_that_do_not_fit_are_named_and_said_by_every_process(environment, wrong, message) -> None:
    environment(ALL | wrong)
    with pytest.raises(UserError, match=f"{message}.*unset WORLD_SIZE if it is left over"):
        place()
    assert speaks()
