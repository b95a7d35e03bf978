"""docs/benchmarks.md, written from the figures that were measured and from nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import growth
from bench.store import Record, kept
from bench.turns import Row, Series

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
INTRO = """\
# Benchmarks

How long `mtl` takes beside a loop by hand and beside [TorchJD](https://torchjd.org) on the same work. `make bench`
measures all of it and writes this page. A ratio is of mtl's time (or memory) over the other's, both sides by turns: the
median of `n` turns, and in brackets the quartiles. **Bold** medians are above what is wanted; `beside is` what the
other side takes, a step or in all. On a CPU each side has a process of its own, as its users have it, and mtl's keeps
the memory that it frees, as a run of `mtl train` does; `freed memory kept` is the other side with that one line more.
On a GPU the sides share a process. "The cnn" is `backbone=cnn backbone.norm=none`, 32-64-128 channels, on images of
3x32x32 in batches of 128.
"""
HEAD = ("| {:<44} | {:<34} | {:<22} | {:>6} | {:>9} | {:>3} |", ("mtl", "beside", "ratio", "wanted", "beside is", "n"))


def page(records: Mapping[str, Record], abouts: Mapping[str, str]) -> str:
    """All subjects in their order; those on another device have the device in their names."""
    order = [name for subject in abouts for name in records if name.partition(" ")[0] == subject]
    return "\n".join([INTRO, *(section(name, records[name], abouts[name.partition(" ")[0]]) for name in order)])


def section(subject: str, record: Record, about: str) -> str:
    """One subject: what it is, its table, the machine, and how to repeat it."""
    rows, series = [Row(**row) for row in record["rows"]], [Series(**its) for its in record["series"]]
    lines = [f"## {subject.capitalize()}", "", about, ""]
    lines += [*table(rows), ""] if rows else []
    lines += [*slopes(series), "", f"![{_alt(series)}](pictures/{growth.PICTURE.name})", ""] if series else []
    return "\n".join([*lines, machine(subject, record), ""])


def table(rows: Sequence[Row]) -> list[str]:
    """A line a comparison."""
    shape, names = HEAD
    lines = [shape.format(*names), "| --- | --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        wanted = "" if row.bar is None else f"{row.bar:g}"
        lines.append(shape.format(row.name, row.peer, ratio(row), wanted, _peer(row), row.n))
    return lines


def _peer(row: Row) -> str:
    return "" if row.peer_is is None else f"{digits(row.peer_is)} {row.unit}"


def ratio(row: Row) -> str:
    """Median and quartiles; bold where the bar is missed."""
    low, middle, high = row.ratio
    shown = f"{middle:.3f}" if row.bar is None or middle <= row.bar else f"**{middle:.3f}**"
    return f"{shown} ({low:.3f} to {high:.3f})"


def digits(value: float) -> str:
    """Three of them, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def slopes(series: Sequence[Series]) -> list[str]:
    """A line a series."""
    lines = ["| what grows | side | from | to | ms a step there | slope |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for its in series:
        ends = f"{digits(its.ms[0][1])} to {digits(its.ms[-1][1])}"
        lines.append(f"| {its.panel} | {its.name} | {its.sizes[0]:,} | {its.sizes[-1]:,} | {ends} | {its.slope:.2f} |")
    return lines


def machine(subject: str, record: Record) -> str:
    """What the figures are of."""
    facts = record["facts"]
    clock = {"wall": "wall time", "cpu": "CPU time, as the machine had other work"}[facts["clock"]]
    device = " DEVICE=cuda" if " on " in subject else ""
    name = subject.partition(" ")[0]
    words = " ".join([f"--only {name}", *_words(facts)])
    return (
        f"{facts['device']}, {facts['cores']} cores, {facts['threads']} thread{'s'[: facts['threads'] > 1]}, "
        f"load {facts['load']} at the start; "
        f"{clock};\ntorch {facts['torch']}, TorchJD {facts['torchjd']}; "
        f'{facts["date"]}; {facts["seconds"]} s. Repeat: `make bench{device} ARGS="{words}"`'
    )


def _words(facts: Record) -> list[str]:
    words = [] if facts["clock"] == "wall" else ["--clock cpu"]
    return [*words, *([] if facts["share"] == 1 else [f"--share {facts['share']:g}"])]


def _alt(series: Sequence[Series]) -> str:
    panels = dict.fromkeys(its.panel for its in series)
    return f"milliseconds a step over {', '.join(panels)}, both axes logarithmic"


def write(abouts: Mapping[str, str]) -> None:
    """Writes the page."""
    PAGE.write_text(page(kept(), abouts), encoding="utf-8")
