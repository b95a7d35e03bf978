"""The processes that train one model together: torch.distributed's default group, or this one alone.

What one process would do with a batch, several do with their shares of its rows: sums of what they have are the same.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from mtl_cli.options import JobError


class GoneError(JobError):
    """Another process of the run is no longer there."""

    def __init__(self, line: str = "another process of the run has ended") -> None:
        super().__init__(line)


class Portion(NamedTuple):
    """Where a process's rows of a batch lie among all: `rows` from `start` on, of `total`."""

    start: int
    rows: int
    total: int


class Processes:
    """A view of the default group of torch.distributed; without one there is nobody to talk to."""

    def __init__(self) -> None:
        self.grouped = distributed.is_available() and distributed.is_initialized()
        self.size = distributed.get_world_size() if self.grouped else 1
        self.rank = distributed.get_rank() if self.grouped else 0

    @property
    def lead(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def portion(self, total: int) -> Portion:
        """This process's rows of so many: all have as many, but for one."""
        start, stop = (rank * total // self.size for rank in (self.rank, self.rank + 1))
        return Portion(start, stop - start, total)

    def portions(self, total: int) -> list[Portion]:
        """Those of all processes, in order."""
        ends = [rank * total // self.size for rank in range(self.size + 1)]
        return [Portion(start, stop - start, total) for start, stop in pairwise(ends)]

    def add(self, tensor: Tensor) -> Tensor:
        """Adds up `tensor` over all processes, in place. Raises: GoneError."""
        if self.grouped:
            _talk(lambda: distributed.all_reduce(tensor))
        return tensor

    def add_all(self, tensors: list[Tensor]) -> None:
        """Adds up several tensors in one message, in place. Raises: GoneError."""
        if not self.grouped or not tensors:
            return
        flat = self.add(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, summed in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def gathered(self, value: Any) -> list[Any]:
        """At the lead, the value of each process in order; empty elsewhere. Raises: GoneError."""
        if not self.grouped:
            return [value]
        found: list[Any] | None = [None] * self.size if self.lead else None
        _talk(lambda: distributed.gather_object(value, found))
        return found or []

    def told(self, make: Callable[[], Any]) -> Any:
        """What the lead makes, for all; the others make nothing. Raises: GoneError."""
        if not self.grouped:
            return make()
        held = [make() if self.lead else None]
        _talk(lambda: distributed.broadcast_object_list(held, src=0))
        return held[0]

    def in_turn(self, make: Callable[[], Any]) -> Any:
        """What each makes of its own: the lead first, and the others find what it left in files. Raises: GoneError."""
        made = make() if self.lead else None
        self.wait()
        return made if self.lead else make()

    def wait(self) -> None:
        """Until all are here. Raises: GoneError."""
        if self.grouped:
            self.add(torch.zeros(()))


class Signals:
    """Whether any process was asked to stop, so that all stop at the same step.

    The answer to one question is waited for at the next: it comes while the step between is computed.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._asked: tuple[distributed.Work, Tensor] | None = None

    def agreed(self, own: int) -> int:
        """The largest signal that any process had when this was last asked; 0 for none. Alone, one's own."""
        if not self._processes.grouped:
            return own
        before = self.settle()
        flag = torch.tensor(own)
        work = _talk(lambda: distributed.all_reduce(flag, distributed.ReduceOp.MAX, async_op=True))
        self._asked = (work, flag)
        return before

    def settle(self) -> int:
        """Waits for the answer that is under way, and gives it."""
        if self._asked is None:
            return 0
        work, flag = self._asked
        self._asked = None
        _talk(work.wait)
        return int(flag)


def _talk(action: Callable[[], Any]) -> Any:
    """Lets torch talk to the others. Raises: GoneError: one does not answer, as its process has ended."""
    try:
        return action()
    except (distributed.DistNetworkError, distributed.DistBackendError) as error:
        raise GoneError from error
    except RuntimeError as error:
        if "peer" not in str(error):  # Gloo has no type of its own for a connection that was closed or reset by peer
            raise
        raise GoneError from error
