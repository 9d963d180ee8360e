"""The types of the public functions: each carries its definition in plain PyTorch, some what prepares their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar, cast

from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class Public(Protocol[P, R]):
    """A public function of the library."""

    __name__: str
    reference: Callable[..., R]
    """The definition in plain PyTorch, with the same arguments."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class WithPreparation(Public[P, R], Protocol):
    """A public function that also takes weights in its kernels' own layout."""

    prepare: Callable[..., Tensor | None]
    """Takes the weights; gives them in that layout, or None where no kernel has one."""


def defined_by(reference: Callable[..., R]) -> Callable[[Callable[P, R]], Public[P, R]]:
    """Decorator that gives a public function its definition."""

    def add(function: Callable[P, R]) -> Public[P, R]:
        public = cast("Public[P, R]", function)
        public.reference = reference
        return public

    return add


def prepared_by(prepare: Callable[..., Tensor | None]) -> Callable[[Public[P, R]], WithPreparation[P, R]]:
    """Decorator that gives a public function the preparation of its weights."""

    def add(function: Public[P, R]) -> WithPreparation[P, R]:
        public = cast("WithPreparation[P, R]", function)
        public.prepare = prepare
        return public

    return add
