"""Choices that only a measurement can make: the run's own first steps are taken one way and another, the faster stays.

Nothing is computed twice: a probed step is a step of the run. Which candidate it takes depends on how many steps were
probed before it, never on a clock, so that an interrupted run goes on as an unbroken one would.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mtl_cli.data.base import Batch
from mtl_cli.look import Look
from mtl_cli.processes import Processes
from mtl_cli.training.cost import now
from mtl_cli.training.engine import Skipped

TIMED = 3
"""Steps of each candidate that are compared at least, after a first one that sets up much."""
TIMED_MOST = 9
"""As many where one candidate's steps take now more and now less than another's: the machine is busy, or both alike."""
MOST = 60
"""Probed steps after which it is decided in any case: steps that can be compared are rare in this run."""
CLEARLY = 0.97
"""The first candidate is left for one whose step takes less than this share of its own."""
SLOW = 5.0
"""Seconds from which on it is said that a candidate's first step took long."""


class Choice(NamedTuple):
    """One thing to choose.

    name, and words for it. candidates: the first stays unless another is clearly faster. apply: makes the next steps
    take one. opening: steps of the first before any other is tried. pays: whether trying is worth it, given the seconds
    that a step takes; unpaid: why not. fails: errors of a candidate that only mean that it is not to be had here.
    looking: whether candidates differ only in steps in which methods look at gradients, so that no other counts.
    """

    name: str
    words: str
    candidates: tuple[str, ...]
    apply: Callable[[str], None]
    opening: int = 0
    pays: Callable[[float], bool] = lambda seconds: True  # noqa: ARG005  # the signature
    unpaid: str = "trying more would not pay, or too few steps could be compared"
    fails: tuple[type[Exception], ...] = ()
    looking: bool = False


class Timing(NamedTuple):
    """One measured step: of which candidate, whether methods looked at gradients in it, seconds, and rows of data."""

    candidate: str
    looked: bool
    seconds: float
    rows: int


def turn(step: int, opening: int, count: int) -> int:
    """Which of `count` candidates a probed step takes.

    The sum of the step's digits in base `count`, modulo `count`: over any few steps each has its equal share, and no
    period of a method that looks at gradients every k steps makes one of them meet all the dear steps.

    Source: Thue-Morse, for two candidates 0 1 1 0 1 0 0 1.
    """
    left, total = max(step - opening, 0), 0
    while left:
        left, digit = divmod(left, count)
        total += digit
    return total % count


def decide(choice: Choice, taken: int, timings: Sequence[Timing]) -> str | None:
    """The candidate that stays; None: more steps are to be probed.

    All that depends on a clock goes through here, so that several processes need only share this answer.
    """
    first = choice.candidates[0]
    if taken == choice.opening > 0 and not _pays(choice, timings):
        return first
    found = comparable(choice, timings)
    if taken < MOST and (found is None or not _clear(found)):
        return None
    if found is None:
        return first
    seconds = {candidate: statistics.median(its) for candidate, its in found.items()}
    fastest = min(seconds, key=seconds.__getitem__)
    return fastest if seconds[fastest] < CLEARLY * seconds[first] else first


def comparable(choice: Choice, timings: Sequence[Timing]) -> dict[str, list[float]] | None:
    """Seconds a row of each candidate in like steps; None: there are too few of every kind."""
    for looked in (True,) if choice.looking else (False, True):
        like = [timing for timing in timings if timing.looked == looked]
        found = {c: [t.seconds / t.rows for t in like if t.candidate == c] for c in choice.candidates}
        if all(len(its) >= TIMED for its in found.values()):
            return found
    return None


def _clear(found: Mapping[str, Sequence[float]]) -> bool:
    """Whether every step of the best candidate takes less than all steps of the others, or all had enough."""
    if all(len(its) >= TIMED_MOST for its in found.values()):
        return True
    best = min(found, key=lambda candidate: statistics.median(found[candidate]))
    return all(min(its) > max(found[best]) for candidate, its in found.items() if candidate != best)


def _pays(choice: Choice, timings: Sequence[Timing]) -> bool:
    return bool(timings) and choice.pays(statistics.median(timing.seconds for timing in timings))


class Probes:
    """Takes the first steps of a run, one choice after the other, until all are decided.

    Between two steps everything is as the first candidate has it, or as was decided: evaluations and checkpoints do not
    depend on where the probing stands.

    Args:
        choices: in the order in which they are made.
        tell: is given the line that says what was decided.
        processes: of the run; the first one's clock decides.
    """

    def __init__(self, choices: Sequence[Choice], tell: Callable[[str], None], processes: Processes) -> None:
        self._processes = processes
        self._tell = tell
        self._open = list(choices)
        self._taken = 0
        self._timings: list[Timing] = []
        self.decided: dict[str, str] = {}

    @property
    def settled(self) -> bool:
        """Whether nothing is left to choose."""
        return not self._open

    def timed(self, batches: Sequence[Batch], take: Callable[[], Look | Skipped]) -> Look | Skipped:
        """Takes a step by `take`, as the schedule says, and measures it."""
        choice = self._open[0]
        first, candidate = choice.candidates[0], self._candidate(choice, self._taken)
        try:
            choice.apply(candidate)
            start = now()
            told: Look | Skipped | None = take()
        except choice.fails as error:
            if candidate == first:
                raise
            self._settle(choice, first, f"{choice.words}: {first}, as {candidate} does not work here ({_line(error)})")
            told = None
        if told is None:
            return take()  # only now is what the failed step held let go, with the error's traceback
        seconds = now() - start
        choice.apply(first)
        self._note(choice, candidate, seconds, batches, told)
        return told

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        probed = "" if self.settled else self._open[0].name
        timings = [list(timing) for timing in self._timings]
        return {"decided": dict(self.decided), "probed": probed, "taken": self._taken, "timings": timings}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from another's state: what was decided is not probed again."""
        for choice in list(self._open):
            if (told := state["decided"].get(choice.name)) not in choice.candidates:
                continue
            self._settle(choice, told, f"{choice.words}: {told}, as the run's first steps decided")
        if not self.settled and self._open[0].name == state["probed"]:
            self._taken = int(state["taken"])
            self._timings = [Timing(*timing) for timing in state["timings"]]

    def _candidate(self, choice: Choice, step: int) -> str:
        return choice.candidates[turn(step, choice.opening, len(choice.candidates))]

    def _note(
        self, choice: Choice, candidate: str, seconds: float, batches: Sequence[Batch], told: Look | Skipped
    ) -> None:
        """Keeps what can be compared, and decides once it is enough."""
        begun = any(self._candidate(choice, step) == candidate for step in range(self._taken))
        if not begun and seconds > SLOW:
            self._tell(f"{choice.words}: the first step of {candidate} took {seconds:.0f} s")
        self._taken += 1
        if begun and isinstance(told, Look) and not told.left_out:
            rows = sum(part.portion.total for batch in batches for part in batch.parts)
            self._timings.append(Timing(candidate, told.seen() is not None, seconds, rows))
        chosen = self._processes.told(lambda: decide(choice, self._taken, self._timings))
        if chosen is not None:
            self._settle(choice, chosen, _said(choice, chosen, self._timings))

    def _settle(self, choice: Choice, chosen: str, line: str) -> None:
        self._open.remove(choice)
        self._taken, self._timings = 0, []
        self.decided[choice.name] = chosen
        choice.apply(chosen)
        self._tell(line)


def _said(choice: Choice, chosen: str, timings: Sequence[Timing]) -> str:
    found, first = comparable(choice, timings), choice.candidates[0]
    if found is None:
        return f"{choice.words}: {chosen}; {choice.unpaid}"
    seconds = {candidate: statistics.median(its) for candidate, its in found.items()}
    over = f"(median of {min(map(len, found.values()))})"
    if chosen != first:
        return f"{choice.words}: {chosen}, a step takes {seconds[chosen] / seconds[first]:.2f} of {first} {over}"
    others = " and ".join(f"{seconds[other] / seconds[first]:.2f} with {other}" for other in choice.candidates[1:])
    return f"{choice.words}: {first}, where a step takes 1, and {others} {over}"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
