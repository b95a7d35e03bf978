"""What `mtl data` says of a data set, in lines of at most 80 columns. Takes plain values."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from mtl_cli.reporting.wording import number, shorten

WIDTH = 80
COLUMN = 10
NAME = 38
CLASSES = 12
"""More classes than this are shown by their largest and smallest ones."""
LARGEST, SMALLEST = 6, 4
ABREAST = 7
"""More tasks than this are shown by the pairs that have the fewest rows in common."""
PAIRS = 10


class Classes(NamedTuple):
    """Of a task with classes or tags: how many labelled rows of each split have each of them."""

    names: tuple[str, ...]
    counts: Mapping[str, Sequence[int]]


class Numbers(NamedTuple):
    """Of a task of numbers: smallest, mean, largest and standard deviation in each split that has labels."""

    by_split: Mapping[str, tuple[float, float, float, float]]


class TaskFacts(NamedTuple):
    """One task: its kind, labelled rows by split, and what its labels are."""

    name: str
    kind: str
    labelled: Mapping[str, int]
    labels: Classes | Numbers


class PartFacts(NamedTuple):
    """One part: its inputs in words, rows by split, its tasks, and how many rows have the labels of two."""

    name: str
    inputs: str
    sizes: Mapping[str, int]
    tasks: tuple[TaskFacts, ...]
    both: Mapping[tuple[str, str], int]


class Found(NamedTuple):
    """A finding: its line, a few places, and how many there are."""

    line: str
    places: Sequence[str]
    total: int


def part_lines(part: PartFacts) -> Iterator[str]:
    """Counts, missing labels, balance and overlap of one part."""
    yield from wrapped(f"part {part.name}: {part.inputs}")
    yield _row("", [*part.sizes, "missing", ""])
    yield _row("rows", [*(f"{size:,}" for size in part.sizes.values()), "", ""])
    total = sum(part.sizes.values())
    for task in part.tasks:
        labelled = [task.labelled[split] for split in part.sizes]
        missing = total - sum(labelled)
        yield _row(task.name, [*(f"{count:,}" for count in labelled), f"{missing:,}", _percent(missing, total)])
    for task in part.tasks:
        yield ""
        yield from _task(task)
    if len(part.tasks) > 1:
        yield ""
        yield from _overlap(part)


def finding_lines(title: str, findings: Sequence[Found]) -> Iterator[str]:
    """Errors or warnings, each with its places."""
    if findings:
        yield ""
        yield f"{title}:"
    for finding in findings:
        yield from wrapped(finding.line, "  ", "    ")
        for place in finding.places:
            yield from wrapped(place, "    ", "      ")
        if finding.places and finding.total > len(finding.places):
            yield f"    and {finding.total - len(finding.places):,} more"


def wrapped(line: str, first: str = "", rest: str = "  ") -> list[str]:
    """A line that fits; what is no words, a long path say, is not broken."""
    return textwrap.wrap(
        line, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )


def _task(task: TaskFacts) -> Iterator[str]:
    if isinstance(task.labels, Numbers):
        yield _row(f"{task.name}: {task.kind}", ["min", "mean", "max", "std"])
        for split, values in task.labels.by_split.items():
            yield _row(f"  {split}", [number(value) for value in values])
        return
    names, counts = task.labels
    word = "tags" if task.kind == "multilabel" else "classes"
    yield _row(f"{task.name}: {task.kind}, {len(names):,} {word}", ["train", *(_short(split) for split in counts)])
    train = counts["train"]
    order = list(range(len(names)))
    gap = -1
    if len(names) > CLASSES:
        by_size = sorted(order, key=lambda i: -train[i])
        order, gap = [*by_size[:LARGEST], *by_size[-SMALLEST:]], LARGEST
    for k, i in enumerate(order):
        if k == gap:
            yield f"  ... {len(names) - LARGEST - SMALLEST:,} {word} between"
        shares = [_percent(its[i], task.labelled[split]) for split, its in counts.items()]
        yield _row(f"  {names[i]}", [f"{train[i]:,}", *shares])


def _short(split: str) -> str:
    return f"% {split}"


def _overlap(part: PartFacts) -> Iterator[str]:
    names = [task.name for task in part.tasks]
    if len(names) <= ABREAST:
        room = min(28, WIDTH - COLUMN * len(names))
        yield _row("rows that have both labels"[:room], [shorten(name, COLUMN - 1) for name in names], room)
        for one in names:
            yield _row(one, [f"{_both(part, one, other):,}" for other in names], room)
        return
    pairs = sorted(combinations(names, 2), key=lambda pair: _both(part, *pair))
    if _both(part, *pairs[0]) == sum(part.sizes.values()):
        yield f"every row has the labels of all {len(names):,} tasks"
        return
    yield f"rows that have both labels: the {PAIRS} pairs of {len(pairs):,} with the fewest"
    for one, other in pairs[:PAIRS]:
        yield f"  {_both(part, one, other):>12,}  {shorten(one, 30)} and {shorten(other, 30)}"


def _both(part: PartFacts, one: str, other: str) -> int:
    return part.both[one, other] if (one, other) in part.both else part.both[other, one]


def _row(name: str, cells: Sequence[str], room: int = 0) -> str:
    """A name, and cells of one width each."""
    width = room or min(NAME, WIDTH - COLUMN * len(cells))
    return (f"{shorten(name, width):{width}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)).rstrip()


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %" if of else "-"
