"""Steps that nobody waits for: where one was not finite, those since the last reading are taken again, looked at."""

import copy
from typing import Any

from mtl_cli.look import Look
from mtl_cli.training.average import Average
from mtl_cli.training.engine import Engine, Reason, Skipped
from mtl_cli.training.progress import Progress


class Mark:
    """A moment of a run, in memory, to go back to: all that steps move."""

    def __init__(self, engine: Engine, average: Average, progress: Progress) -> None:
        methods = engine.methods
        self._average = average
        self._parts: tuple[Any, ...] = (
            engine.model,
            engine.optimizer,
            methods.weighting,
            methods.aggregation,
            progress,
        )
        if average.model is not engine.model:
            self._parts = (*self._parts, average.model)
        self._kept: list[Any] = []
        self._averaged = 0

    def take(self) -> None:
        """From now on this is the moment."""
        self._kept = []  # so that there are never two
        self._kept = [copy.deepcopy(part.state_dict()) for part in self._parts]
        self._averaged = self._average.steps

    def restore(self) -> None:
        """Everything is as it was at that moment."""
        for part, state in zip(self._parts, self._kept, strict=True):
            part.load_state_dict(copy.deepcopy(state))
        self._average.goes_on(self._averaged)


class Later:
    """Decides when the host asks whether the steps since it last did were finite; goes back to there if one was not.

    As batches, draws and rates are functions of where the run stands, the same steps come again, each looked at before
    it moves anything. So what is not finite has the answer that it has where each step is waited for, down to the line
    in the log, and nothing that is evaluated, saved or logged ever comes after it.
    """

    def __init__(self, engine: Engine, average: Average, progress: Progress) -> None:
        self._unread = engine.unread
        self._progress = progress
        self._mark = Mark(engine, average, progress)
        self._again_until: int | None = None

    @property
    def on(self) -> bool:
        """Whether steps are taken without looking."""
        return self._unread.on

    def begin(self) -> None:
        """Steps come now, from where the run stands."""
        if self._unread.on:
            self._mark.take()

    def sound(self, told: Look | Skipped, due: bool) -> bool:
        """Whether what was computed so far may stand; it is asked where that is due. If not, all is as at the mark."""
        failed = told.reason is Reason.NOT_FINITE if isinstance(told, Skipped) else bool(told.left_out)
        if not self._unread.on or not (due or failed) or self._unread.read():
            return True
        self._again_until = self._progress.step
        self._unread.on = False
        self._mark.restore()
        return False

    def passed(self, due: bool) -> None:
        """A step is written down: where it was asked about, this is the moment to go back to from now on."""
        if self._again_until is not None and self._progress.step >= self._again_until:
            self._again_until = None
            self._unread.on, due = True, True
        if self._unread.on and due:
            self._mark.take()
