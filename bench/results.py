"""Runs a published benchmark as a user would, and writes what was measured beside what was published.

`python -m bench.results NAME` trains, keeps the figures in bench/results.json and writes docs/results.md from them;
`--of RUN` keeps those of a run that was made before; without a name the page alone is written.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench import sharing

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "results.md"


class Published(NamedTuple):
    """One row of a paper's table: accuracy on test, in percent."""

    what: str
    epochs: int
    left: float
    right: float


class Benchmark(NamedTuple):
    """One section of the page: the runs of ours that belong to it, by name, and a paper's table."""

    about: str
    runs: dict[str, list[str]]
    paper: str
    published: tuple[Published, ...]


BENCHMARKS = {
    "Multi-MNIST": Benchmark(
        "Two digits on one image, resized to 28x28; Sener and Koltun's LeNet. `multi_mnist` has AdamW on one\n"
        "cycle and heads without dropout, `sener_koltun` their SGD and dropout, the rate halved every 3 epochs of 10\n"
        "as theirs every 30 of 100. They train on all 60,000 images; a tenth of ours is val.",
        {
            "multi_mnist": ["task=multi_mnist", "backbone=lenet", "device.threads=1"],
            "sener_koltun": ["experiment=sener_koltun", "device.threads=1"],
        },
        "O. Sener, V. Koltun, Multi-task learning as multi-objective optimization, NeurIPS 2018",
        (
            Published("a network for each task", 100, 97.23, 95.90),
            Published("uniform weights", 100, 96.46, 94.99),
            Published("uncertainty", 100, 96.47, 95.29),
            Published("GradNorm", 100, 96.27, 94.84),
            Published("MGDA-UB", 100, 97.26, 95.90),
        ),
    ),
    "Multi-Fashion+MNIST": Benchmark(
        "A digit (left) and a garment (right) on one image of 36x36, ResNet-18 from scratch. Shi et al. train longer,\n"
        "on Lin et al.'s 120,000 images, with ImageNet's stem, features of 100, heads of two layers, SGD at 0.1,\n"
        "batches of 256, and give means over three seeds. Ours trains on 54,000 images, as a tenth of 60,000 is val,\n"
        "with a stem for small images, linear heads and batches of 128.",
        {
            "fashion_mnist_mix": [
                "task=fashion_mnist_mix", "data.parts.images.offset=8", "backbone=resnet18_cifar", "trainer.epochs=1",
                "trainer.save_every=100", "device.threads=1",
            ]
        },
        "G. Shi, Q. Li, W. Zhang, J. Chen, X.-M. Wu, Recon: reducing conflicting gradients from the root for\n"
        "multi-task learning, ICLR 2023",
        (
            Published("a network for each task", 120, 98.37, 89.63),
            Published("joint training", 120, 97.42, 88.82),
            Published("MGDA", 120, 95.19, 89.46),
            Published("PCGrad", 120, 97.37, 88.68),
            Published("CAGrad", 120, 97.47, 88.85),
            Published("MMoE", 120, 98.27, 89.51),
        ),
    ),
}  # fmt: skip

INTRO = """# Results

Published benchmarks, run with `mtl` as it stands, one seed each. `python -m bench.results NAME` trains one and writes
this page; no figure of ours is typed. Accuracy is that on test, in percent, at the epoch that val selected (in
brackets). Time is that of the whole training with its evaluations, without reading the data.
"""

Record = dict[str, Any]


def measured(run: Path, note: str) -> Record:
    """The figures of a run, from what it left. Raises: SystemExit: it is not done, or not in one go."""
    status, env = (json.loads((run / name).read_text(encoding="utf-8")) for name in ("status.json", "env.json"))
    if status["state"] != "done" or "resumes" in env:
        sys.exit(f"{run} should be done, and in one go: it is {status['state']}")
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    final = next(event for event in events if event["event"] == "final")
    started, ended = (datetime.fromisoformat(status[key]) for key in ("started", "updated"))
    return {
        "command": env["command"],
        "commit": env["git"],
        "torch": env["versions"]["torch"],
        "device": env["device"],
        "note": note,
        "seeds": env["seeds"],
        "epochs": max(event["epoch"] for event in events if event["event"] == "epoch"),
        "epoch": final["epoch"],
        "seconds": (ended - started).total_seconds(),
        "test": {task: final["test"][task]["accuracy"] for task in ("left", "right")},
    }


def trained(words: list[str], note: str) -> Record:
    """What `mtl train` with these words measures."""
    runs = ROOT / "runs" / "results" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    command = [sys.executable, "-m", "mtl_cli", "train", *words]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "MTL_RUNS": str(runs)}, check=True)  # noqa: S603 (our own words)
    (status,) = runs.rglob("status.json")
    return measured(status.parent, note)


def page(records: dict[str, Record]) -> str:
    """The page that shows the records."""
    ours = json.loads(sharing.RECORDS.read_text(encoding="utf-8"))
    parts = [section(title, part, records) for title, part in BENCHMARKS.items()]
    return "\n".join([INTRO, *parts, sharing.section(ours)])


def write() -> None:
    """Writes the page from the figures that there are."""
    PAGE.write_text(page(json.loads(RECORDS.read_text(encoding="utf-8"))), encoding="utf-8")


def section(title: str, part: Benchmark, records: dict[str, Record]) -> str:
    """One benchmark: its table, ours before theirs, and what repeats ours."""
    ours = {name: records[name] for name in part.runs if name in records}
    lines = [
        f"## {title}",
        "",
        part.about,
        "",
        "| run | epochs | left | right | time |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, record in ours.items():
        accuracy = " | ".join(f"{100 * record['test'][task]:.2f}" for task in ("left", "right"))
        lines.append(
            f"| `mtl`, {name} | {record['epochs']} ({record['epoch']}) | {accuracy} | {spent(record['seconds'])} |"
        )
    lines += [f"| {p.what} | {p.epochs} | {p.left:.2f} | {p.right:.2f} | |" for p in part.published]
    lines += ["", f"Without a time, as published: {part.paper}.", ""]
    for name, record in ours.items():
        seeds = ", ".join(f"{key} {value}" for key, value in record["seeds"].items())
        where = f"{record['device']}, torch {record['torch']}, commit {str(record['commit'])[:10]}"
        note = f"; {record['note']}" if record["note"] else ""
        lines += [f"`mtl`, {name} ({seeds}; {where}{note}):", "", "```sh", " ".join(record["command"]), "```", ""]
    return "\n".join(lines)


def spent(seconds: float) -> str:
    """As a reader says it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def main() -> None:
    """Measures what is named, and writes the page."""
    named = {name: words for part in BENCHMARKS.values() for name, words in part.runs.items()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=named, help="none: write the page from the figures that there are")
    parser.add_argument("--of", type=Path, metavar="RUN", help="a run of that command that was made before")
    parser.add_argument(
        "--note", default="", help="what else a reader should know, such as that the machine was shared"
    )
    told = parser.parse_args()
    records = json.loads(RECORDS.read_text(encoding="utf-8"))
    if told.name is not None:
        words = named[told.name]
        records[told.name] = trained(words, told.note) if told.of is None else measured(told.of, told.note)
        if records[told.name]["command"] != ["mtl", "train", *words]:
            sys.exit(f"{told.of} was made by another command: {' '.join(records[told.name]['command'])}")
        RECORDS.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
    write()


if __name__ == "__main__":
    main()
