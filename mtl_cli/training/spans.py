"""Named places in the loop and in the step. They cost nothing but a look at a list unless somebody listens."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Literal, ParamSpec, TypeVar, get_args

P = ParamSpec("P")
R = TypeVar("R")
Place = Literal["input", "forward", "backward", "balancing", "checks", "penalties", "optimizer", "metrics", "other"]
PLACES: tuple[Place, ...] = get_args(Place)


class Listener(ABC):
    """Who is told which place the run is at; the last one that was added."""

    @abstractmethod
    def at(self, place: Place) -> AbstractContextManager[None]:
        """Within it the run is there."""


LISTENERS: list[Listener] = []
NOWHERE: AbstractContextManager[None] = nullcontext()


def span(place: Place) -> AbstractContextManager[None]:
    """Within it the run is at that place; a place within another takes its time from it."""
    return LISTENERS[-1].at(place) if LISTENERS else NOWHERE


def within(place: Place) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The same around every call of a function."""

    def around(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def inner(*arguments: P.args, **named: P.kwargs) -> R:
            with span(place):
                return function(*arguments, **named)

        return inner

    return around
