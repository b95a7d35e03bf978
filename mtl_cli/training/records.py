"""What is kept of a run: events and checkpoints, by the first of its processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from mtl_cli.reporting.metric_log import MetricLog
from mtl_cli.training.checkpoint import Contents, Store


class Records(ABC):
    """Takes what a run has to tell."""

    @abstractmethod
    def write(self, event: Mapping[str, Any]) -> None:
        """Writes an event down."""

    @abstractmethod
    def save(self, step: int, state: dict[str, Any], best: bool) -> None:
        """Saves a checkpoint of the loop's state. Raises: JobError: it cannot be written."""

    @abstractmethod
    def last_good(self) -> Path | None:
        """The newest checkpoint."""


@final
class Kept(Records):
    """On the disk.

    Args:   snapshot: makes a checkpoint's contents of the loop's state.
    """

    def __init__(self, store: Store, log: MetricLog, snapshot: Callable[[dict[str, Any]], Contents]) -> None:
        self.store = store
        self.log = log
        self._snapshot = snapshot

    def write(self, event: Mapping[str, Any]) -> None:
        self.log.write(event)

    def save(self, step: int, state: dict[str, Any], best: bool) -> None:
        self.store.save(step, self._snapshot({**state, "metric_log": self.log.position()}), best)

    def last_good(self) -> Path | None:
        return self.store.pointed("last")


@final
class Unkept(Records):
    """Nowhere: another process keeps the same.

    Args:   store: that other process's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, event: Mapping[str, Any]) -> None:
        """Does nothing."""

    def save(self, step: int, state: dict[str, Any], best: bool) -> None:
        """Does nothing."""

    def last_good(self) -> Path | None:
        return self._store.pointed("last")
