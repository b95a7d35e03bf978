"""report.md: what was run, what came out, and what to type next."""

import shlex
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.reporting.records import Header, LabelFacts, Report
from mtl_cli.reporting.table import result_table
from mtl_cli.reporting.wording import number, place, quoted

FILES = {
    "config.yaml": "the whole configuration",
    "metrics.jsonl": "every logged step and epoch",
    "metrics.csv": "one row an epoch",
    "checkpoints/": "`best` and `last`; a folder can be copied away and used alone",
    "env.json": "versions, git revision, device, seeds, digests of the data",
    "train.log": "what the screen showed",
}
CLASSES_SHOWN = 20
LEGEND = (
    "A constant is what the best constant output, fitted on train, reaches; skill is 0 for it and 1 without error. "
    "Each task's primary metric is bold."
)
CERTAINTY = (
    "The expected calibration error: how far a task's certainty is from its share of right predictions, over 15 bins; "
    "0 is best."
)
ONCE = ("seed", "run_dir", "name", "resume")
"""Keys that a sweep over seeds does not take from the run that it follows."""


def write_report(report: Report) -> Path:
    """Writes report.md into the run's directory, and tells where it lies."""
    path = report.header.run_dir / "report.md"
    write_atomic(path, "\n".join(report_lines(report)) + "\n")
    return path


def report_lines(report: Report) -> list[str]:
    """The report, section by section."""
    return [
        f"# {report.header.task_set}: {', '.join(task.name for task in report.header.tasks)}",
        "",
        *_run(report),
        *_results(report),
        *_bests(report),
        *_calibration(report),
        *_labels(report),
        *_learned(report),
        *_pictures(report),
        *_files(report.header),
        *_next(report),
    ]


def _run(report: Report) -> list[str]:
    header = report.header
    typed = _typed(report.overrides)
    own = ", ".join(f"{task.name} {task.parameters:,}" for task in header.tasks)
    facts = {
        "typed": f"`{typed}`",
        "chosen": ", ".join(f"{group} {name}" for group, name in header.choices.items()),
        "cost": header.cost,
        "epoch": header.epoch,
        "seeds": f"seed {header.seed}, data.seed {header.data_seed}",
        "device": header.device,
        "parameters": f"shared {header.shared:,}, {own}",
        "samples": "; ".join(f"{p.name}: train {p.train:,}, val {p.val:,}, test {p.test:,}" for p in header.parts),
        "data": "; ".join(f"{part}: {digest}" for part, digest in report.data.items()),
    }
    return ["## What was run", "", *(f"- {name}: {fact}" for name, fact in facts.items()), ""]


def _typed(overrides: Iterable[str]) -> str:
    return " ".join(("mtl train", *map(shlex.quote, overrides)))


def _results(report: Report) -> list[str]:
    table = result_table(report.results)
    rows = [
        (row[0], f"**{row[1]}**" if primary else row[1], *row[2:])
        for row, primary in zip(table.rows, table.primary, strict=True)
    ]
    return [
        "## Result",
        "",
        f"Of epoch {report.selected}, the best of {report.epochs} by {report.select} on val. {LEGEND}",
        "",
        *_markdown(table.heading, rows, numbers=range(2, len(table.heading))),
        "",
    ]


def _bests(report: Report) -> list[str]:
    rows = [(best.task, best.metric, str(best.epoch), number(best.value)) for best in report.bests]
    return [
        "## Each task's own best epoch on val",
        "",
        *_markdown(("task", "metric", "epoch", "val"), rows, numbers=(2, 3)),
        "",
    ]


def _calibration(report: Report) -> list[str]:
    if not report.calibrations:
        return []
    errors = {(found.task, found.split): found.error for found in report.calibrations}
    splits = list(dict.fromkeys(split for _, split in errors))
    rows = [
        (task, *(number(errors.get((task, split))) for split in splits)) for task in dict.fromkeys(t for t, _ in errors)
    ]
    return [
        "## Calibration",
        "",
        CERTAINTY,
        "",
        *_markdown(("task", *splits), rows, numbers=range(1, len(splits) + 1)),
        "",
    ]


def _learned(report: Report) -> list[str]:
    return ["## What the sharing learned", "", "```", *report.learned, "```", ""] if report.learned else []


def _pictures(report: Report) -> list[str]:
    if not report.pictures:
        return []
    shown = [(f"{caption}:", "", f"![{name}](plots/{name}.png)", "") for name, caption in report.pictures]
    return ["## Pictures", "", *(line for lines in shown for line in lines)]


def _labels(report: Report) -> list[str]:
    rows = [
        (facts.task, facts.split, f"{facts.labelled:,}", f"{facts.missing:,}", _balance(facts))
        for facts in report.labels
    ]
    heading = ("task", "split", "labelled", "missing", "balance")
    return ["## Labels", "", *_markdown(heading, rows, numbers=(2, 3)), ""]


def _balance(facts: LabelFacts) -> str:
    if not facts.classes:
        return f"mean {number(facts.mean)}, deviation {number(facts.deviation)}"
    shown = list(facts.classes.items())[:CLASSES_SHOWN]
    more = len(facts.classes) - len(shown)
    counts = ", ".join(f"{name} {count:,}" for name, count in shown)
    return f"{counts}, and {more} more classes" if more else counts


def _files(header: Header) -> list[str]:
    return [
        "## Where things lie",
        "",
        f"In `{place(header.run_dir)}`:",
        "",
        *(f"- `{name}`: {line}" for name, line in FILES.items()),
        "",
    ]


def _next(report: Report) -> list[str]:
    run = quoted(report.header.run_dir)
    again = _typed(word for word in report.overrides if word.partition("=")[0].lstrip("+") not in ONCE)
    return [
        "## What to type next",
        "",
        "```",
        f"mtl eval checkpoint={run}",
        f"mtl train resume={run} trainer.epochs={2 * report.epochs}",
        f"{again} -m seed=0,1,2",
        "```",
    ]


def _markdown(heading: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Container[int]) -> list[str]:
    """A table; the columns at `numbers` are flush right."""
    rule = ["---:" if i in numbers else "---" for i in range(len(heading))]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in (heading, rule, *rows)]
