"""Timing on a GPU, with what stands for one: the order of flush, events and calls; graphs beside launches; TensorRT."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import engines
import pytest
import test_benchmarks
import torch
from gpu_clock import GpuClock
from gpu_graphs import as_graph
from rows import NetworkRow
from timing import Contender, Turns
from torch import nn

CPU = torch.device("cpu")


class FakeCuda:
    """Events that tell the time of a clock which each call moves by two milliseconds."""

    def __init__(self) -> None:
        self.now, self.log = 0.0, []

    def get_device_properties(self, device: torch.device) -> Any:
        return SimpleNamespace(L2_cache_size=100 * 2**20)

    def synchronize(self) -> None:
        self.log.append("synchronize")

    def Event(self, enable_timing: bool) -> Any:
        assert enable_timing
        event = SimpleNamespace(at=None)
        event.record = lambda: (setattr(event, "at", self.now), self.log.append("record"))
        event.elapsed_time = lambda end: end.at - event.at
        return event

    def call(self) -> None:
        self.now += 2.0
        self.log.append("call")


def test_each_call_stands_between_events_after_a_flush_of_the_cache() -> None:
    cuda = FakeCuda()
    clock = GpuClock(CPU, cuda)
    assert clock._flush.nbytes == 200 * 2**20
    clock._flush = SimpleNamespace(zero_=lambda: cuda.log.append("flush"))
    assert clock.seconds(cuda.call, 3) == pytest.approx(2e-3)
    assert cuda.log == ["flush", "record", "call", "record"] * 3 + ["synchronize"]


def test_a_graph_is_captured_after_a_run_and_replayed() -> None:
    ran, replayed = [], []

    def capture(function: Any, inputs: Any) -> Any:
        result = function()
        return lambda given: (replayed.append(1), result)[1]

    graph = as_graph(Contender("cuda", lambda: (ran.append(1), {"y": 1})[1], ours=True), capture)
    assert (graph.name, graph.ours, graph.is_graph) == ("cuda, graph", True, True)
    assert [graph.once() for _ in range(4)] == [{"y": 1}] * 4
    assert (len(ran), len(replayed)) == (2, 3)  # a run, the capture's own, and replays


def test_graphs_are_compared_with_graphs() -> None:
    names = ("cuda", "eager", "compiled", "cuda, graph", "eager, graph", "compiled, graph")
    field = [Contender(name, dict, ours=name.startswith("cuda"), is_graph="graph" in name) for name in names]
    times = dict(zip((c.name for c in field), (2.0, 8.0, 6.0, 1.0, 2.0, 3.0), strict=True))
    turns = {name: Turns(1, [seconds]) for name, seconds in times.items()}
    ours, peers = ([c for c in field if c.ours == wanted] for wanted in (True, False))
    best, ratio = test_benchmarks._against(ours[0], peers, turns)
    assert (best.name, ratio) == ("compiled", 3.0)
    found = test_benchmarks._graphs(ours, peers, turns)
    assert found == {"leader": "cuda, graph", "best_peer": "eager, graph", "ratio": 2.0}
    assert test_benchmarks._graphs(ours[:1], peers, turns) is None


class FakeTensorRT:
    """As much of TensorRT 10 as the benchmark calls; the engine doubles its input."""

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None: ...

    BuilderFlag = SimpleNamespace(FP16="fp16", BF16="bf16")

    def __init__(self, refuses: bool = False) -> None:
        self.flags: list[str] = []
        self.addresses: dict[str, int] = {}
        self.onnx = b""
        self.refuses = refuses

    def Builder(self, logger: Any) -> Any:
        config = SimpleNamespace(set_flag=self.flags.append)
        return SimpleNamespace(
            create_network=lambda flags: None,
            create_builder_config=lambda: config,
            build_serialized_network=lambda network, config: b"engine",
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(content: bytes) -> bool:
            self.onnx = content
            return not self.refuses

        return SimpleNamespace(parse=parse, get_error=lambda i: "node 3: unsupported")

    def Runtime(self, logger: Any) -> Any:
        context = SimpleNamespace(
            get_tensor_shape=lambda name: (1, 3, 4, 5),
            set_tensor_address=self.addresses.__setitem__,
            execute_async_v3=lambda stream: self.addresses.__setitem__("stream", stream),
        )
        engine = SimpleNamespace(create_execution_context=lambda: context, get_tensor_name=("x", "y").__getitem__)
        return SimpleNamespace(deserialize_cuda_engine=lambda made: engine)


def test_tensorrt_runs_on_the_tensors_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, x = FakeTensorRT(), torch.rand(1, 3, 4, 5)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(engines, "_as_onnx", lambda module, x: b"onnx")  # which ONNX Runtime runs in other tests
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=7))
    engine = engines.tensorrt(nn.Identity(), x, torch.float16)
    y = engine(x)
    assert fake.flags == ["fp16"] and fake.onnx == b"onnx"
    assert fake.addresses == {"x": x.data_ptr(), "y": y.data_ptr(), "stream": 7}
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRT(refuses=True))
    with pytest.raises(RuntimeError, match="TensorRT: node 3: unsupported"):
        engines.tensorrt(nn.Identity(), x, torch.float32)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_network_row_on_a_gpu(dtype: torch.dtype) -> None:
    import contenders

    device = torch.device("cuda")
    field, gate = contenders.field_of(NetworkRow("improved-s", 4, 48, 48, dtype), device)
    names = {c.name for c in field}
    assert {"awsrn_fast", "awsrn_fast, graph", "eager channels_last", "eager channels_last, graph"} <= names
    for contender in field:
        for _ in range(3):
            results = contender.once()
        assert results["output"].is_cuda
        gate(contender.name, results)
    assert GpuClock(device).seconds(field[0].once, 3) > 0
