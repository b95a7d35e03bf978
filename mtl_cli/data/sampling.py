"""How many samples of each part a batch takes, and so what an epoch is: arithmetic on the parts' sizes.

An epoch is one pass over the largest part. What a batch takes is a function of its number, so an epoch begins anywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction

from mtl_cli.data.options import Proportional, RoundRobin, Temperature, Uniform


class Plan(ABC):
    """What the batches of an epoch take of each part, whose order has no end: a smaller part starts over in it.

    steps: batches in an epoch.
    """

    steps: int

    @abstractmethod
    def taken(self, step: int) -> tuple[int, ...]:
        """How many samples of each part the batches before batch `step` took."""

    def spans(self, step: int) -> list[tuple[int, int]]:
        """Which positions of each part's order batch `step` takes: from the first to before the last."""
        return list(zip(self.taken(step), self.taken(step + 1), strict=True))


class Together(Plan):
    """Batches with all parts in them, each in a fixed ratio to the largest.

        x_i = min(floor(i rate), N),   taken_k(i) = u_k floor(x_i ratio_k / u_k)

    x_i: samples of the largest part, of N, before batch i. u_k: 1, or `least` where a batch would take fewer of part k,
    which then waits until it is due that many. So nothing drifts: each part is within u_k of its share at any moment.
    A last batch in which the largest part would have fewer than `least` is left out.

    Args:
        sizes: of the parts.
        ratios: of each part's samples to the largest one's, up to 1.
        rate: samples of the largest part in a batch.
        least: fewest samples of a part in a batch that has any, unless batches are smaller; each part has as many once
            an epoch.
    """

    def __init__(self, sizes: Sequence[int], ratios: Sequence[Fraction], rate: Fraction, least: int) -> None:
        largest = max(sizes)
        full = int(largest / rate)
        rest = largest - int(full * rate)
        self._rate = rate
        least = min(least, int(rate), largest)
        self.steps = full + (rest >= least or full == 0)
        self._last = largest if self.steps > full else int(full * rate)
        self._least = least
        batch = min(int(rate), self._last)
        self._ratios = [max(ratio, Fraction(least, self._last)) for ratio in ratios]
        self._units = [1 if int(batch * ratio) >= least else least for ratio in self._ratios]

    def taken(self, step: int) -> tuple[int, ...]:
        """By the equation; of a last batch that is shorter than others, each part's share if that is `least`."""
        if step < self.steps:
            return self._at(int(step * self._rate))
        before, after = self.taken(step - 1), self._at(self._last)
        return tuple(a if a - b >= self._least else b for a, b in zip(after, before, strict=True))

    def _at(self, x: int) -> tuple[int, ...]:
        return tuple(
            unit * (x * ratio.numerator // (unit * ratio.denominator))
            for ratio, unit in zip(self._ratios, self._units, strict=True)
        )


class InTurn(Plan):
    """One part a batch, one after the other."""

    def __init__(self, rounds: Plan, parts: int) -> None:
        self._rounds = rounds
        self._parts = parts
        self.steps = parts * rounds.steps

    def taken(self, step: int) -> tuple[int, ...]:
        """As after the last whole round, and of the parts that had their turn since, as after the next."""
        done, turn = divmod(step, self._parts)
        before = self._rounds.taken(done)
        return (*self._rounds.taken(done + 1)[:turn], *before[turn:]) if turn else before


def uniform(_: Uniform, sizes: Sequence[int], batch_size: int, least: int) -> Plan:
    """Every batch has `batch_size` samples of each part."""
    return Together(sizes, [Fraction(1)] * len(sizes), Fraction(batch_size), least)


def proportional(_: Proportional, sizes: Sequence[int], batch_size: int, least: int) -> Plan:
    """A batch of `batch_size` x parts samples is shared among the parts by their sizes: an epoch passes each once."""
    return _shared([Fraction(size, max(sizes)) for size in sizes], sizes, batch_size, least)


def temperature(option: Temperature, sizes: Sequence[int], batch_size: int, least: int) -> Plan:
    """The same by n^(1 / tau).

    Source: Arivazhagan et al., Massively multilingual neural machine translation in the wild, 2019, section 4.
    """
    powers = [(size / max(sizes)) ** (1 / option.tau) for size in sizes]
    return _shared([Fraction(power).limit_denominator(10**9) for power in powers], sizes, batch_size, least)


def round_robin(_: RoundRobin, sizes: Sequence[int], batch_size: int, least: int) -> Plan:
    """Every batch has `batch_size` samples of one part."""
    return InTurn(Together(sizes, [Fraction(1)] * len(sizes), Fraction(batch_size), least), len(sizes))


def _shared(ratios: Sequence[Fraction], sizes: Sequence[int], batch_size: int, least: int) -> Plan:
    return Together(sizes, ratios, batch_size * len(sizes) / sum(ratios, Fraction(0)), least)


def in_words(plan: Plan, sizes: Mapping[str, int], accumulate: int) -> str:
    """What an epoch is: its steps, and how often it passes the samples of each part."""
    steps = -(-plan.steps // accumulate)
    of = f" of {accumulate} batches" if accumulate > 1 else ""
    passes = [
        f"{name} {size:,} samples {_times(taken, size)}"
        for (name, size), taken in zip(sizes.items(), plan.taken(plan.steps), strict=True)
    ]
    return f"{steps:,} step{'s' if steps > 1 else ''}{of}; {', '.join(passes)}"


def _times(taken: int, size: int) -> str:
    if taken == size:
        return "once"
    if 0.99 * size < taken < size:
        return f"once, but for {size - taken}"
    return "twice" if taken == 2 * size else f"{taken / size:.3g} times"
