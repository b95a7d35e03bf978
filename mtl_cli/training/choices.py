"""What a run may choose by probing: how maps lie, how parts and tasks go through, whence Gramians come, compiling."""

from collections.abc import Callable

import torch

from mtl_cli.processes import Processes
from mtl_cli.training.average import Average
from mtl_cli.training.device import FORMATS, lay_out
from mtl_cli.training.engine import Engine
from mtl_cli.training.optimizer import lay_alike
from mtl_cli.training.options import TrainerOptions
from mtl_cli.training.probing import TIMED, Choice

PAYS = 600.0
"""Seconds of training that must be left for compiling to be tried, which takes a minute or so by itself."""


def choices(options: TrainerOptions, engine: Engine, average: Average, left: Callable[[], int]) -> list[Choice]:
    """Those that were left to the run, and have more than one answer; a repeatable run has none.

    Args:   left: how many steps are left to take.
    """
    found: list[Choice] = []
    if options.deterministic:
        return found
    maps = any(parameter.dim() == 4 for parameter in engine.model.parameters())
    if options.memory_format == "auto" and maps:
        found.append(_memory_format(engine, average))
    found += ways(engine)
    if options.compile == "auto" and not Processes().grouped:  # a compiler that fails in one leaves the others waiting
        found.append(_compile(engine, left))
    return found


def ways(engine: Engine) -> list[Choice]:
    """Those of how gradients are taken."""
    found: list[Choice] = []
    if not engine.model.compiled and engine.may_join_parts:
        found.append(_parts(engine))
    if engine.may_join_tasks and not Processes().grouped:
        found.append(_tasks(engine))
    if engine.may_leave_out and not Processes().grouped:
        found.append(_layers(engine))
    return found


def _memory_format(engine: Engine, average: Average) -> Choice:
    def apply(candidate: str) -> None:
        for model in (engine.model, average.model):
            lay_out(model, FORMATS[candidate])
        lay_alike(engine.optimizer)  # here, and not in the step that is timed

    return Choice("memory_format", "memory format", tuple(FORMATS), apply)


def _parts(engine: Engine) -> Choice:
    def apply(candidate: str) -> None:
        engine.passes.together = candidate == "together"

    return Choice("parts", "passes of the parts", ("apart", "together"), apply, fails=(torch.OutOfMemoryError,))


def _tasks(engine: Engine) -> Choice:
    def apply(candidate: str) -> None:
        engine.by_task.together = candidate == "together"

    # it takes more memory, and an operation may have no batched form, as what is compiled has none
    return Choice("tasks", "passes of the tasks", ("apart", "together"), apply, fails=(RuntimeError,), looking=True)


def _layers(engine: Engine) -> Choice:
    def apply(candidate: str) -> None:
        engine.by_task.layered = candidate == "layers"

    return Choice(
        "gramian",
        "Gramian",
        ("layers", "rows"),
        apply,
        opening=2,
        pays=lambda _: bool(engine.by_task.left_out),
        unpaid="no layer was left out of rows",
        looking=True,
    )


def _compile(engine: Engine, left: Callable[[], int]) -> Choice:
    def apply(candidate: str) -> None:
        if candidate == "compiled":
            engine.model.compile_training()
        else:
            engine.model.train_eagerly()

    return Choice(
        "compile",
        "compile",
        ("eager", "compiled"),
        apply,
        opening=TIMED + 1,
        pays=lambda seconds: seconds * left() >= PAYS,
        fails=(RuntimeError, OSError),
    )
