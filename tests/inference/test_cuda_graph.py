"""CUDA graphs of inference: which runs are captured, kept and given up, without a GPU, and the bits on one."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import Tensor

from awsrn_fast.inference import Placed, Tiler, cuda_graph
from awsrn_fast.inference.cuda_graph import Function, Graphs, Replay
from awsrn_fast.inference.process_memory import free_on
from awsrn_fast.inference.transfers import Transfers
from awsrn_fast.inference.wrappers import with_prepared_weights
from awsrn_fast.models import create
from awsrn_fast.nn import AWRU, Prepared, WNConv2d


class Captures:
    """Runs the captured function at each replay, from and to the same tensors; counts both; fails as told."""

    def __init__(self) -> None:
        self.captured, self.replayed = 0, 0
        self.fails: Exception | None = None

    def __call__(self, function: Function, inputs: Sequence[Tensor]) -> Replay:
        if self.fails is not None:
            raise self.fails
        self.captured += 1
        own = [x.clone() for x in inputs]
        results = function(*own)

        def replay(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
            self.replayed += 1
            for mine, tensor in zip(own, given, strict=True):
                mine.copy_(tensor)
            for result, value in zip(results, function(*own), strict=True):
                result.copy_(value)
            return results

        return replay


class Doubled:
    """A function that counts its runs and raises as told."""

    def __init__(self) -> None:
        self.runs = 0
        self.fails: list[Exception] = []

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        self.runs += 1
        if self.fails:
            raise self.fails.pop()
        return (2 * x,)


def test_what_comes_once_runs_as_it_is_and_what_comes_again_is_captured() -> None:
    captures, function = Captures(), Doubled()
    graphs = Graphs(captures)
    for count, side in enumerate((3, 4, 3, 3)):
        x = torch.full((1, 1, side, side), float(count))
        assert torch.equal(graphs(None, function, (x,))[0], 2 * x)
    assert (captures.captured, captures.replayed, len(graphs)) == (1, 2, 1)
    assert not graphs.reason


@pytest.mark.parametrize(
    "other",
    [torch.zeros(1, 2, 3, 5), torch.zeros(1, 2, 3, 4).double(), torch.zeros(1, 3, 4, 2).permute(0, 3, 1, 2)],
    ids=["shape", "dtype", "layout"],
)
def test_a_graph_is_of_one_shape_dtype_layout_and_key(other: Tensor) -> None:
    captures = Captures()
    graphs = Graphs(captures)
    x = torch.zeros(1, 2, 3, 4)
    for key, value in ((None, x), (None, other), ("tile", x)):
        graphs(key, Doubled(), (value,))
    assert not captures.captured
    graphs("tile", Doubled(), (x,))
    assert captures.captured == 1


def test_the_graph_whose_last_use_is_longest_ago_makes_room() -> None:
    captures = Captures()
    graphs = Graphs(captures, 2)
    for side in (1, 1, 2, 2, 1, 3, 3):  # the second of each is captured; 2 goes for 3
        graphs(None, Doubled(), (torch.zeros(side),))
    assert (captures.captured, len(graphs)) == (3, 2)
    graphs(None, Doubled(), (torch.zeros(1),))
    assert captures.captured == 3
    graphs(None, Doubled(), (torch.zeros(2),))
    assert (captures.captured, len(graphs)) == (4, 2)


def test_a_capture_that_fails_is_said_once_and_nothing_is_captured_any_more() -> None:
    captures, function, x = Captures(), Doubled(), torch.ones(3)
    graphs = Graphs(captures)
    graphs(None, function, (torch.ones(2),))
    graphs(None, function, (torch.ones(2),))
    captures.fails = RuntimeError("operation not permitted when stream is capturing\nSearch for more")
    graphs(None, function, (x,))
    said = (
        "CUDA graphs are not used, kernels are launched one by one: operation not permitted when stream is capturing$"
    )
    with pytest.warns(UserWarning, match=said):
        assert torch.equal(graphs(None, function, (x,))[0], 2 * x)
    assert graphs.reason == "operation not permitted when stream is capturing" and len(graphs) == 0
    captures.fails = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            graphs(None, function, (x,))
    assert captures.captured == 1


def test_out_of_memory_frees_the_graphs_and_runs_once_more() -> None:
    captures, function = Captures(), Doubled()
    graphs = Graphs(captures)
    error = torch.OutOfMemoryError("CUDA out of memory.")
    function.fails = [error]
    with pytest.raises(torch.OutOfMemoryError):  # there is no graph that holds any
        graphs(None, function, (torch.ones(2),))
    for _ in range(2):
        graphs(None, function, (torch.ones(3),))
    assert len(graphs) == 1
    function.fails = [error]
    with pytest.warns(UserWarning, match="one by one: the device ran out of memory beside them"):
        assert torch.equal(graphs(None, function, (torch.ones(4),))[0], torch.full((4,), 2.0))
    assert len(graphs) == 0


def test_captures_have_a_stream_and_a_pool_of_their_own_and_replay_from_their_own_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graphs, captured = [], []

    class Graph:
        def __init__(self) -> None:
            graphs.append(self)
            self.replays = 0

        def replay(self) -> None:
            self.replays += 1

    @contextmanager
    def graph(made: Graph, pool: object, stream: object, capture_error_mode: str):
        captured.append((pool, stream, capture_error_mode))
        yield

    fakes = {"CUDAGraph": Graph, "graph": graph, "graph_pool_handle": object, "Stream": lambda device: object()}
    for name, fake in (fakes | {"device": lambda device: nullcontext()}).items():
        monkeypatch.setattr(torch.cuda, name, fake)
    seen: list[Tensor] = []
    captures, x = cuda_graph.Captures(torch.device("cpu")), torch.ones(2, 3, 4, 5).permute(0, 3, 1, 2)
    replays = [captures(lambda own: (seen.append(own), (own * 2,))[1], (x,)) for _ in range(2)]
    assert captured[0] == captured[1] and captured[0][2] == "thread_local"
    assert all(own is not x and own.stride() == x.stride() and torch.equal(own, x) for own in seen)
    (result,) = replays[1]((x * 3,))
    assert torch.equal(seen[1], x * 3) and torch.equal(result, x * 2)  # until the GPU has computed it anew
    assert [each.replays for each in graphs] == [0, 1]


class FakeCuda:
    """Stands for ``torch.cuda``: everything happens at once; what waits for what is noted."""

    def __init__(self) -> None:
        self.log: list[tuple[str, object]] = []

    class _Stream:
        def __init__(self, cuda: FakeCuda) -> None:
            self._cuda = cuda

        def wait_event(self, event: object) -> None:
            self._cuda.log.append(("waits", event))

    class _Event:
        def __init__(self, cuda: FakeCuda) -> None:
            self._cuda = cuda

        def record(self, stream: object) -> None:
            self._cuda.log.append(("records", self))

        def synchronize(self) -> None:
            self._cuda.log.append(("synchronizes", self))

    def Stream(self, device: torch.device) -> _Stream:
        return self._Stream(self)

    def Event(self) -> _Event:
        return self._Event(self)

    def current_stream(self, device: torch.device) -> _Stream:
        return self._Stream(self)

    @contextmanager
    def stream(self, stream: object):
        yield


def test_copies_go_through_two_lanes_whose_results_stay_for_one_run_more() -> None:
    cuda = FakeCuda()
    transfers = Transfers(torch.device("cpu"), cuda)
    images = [torch.rand(1, 3, 4, 5) for _ in range(4)]
    before, places = None, []
    for image in images:
        on_device = transfers.up(image)
        places.append(on_device.data_ptr())
        assert on_device.is_contiguous(memory_format=torch.channels_last) and torch.equal(on_device, image)
        result = transfers.down((on_device * 2).repeat_interleave(2, 3).half())
        if before is not None:  # begun before this run
            assert torch.equal(before[1](), (2 * before[0]).repeat_interleave(2, 3).half().float())
        before = (image, result)
    assert places[:2] == places[2:] and places[0] != places[1]
    larger = transfers.up(torch.rand(2, 3, 9, 9))
    assert larger.shape == (2, 3, 9, 9)
    # Every event that is recorded is waited for: in the next use of its lane, or by who takes the result.
    first, _ = transfers._lanes
    for event, by in ((first.sent, "synchronizes"), (first.computed, "waits"), (first.received, "waits")):
        kinds = [kind for kind, which in cuda.log if which is event]
        assert kinds.index("records") < len(kinds) - 1 - kinds[::-1].index(by)


class Overlapping(Placed):
    """What :class:`Placed` does on CUDA, on the CPU."""

    overlaps = True

    def __init__(self, model, captures: Captures) -> None:
        super().__init__(model)
        self.graphs, self._transfers = Graphs(captures), Transfers(torch.device("cpu"), FakeCuda())


@pytest.mark.parametrize("variant", ["improved-s", "awsrn-s"])
def test_tiles_by_graphs_are_the_same(variant: str) -> None:
    torch.manual_seed(0)
    model, captures = create(variant, 2).eval().fuse(), Captures()
    x = torch.rand(1, 3, 40, 150)
    plain = Tiler(Placed(model), 32, context=4)
    replayed = Tiler(Overlapping(model, captures), 32, context=4)
    done: list[float] = []
    replayed.on_tile = done.append
    for _ in range(2):
        assert torch.equal(replayed(x), plain(x))
        assert replayed.deviation == plain.deviation
    assert captures.replayed > captures.captured > 0
    assert sum(done) == 2 * 40 * 150
    assert len(replayed.model.graphs) <= cuda_graph.MOST_GRAPHS


def test_a_network_by_graphs_gives_a_result_of_its_own() -> None:
    model, captures = create("awsrn-s", 2).eval().fuse(), Captures()
    placed, images = Overlapping(model, captures), [torch.rand(1, 3, 6, 7) for _ in range(4)]
    results = [placed(image) for image in images]
    assert captures.replayed == 3
    assert all(torch.equal(y, Placed(model)(x)) for x, y in zip(images, results, strict=True))
    assert all(y.is_contiguous() for y in results)


def test_half_of_the_room_for_tiles_is_left_to_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    placed = Placed(create("awsrn-s", 2).eval().fuse())
    assert free_on(placed) is None  # no memory of its own
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    placed.device = torch.device("cuda")
    assert free_on(placed) == 750
    placed.graphs = Graphs(Captures())
    assert free_on(placed) == 375


def test_weights_away_from_the_cpu_are_prepared_once_for_a_network_that_keeps_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Tensor] = []
    monkeypatch.setattr(WNConv2d, "prepare", lambda self, weight: (made.append(weight), torch.zeros(1))[1])
    conv = WNConv2d(3, 4, 3)
    conv.fold()
    conv.to("meta")  # no values could be compared there, as on a GPU that would have to be waited for
    assert conv.prepared_weights() is None
    kept = with_prepared_weights(conv)
    assert kept.prepared_weights() is kept.prepared_weights() is not None and len(made) == 1
    assert conv.prepared_weights() is None  # the network that it shares weights with may still change
    assert not pickle.loads(pickle.dumps(kept)).is_kept
    unfolded = with_prepared_weights(WNConv2d(3, 4, 3))
    assert unfolded.prepared_weights() is None and len(made) == 1


@pytest.mark.gpu
class TestOnAGpu:
    @pytest.mark.parametrize("variant", ["improved-s", "awsrn-s"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
    def test_replays_give_the_bits_of_launches(self, variant: str, dtype: torch.dtype) -> None:
        model = create(variant, 4).eval().fuse()
        launched, replayed = (Placed(model, "cuda", dtype, graphs=graphs) for graphs in (False, True))
        for image in torch.rand(4, 1, 3, 48, 56):
            assert torch.equal(replayed(image), launched(image))
        assert len(replayed.graphs) == 1 and not replayed.graphs.reason

    def test_tiles(self) -> None:
        model = create("improved-s", 4).eval().fuse()
        x = torch.rand(1, 3, 200, 300)
        tilers = [Tiler(Placed(model, "cuda", torch.float16, graphs=graphs), 64) for graphs in (False, True)]
        launched, replayed = (tiler(x) for tiler in tilers)
        assert torch.equal(launched, replayed)
        assert 0 < len(tilers[1].model.graphs) <= cuda_graph.MOST_GRAPHS

    def test_weights_are_prepared_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = create("improved-s", 4).eval().fuse()
        placed = Placed(model, "cuda", torch.float16, graphs=False)
        monkeypatch.setattr(Prepared, "prepare", None)  # not to be called any more
        units = [m for m in placed.model.modules() if isinstance(m, AWRU)]
        assert units and all(unit.prepared is not None and unit.prepared.is_cuda for unit in units)
        placed(torch.rand(1, 3, 16, 16))

    def test_graphs_stay_within_the_room_for_tiles(self) -> None:
        model = create("improved-s", 4).eval().fuse()
        placed = Placed(model, "cuda", torch.float16)
        torch.cuda.empty_cache()
        assert free_on(placed) < 0.5 * torch.cuda.mem_get_info()[0]
        before = torch.cuda.mem_get_info()[0]
        for _ in range(3):
            placed(torch.rand(1, 3, 256, 256))
        taken = before - torch.cuda.mem_get_info()[0]
        assert taken < 2 * model.facts.activations * 256 * 256 + 256 * 2**20
