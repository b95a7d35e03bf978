"""status.json: where a run stands, for those who look from outside."""

import json
import os
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, final

from mtl_cli.reporting.atomic import write_atomic

State = Literal["running", "done", "interrupted", "failed"]


class Status(ABC):
    """Is told where a run stands."""

    @abstractmethod
    def write(
        self, state: State, epoch: int, step: int, samples_per_s: float | None = None, error: str | None = None
    ) -> None:
        """It stands there now. Raises: OSError: it could not be written down; what was before stays."""


@final
class NoStatus(Status):
    """Tells nobody: another process does."""

    def write(
        self, state: State, epoch: int, step: int, samples_per_s: float | None = None, error: str | None = None
    ) -> None:
        """Does nothing."""


@final
class StatusFile(Status):
    """Keeps status.json; whoever reads it finds a whole one at any moment.

    Args:
        resume: the command that goes on with this run.
    """

    def __init__(self, run_dir: Path, resume: str) -> None:
        self.path = run_dir / "status.json"
        self._resume = resume
        self._started = _now()

    def write(
        self, state: State, epoch: int, step: int, samples_per_s: float | None = None, error: str | None = None
    ) -> None:
        facts = {
            "state": state,
            "epoch": epoch,
            "step": step,
            "pid": os.getpid(),
            "started": self._started,
            "updated": _now(),
            "samples_per_s": None if samples_per_s is None else round(samples_per_s, 1),
            "resume": self._resume,
            "error": error,
        }
        write_atomic(self.path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
