"""What a run's methods cost: said before the first step by what they need, and measured in the first steps."""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from mtl_cli.aggregation.base import WeightedAggregation
from mtl_cli.aggregation.options import RenewedOption, Sum
from mtl_cli.data.base import Batch
from mtl_cli.look import Look
from mtl_cli.options import Option
from mtl_cli.training.engine import Engine, Skipped

WARM_UP = 2
"""Steps that are not measured: the first ones set up much."""
MEASURED = 5


def in_words(engine: Engine, option: Option, accumulate: int) -> str:
    """Passes in a step, and memory for rows and state; `option` is the aggregation's."""
    weighting, aggregation = engine.methods.needs
    tasks = len(engine.usage.of)
    asked = [n for n in (weighting, *([aggregation] if engine.balanced else [])) if n.level != "losses"]
    late = weighting.reads_losses and accumulate > 1
    exact = late or any(needs.at == "shared" for needs in asked)
    words = ["1 backward pass a step"]
    own = ", through its own part" if len(set(engine.model.part_of.values())) > 1 else ""
    if exact:
        tried = "; or 1 for all, which the first steps try" if engine.may_join_tasks else ""
        words = [f"{tasks} backward passes a step, one a task{own}{tried}"]
    elif asked:
        words = [f"{tasks} short backward passes a step, one a task{own}, then 1 through all"]
    if isinstance(option, RenewedOption) and option.every > 1 and engine.balanced:
        words[0] = f"1 backward pass a step; every {option.every} steps {words[0].replace(' a step', '')}"
    if isinstance(option, Sum) and option.probe_every is not None and engine.balanced:
        words.append(f"every {option.probe_every} steps {tasks}, one a task, to look at the gradients")
    words += ["as many of a held-out batch"] if weighting.heldout else []
    words += ["1 more forward pass"] if weighting.again or aggregation.again else []
    size = _row_bytes(engine)
    pieces = max((needs.batches for needs in asked), default=1)
    one = len(asked) == accumulate == len(set(engine.model.part_of.values())) == 1
    added_up = int(pieces > 1 and one and _adds(engine))
    if exact and size:
        words.append(f"rows {(pieces - added_up) * tasks} x {_size(size)}")
    if engine.methods.aggregation.rows_kept and size:
        kept = engine.methods.aggregation.rows_kept * tasks
        words.append(f"state {kept} x {_size(size)} = {_size(kept * size)}")
    return "; ".join(words)


class Gauge:
    """Measures, in the first steps, what they take beside steps of the plain sum; leaves no trace in the run.

    Args:
        engine: takes the steps.
        tell: is given the line that says what was found.
    """

    def __init__(self, engine: Engine, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._tell = tell
        weighting, aggregation = engine.methods.needs
        plain = weighting.level == aggregation.level == "losses" and not weighting.again and not weighting.heldout
        self._left = 0 if plain else WARM_UP + MEASURED
        self._ratios: dict[bool, list[float]] = {False: [], True: []}

    @property
    def done(self) -> bool:
        """Whether steps are no longer measured."""
        return self._left == 0

    def timed(self, batches: Sequence[Batch], take: Callable[[], Look | Skipped]) -> Look | Skipped:
        """Takes a step by `take`, and measures it while there is something to find out."""
        if self.done:
            return take()
        self._left -= 1
        start = now()
        told = take()
        whole = now() - start
        if isinstance(told, Look) and self._left < MEASURED:
            start = now()
            self._engine.plain_gradients(batches, told)
            plain = now() - start
            looked = told.seen() is not None
            self._ratios[looked].append(whole / (whole - self._engine.spent + plain))
        if self.done:
            self._say()
        return told

    def _say(self) -> None:
        found = {
            looked: f"{statistics.median(ratios):.2f} times one of the plain sum (median of {len(ratios)})"
            for looked, ratios in self._ratios.items()
            if ratios
        }
        if len(found) == 2:
            self._tell(f"a step takes {found[False]}; where weights are renewed {found[True]}")
        elif found:
            self._tell(f"a step takes {next(iter(found.values()))}")


def now() -> float:
    """Seconds on a clock, once the accelerator has done all that it was told."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def _adds(engine: Engine) -> bool:
    """Whether the aggregation adds up gradients that it does not look at: they have no rows then."""
    aggregation = engine.methods.aggregation
    return isinstance(aggregation, WeightedAggregation) and aggregation.combines is not None


def _row_bytes(engine: Engine) -> int:
    parameters = dict(engine.model.named_parameters())
    return sum(parameters[name].numel() * parameters[name].element_size() for name in engine.usage.shared)


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"
