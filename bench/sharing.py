"""Every sharing strategy on Multi-MNIST, and what needs a data set a task on MNIST and Fashion-MNIST.

`python -m bench.sharing` makes the runs that bench/sharing.json does not have yet, one after the other, and keeps each
one's figures there as soon as it is done; a run that was broken off goes on. Then it writes its section of
docs/results.md; with `--page` that alone. MTL_DATA leads to the data, runs go to runs/sharing (or `--runs`).
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mtl_cli.sharing.options import SHARINGS

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "bench" / "sharing.json"
SINGLE, HARD = "independent", "hard"
LONG = (SINGLE, HARD, "cross_stitch", "mmoe", "mtan")
"""What is trained for ten epochs, with three seeds."""
SEEDS = (0, 1, 2)
APART = ("adversarial",)
"""What needs a data set for each task."""
OPTIONS = {
    "tree": ["sharing.branches={fc: [[left], [right]]}"],
    "hard, split_at=conv2": ["sharing.split_at=conv2"],
    "low_rank, rank=20": ["sharing.rank=20"],
}
"""What says something here only with an option, or says another thing."""
TASKS = {"multi_mnist": ("left", "right"), "mnist_fashion": ("digit", "garment")}

Record = dict[str, Any]


class Job(NamedTuple):
    """One run: a strategy, perhaps with an option, on a task set."""

    task_set: str
    name: str
    epochs: int
    seed: int

    @property
    def key(self) -> str:
        """Its name in the records."""
        return f"{self.task_set} {self.name} {self.epochs} {self.seed}"

    @property
    def words(self) -> list[str]:
        """What `mtl train` is told."""
        sharing = self.name.partition(",")[0]
        told = [f"task={self.task_set}", "backbone=lenet", f"sharing={sharing}", *OPTIONS.get(self.name, [])]
        return [*told, f"seed={self.seed}", f"trainer.epochs={self.epochs}", "device.threads=1"]


def jobs() -> list[Job]:
    """All runs, the longest last; references have three seeds everywhere, to tell what one seed is worth."""
    others = [name for name in SHARINGS if name not in (*LONG, *APART)]
    short = [SINGLE, HARD, *others, *(name for name in OPTIONS if name not in others)]
    return [
        *(
            Job("multi_mnist", name, 3, seed)
            for name in short
            for seed in (SEEDS if name in (SINGLE, HARD) else SEEDS[:1])
        ),
        *(Job("mnist_fashion", name, 3, 0) for name in (SINGLE, HARD, *APART)),
        *(Job("multi_mnist", name, 10, seed) for seed in SEEDS for name in LONG),
    ]


def work(todo: list[Job], records: dict[str, Record], run: Callable[[Job], Record], keep: Callable[[], None]) -> None:
    """Runs what the records do not have, and keeps each as soon as it is done."""
    for job in todo:
        if job.key not in records:
            records[job.key] = run(job)
            keep()


def trained(job: Job, runs: Path) -> Record:
    """What a run measures; one that was broken off goes on, and has no time."""
    place = runs / job.key.replace(" ", "-").replace(",", "")
    command = [sys.executable, "-m", "mtl_cli", "train"]
    if not (place / "report.md").exists():
        begun = (place / "checkpoints").exists()
        words = [f"resume={place}"] if begun else [*job.words, f"run_dir={place}"]
        subprocess.run([*command, *words], cwd=ROOT, env=dict(os.environ), check=True)  # noqa: S603  # our own words
    return measured(job, place)


def measured(job: Job, place: Path) -> Record:
    """The figures of a run. Raises: SystemExit: it is of other words, or not done."""
    status, env = (json.loads((place / name).read_text(encoding="utf-8")) for name in ("status.json", "env.json"))
    if env["command"][:-1] != ["mtl", "train", *job.words] or status["state"] != "done":
        sys.exit(f"{place} should be a finished run of {' '.join(job.words)}")
    events = [json.loads(line) for line in (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    final = next(event for event in events if event["event"] == "final")
    started, ended = (datetime.fromisoformat(status[key]) for key in ("started", "updated"))
    (told,) = re.findall(r"^- parameters: (.*)$", (place / "report.md").read_text(encoding="utf-8"), re.MULTILINE)
    shared, *own = [int(number.replace(",", "")) for number in re.findall(r" ([\d,]*\d)", told)]
    return {
        "test": {task: final["test"][task]["accuracy"] for task in TASKS[job.task_set]},
        "epoch": final["epoch"],
        "parameters": {"shared": shared, "own": sum(own)},
        "seconds": None if "resumes" in env else (ended - started).total_seconds(),
        "commit": env["git"],
        "torch": env["versions"]["torch"],
        "device": env["device"],
    }


def section(records: Mapping[str, Record]) -> str:
    """Its part of docs/results.md."""
    first = next(iter(records.values()))
    commits = ", ".join(sorted({record["commit"][:10] for record in records.values()}))
    lines = [
        "## Every sharing strategy",
        "",
        "Accuracy on test, in percent, at the epoch that val selected. `python -m bench.sharing` makes all runs and",
        "this section; each is `mtl train` with the words below. Of three seeds the mean stands before the smallest",
        "and the largest. To single-task: the mean of both tasks, less that of `independent` with the same seed; where",
        "its range holds 0, no difference is shown, and three of one sign come by chance one time in four. One seed",
        "says little: on Multi-MNIST three seeds of one strategy",
        f"lie up to {_widest(10, records):.1f} points apart in their mean after ten epochs, and up to",
        f"{_widest(3, records):.1f} after three, as far as `hard` and `independent` tell. Time is the training's with",
        "its evaluations, on one of two cores that other work shared: it is rough;",
        "[sharing.md](sharing.md#what-it-costs) has the cost. `low_rank` as its YAML has it leaves the heads of both",
        "tasks, with 20 classes together, 4 numbers to read.",
        "",
        f"{first['device']}, torch {first['torch']}, data.seed 0, commits {commits}.",
        "",
    ]
    for task_set, epochs, title in (
        ("multi_mnist", 10, "Multi-MNIST, ten epochs, three seeds"),
        ("multi_mnist", 3, "Multi-MNIST, three epochs"),
        ("mnist_fashion", 3, "MNIST and Fashion-MNIST, a data set for each task, three epochs, one seed"),
    ):
        lines += _table(task_set, epochs, title, records)
    return "\n".join(lines)


def _table(task_set: str, epochs: int, title: str, records: Mapping[str, Record]) -> list[str]:
    one, other = TASKS[task_set]
    wanted = [job for job in jobs() if (job.task_set, job.epochs) == (task_set, epochs) and job.key in records]
    by_name: dict[str, list[Record]] = {}
    for job in wanted:
        by_name.setdefault(job.name, []).append(records[job.key])
    if SINGLE not in by_name:  # what all are compared with is run first
        return []
    single = [_accuracy([record]) for record in by_name[SINGLE]]
    lines = [
        f"### {title}",
        "",
        f"| sharing | {one} | {other} | mean, to single-task | parameters: shared, own | time |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in by_name.items():
        cells = " | ".join(_spread([100 * r["test"][task] for r in found], ".2f") for task in (one, other))
        gains = [_accuracy([record]) - reference for record, reference in zip(found, single, strict=False)]
        gain = "single-task" if name == SINGLE else _spread(gains, "+.2f")
        counts = found[0]["parameters"]
        lines.append(f"| {name} | {cells} | {gain} | {counts['shared']:,}, {counts['own']:,} | {_time(found)} |")
    lines += ["", "```sh", _command(wanted[0]), "```", ""]
    with_options = [job for job in wanted if job.name in OPTIONS]
    if with_options:
        lines += ["The others with their name in the place of this one's, but for those with an option:", ""]
        lines += ["```sh", *map(_command, with_options), "```", ""]
    return lines


def _command(job: Job) -> str:
    return "mtl train " + " ".join(f"'{word}'" if " " in word else word for word in job.words)


def _accuracy(found: list[Record]) -> float:
    """The mean over tasks and seeds, in percent."""
    return 100 * statistics.mean(statistics.mean(record["test"].values()) for record in found)


def _spread(values: list[float], how: str) -> str:
    if len(values) == 1:
        return f"{values[0]:{how}}"
    return f"{statistics.mean(values):{how}} ({min(values):{how}} to {max(values):{how}})"


def _time(found: list[Record]) -> str:
    known = [record["seconds"] for record in found if record["seconds"] is not None]
    return f"{statistics.mean(known):.0f} s" if known else ""


def _widest(epochs: int, records: Mapping[str, Record]) -> float:
    """The largest spread over seeds of a strategy's mean accuracy on Multi-MNIST, in points."""
    spread = [0.0]
    for name in LONG:
        wanted = [Job("multi_mnist", name, epochs, seed).key for seed in SEEDS]
        found = [_accuracy([records[key]]) for key in wanted if key in records]
        spread.append(max(found, default=0.0) - min(found, default=0.0))
    return max(spread)


def main() -> None:
    """Measures what is missing, and writes the page."""
    from bench import results  # which shows this section

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="store_true", help="write the page from the figures that there are")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "sharing", help="where runs go")
    told = parser.parse_args()
    records: dict[str, Record] = json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.exists() else {}

    def keep() -> None:
        draft = RECORDS.with_suffix(".draft")
        draft.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
        draft.replace(RECORDS)

    if not told.page:
        work(jobs(), records, lambda job: trained(job, told.runs.absolute()), keep)
    results.write()


if __name__ == "__main__":
    main()
