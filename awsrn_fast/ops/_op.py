"""The declaration of an op, and what follows from it: checks of its arguments, schemas for torch.library, fakes,
gradients, and the registration of its backends.

A backend's kernels are two functions that take what they use by its name in the declaration:

    fwd: arguments of the op, and ``keep``, whether a gradient will be asked for, where the op keeps outputs for it.
    bwd: ``grad_<result>`` of each result (of several, each may be None), arguments, what is kept, and ``wanted``, a
        bool for each gradient. Returns a gradient of each differentiable argument, in the declaration's order and in
        any layout and dtype; one that is not wanted may be None.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType, NoneType
from typing import Any, get_args

import torch
from torch import Tensor

from awsrn_fast import backends as choice

from ._arguments import Argument, autocast, check, memory_format, room_like
from ._library import define, define_composite, differentiable, not_differentiable
from ._triton import launches

PREPARED = object()
"""In place of an argument's dimensions: a tensor in a backend's own layout, neither checked nor differentiable."""
_SCHEMA = {int: "int", float: "float", bool: "bool", torch.dtype: "ScalarType"}


class Op:
    """One op of the library.

    Args:
        name: of the op in torch.library; of one with a reference, the row's.
        backends: modules by the backend's name, with the functions above, ``reasons_against(call)`` and, of a
            transformed algorithm, its name as ``ALGORITHM``.
        results: the dimensions of each result, by name.
        kept: what the gradient needs beyond the arguments: results, and outputs for it alone, empty unless ``keep``.
        added: an argument that the result is a sum with: its gradient is the result's, and it is not kept.
        joined: maps whose gradients come as one, along the channels.
        fake: results and kept outputs without values, by the arguments' names; default: as ``results`` says.
        composites: of an op that is composed of others, the function of all arguments by the backend's name.
        reference: the definition in plain PyTorch, of an op that users call.
        arguments: in the public function's order. A tensor by its dimensions, such as ``"N C H W"``: numbers are
            literal sizes, a trailing ``?`` marks one that may be None; a map ends with ``H W``. Else the type of an
            option, or :data:`PREPARED`.
    """

    def __init__(
        self,
        name: str,
        backends: dict[str, ModuleType],
        *,
        results: dict[str, str],
        kept: Sequence[str] = (),
        added: str | None = None,
        joined: tuple[str, ...] = (),
        fake: Callable[..., Any] | None = None,
        composites: dict[str, Callable[..., Any]] | None = None,
        reference: Callable[..., Any] | None = None,
        **arguments: Any,
    ) -> None:
        self.name, self.arguments, self.results, self.kept = name, arguments, results, tuple(kept)
        self.tensors = tuple(
            Argument.of(key, spec, place)
            for place, (key, spec) in enumerate(arguments.items())
            if isinstance(spec, str)
        )
        self.added, self._fake = added, fake
        self._maps = {argument.name for argument in self.tensors if argument.is_map}
        self._extra = tuple(key for key in kept if key not in results)
        tensors = [argument.name for argument in self.tensors]
        self._saved = tuple(key for key in tensors if key != added)
        self._options = tuple(key for key, spec in arguments.items() if key not in tensors and spec is not PREPARED)
        self._groups = tuple(joined if key in joined else (key,) for key in self._saved if key not in joined[1:])
        self.forward: dict[str, Callable[..., Any]] = {}
        """The op as torch.library knows it, by backend."""
        self.backward: dict[str, Callable[..., Any]] = {}
        """``(grad_<result>.., tensors.., options.., kept.., wanted)`` -> a gradient each, empty where not wanted."""
        if composites:
            for key, function in composites.items():
                suffix = "" if key == "cpu" else f"_{key}"
                self.forward[key] = define_composite(f"{name}{suffix}", self._schema(), function)
        else:
            self._define_all(backends)
        if reference is not None:
            choice.register_reference(name, reference, {t.name: " ".join(t.dims) for t in self.tensors})
            for key, module in backends.items():
                algorithm = getattr(module, "ALGORITHM", "")
                choice.register(name, key, self.forward[key], module.reasons_against, algorithm)

    def __call__(self, *arguments: Any) -> Any:
        """Check the arguments and run the op."""
        return self.run(self.check(*arguments), *arguments)

    def check(self, *arguments: Any) -> dict[str, int]:
        """The sizes by the dimensions' names; raises what :func:`awsrn_fast.ops._arguments.check` does."""
        return check(self.name, self.tensors, arguments)

    def call_of(self, **arguments: Any) -> choice.Call:
        """The properties of a call that the choice of a backend depends on; arguments left out are None."""
        given: tuple[Any, ...] = tuple(arguments.get(key) for key in self.arguments)
        return choice.call_of(given[0], self.check(*given))

    def run(self, sizes: dict[str, int], *arguments: Any) -> Any:
        """Run the op on the backend that the arguments and their sizes choose."""
        given = autocast(self.tensors, arguments)
        return choice.choose(self.name, given[0], sizes)(*given)

    # Registration with torch.library.

    def _define_all(self, backends: dict[str, ModuleType]) -> None:
        shared = {key: module for key, module in backends.items() if key != "triton"}
        if shared:  # one op, whose kernel the tensors' device chooses
            fwd = {key: _by_name(module.fwd, self._fwd_names()) for key, module in shared.items()}
            bwd = {key: _by_name(module.bwd, self._bwd_names()) for key, module in shared.items()}
            run, back = self._define("", fwd, bwd)
            self.forward, self.backward = dict.fromkeys(shared, run), dict.fromkeys(shared, back)
        if "triton" in backends:
            module = backends["triton"]
            fwd = launches(module.fwd, lambda function: _by_name(function, self._fwd_names()))
            bwd = launches(module.bwd, lambda function: _by_name(function, self._bwd_names()))
            self.forward["triton"], self.backward["triton"] = self._define("_triton", fwd, bwd)

    def _define(
        self, suffix: str, fwd: dict[str, Callable[..., Any]], bwd: dict[str, Callable[..., Any]]
    ) -> tuple[Callable[..., Any], Callable[..., Any]]:
        name = f"{self.name}_fwd{suffix}" if self._extra else f"{self.name}{suffix}"
        op = define(name, self._schema(forward=True), fake=self._fwd_fake, **fwd)
        finished = {key: self._finished(function) for key, function in bwd.items()}
        back = define(f"{self.name}_bwd{suffix}", self._bwd_schema(), fake=self._bwd_fake, **finished)
        differentiable(op, self._backward_by(back), self._setup_context)
        not_differentiable(back)
        if not self._extra:
            return op, back
        count, places = len(self.results), [argument.place for argument in self.tensors]

        def keeping(*arguments: Any) -> Any:
            # What is kept is for the gradient alone, and may be as large as the maps.
            tensors = [arguments[place] for place in places]
            keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
            results = op(*arguments, keep)
            return results[:count] if count > 1 else results[0]

        return define_composite(f"{self.name}{suffix}", self._schema(), keeping), back

    def _fwd_names(self) -> list[str]:
        return [*self.arguments, *(("keep",) if self._extra else ())]

    def _bwd_names(self) -> list[str]:
        return [*(f"grad_{key}" for key in self.results), *self._saved, *self._options, *self.kept, "wanted"]

    def _schema(self, forward: bool = False) -> str:
        extra = self._extra if forward else ()
        listed = [f"{self._type(key)} {key}" for key in self.arguments] + ["bool keep"] * bool(extra)
        return f"({', '.join(listed)}) -> {_tensors(len(self.results) + len(extra))}"

    def _bwd_schema(self) -> str:
        several = "?" if len(self.results) > 1 else ""
        listed = [f"Tensor{several} grad_{key}" for key in self.results]
        listed += [f"{self._type(key)} {key}" for key in (*self._saved, *self._options)]
        listed += [*(f"Tensor {key}" for key in self.kept), "bool[] wanted"]
        return f"({', '.join(listed)}) -> {_tensors(len(self._groups))}"

    def _type(self, key: str) -> str:
        spec = self.arguments[key]
        if isinstance(spec, str):
            return "Tensor?" if spec.endswith("?") else "Tensor"
        if spec is PREPARED:
            return "Tensor?"
        types = get_args(spec) or (spec,)
        return _SCHEMA[types[0]] + ("?" if NoneType in types else "")

    def _fwd_fake(self, *given: Any) -> Any:
        if self._fake is not None:
            made = _by_name(self._fake, self._fwd_names())(*given)
        else:
            sizes: dict[str, int] = {}
            for argument in self.tensors:
                if given[argument.place] is not None:
                    sizes |= zip(argument.dims, given[argument.place].shape, strict=True)
            x = given[self.tensors[0].place]
            made = tuple(
                torch.empty(
                    [sizes[dim] for dim in spec.split()],
                    dtype=x.dtype,
                    device=x.device,
                    memory_format=memory_format(x) if spec.endswith("H W") else torch.contiguous_format,
                )
                for spec in self.results.values()
            )
        return made[0] if isinstance(made, tuple) and len(made) == 1 else made

    # Gradients.

    def _bwd_fake(self, *given: Any) -> Any:
        saved = dict(zip(self._saved, given[len(self.results) :], strict=False))
        x = saved[self._saved[0]]
        grads = []
        for group, want in zip(self._groups, given[-1], strict=True):
            if not want:
                grads.append(x.new_empty(0))
            elif len(group) == 1:
                grads.append(room_like(saved[group[0]], group[0] in self._maps))
            else:
                parts = [saved[key].shape[1] for key in group if saved[key] is not None]
                shape = (x.shape[0], sum(parts), *x.shape[2:])
                grads.append(torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x)))
        return tuple(grads) if len(grads) > 1 else grads[0]

    def _finished(self, bwd: Callable[..., Any]) -> Callable[..., Any]:
        """``bwd`` with each gradient in its argument's dtype and a map's layout, and empty where it is not wanted."""
        first = len(self.results)
        places = [first + self._saved.index(group[0]) for group in self._groups]
        maps = [group[0] in self._maps for group in self._groups]

        def finished(*given: Any) -> Any:
            made = bwd(*given)
            made = made if isinstance(made, tuple | list) else (made,)
            grads = []
            for grad, want, place, is_map in zip(made, given[-1], places, maps, strict=True):
                if not want:
                    grads.append(given[first].new_empty(0))
                    continue
                like = given[place]
                grad = grad if grad.dtype == like.dtype else grad.to(like.dtype)
                grads.append(grad.contiguous(memory_format=memory_format(like)) if is_map else grad.contiguous())
            return tuple(grads) if len(grads) > 1 else grads[0]

        return finished

    def _setup_context(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        named = dict(zip((*self.results, *self._extra), outputs, strict=True))
        given = dict(zip(self.arguments, inputs, strict=False))
        ctx.options = [given[key] for key in self._options]
        ctx.count = len(inputs)
        ctx.mark_non_differentiable(*(named[key] for key in self._extra))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*(given[key] for key in self._saved), *(named[key] for key in self.kept))

    def _backward_by(self, bwd: Callable[..., Any]) -> Callable[..., Any]:
        names, results, saved = list(self.arguments), len(self.results), len(self._saved)
        groups = [[names.index(key) for key in group] for group in self._groups]
        added = None if self.added is None else names.index(self.added)

        def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
            made: list[Tensor | None] = [None] * ctx.count
            needs = ctx.needs_input_grad
            wanted = [any(needs[place] for place in group) for group in groups]
            of_results = grads[:results]
            if all(grad is None for grad in of_results):
                return tuple(made)
            if added is not None and needs[added]:
                made[added] = grads[0]
            if any(wanted):
                kept = ctx.saved_tensors  # asked for once: under checkpointing that computes them
                computed = bwd(*of_results, *kept[:saved], *ctx.options, *kept[saved:], wanted)
                computed = computed if isinstance(computed, tuple | list) else (computed,)
                for group, want, grad in zip(groups, wanted, computed, strict=True):
                    if want:
                        parts = _parts(grad, [kept[self._saved.index(names[place])] for place in group])
                        for place, part in zip(group, parts, strict=True):
                            made[place] = part if needs[place] else None
            return tuple(made)

        return backward


def _by_name(function: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
    """``function``, which takes some of ``names``, as one of all of them by position."""
    takes = list(inspect.signature(function).parameters)
    unknown = [key for key in takes if key not in names]
    if unknown:
        raise TypeError(f"{function.__module__}.{function.__name__} takes {unknown}; there are {names}")
    if takes == names:
        return function
    places = [names.index(key) for key in takes]
    return lambda *given: function(*[given[place] for place in places])


def _parts(grad: Tensor, maps: Sequence[Tensor | None]) -> Iterable[Tensor]:
    if len(maps) == 1:
        return (grad,)
    return grad.split([0 if m is None else m.shape[1] for m in maps], dim=1)


def _tensors(count: int) -> str:
    return "Tensor" if count == 1 else f"({', '.join(['Tensor'] * count)})"
