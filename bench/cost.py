"""What every sharing strategy costs against hard sharing: a forward pass, a training step, parameters.

Prints a table for each backbone; `make bench` does. `--write` also keeps the figures in bench/cost.json and puts the
tables into docs/sharing.md; `--page` does only that, from the figures that there are. Strategy and hard sharing take
turns in one process, on one thread whose CPU time counts, so that it matters little what else the machine does.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.step import CLASSES, SHAPE, by_mtl, make_tasks
from bench.turns import compare
from mtl_cli.backbones.base import BackboneFactory, Spec
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.beneath import packaged
from mtl_cli.data.base import Batch, InputSpec, Part
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.base import Task
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.options import Linear
from mtl_cli.training.graph import usage

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "bench" / "cost.json"
PAGE = ROOT / "docs" / "sharing.md"
HARD = "hard"
BEGIN, END = "<!-- cost -->", "<!-- /cost -->"

Record = dict[str, Any]


def make_batch(tasks: Mapping[str, Task], rows: int, apart: bool) -> Batch:
    """So many rows with a label for every task; or so many of each task's own."""
    torch.manual_seed(0)
    targets = {task: torch.randint(0, CLASSES, (rows,)) for task in tasks}
    together = [list(tasks)] if not apart else [[task] for task in tasks]
    return Batch([_part(names, torch.randn(rows, *SHAPE), targets) for names in together])


def _part(tasks: list[str], inputs: Tensor, targets: Mapping[str, Tensor]) -> Part:
    return Part("+".join(tasks), inputs, {task: targets[task] for task in tasks}, dict.fromkeys(tasks, len(inputs)))


def make_model(name: str, backbone: str, tasks: Mapping[str, Task], batch: Batch) -> MultiTaskModel:
    """A strategy as its YAML has it, on a backbone as its YAML has it, with linear heads."""
    torch.manual_seed(0)
    option = packaged(BACKBONES, backbone, {})
    factory = BackboneFactory(BACKBONES.target(option)(option, InputSpec(SHAPE)))
    chosen = packaged(SHARINGS, name, _changes(name, factory.spec, tasks))
    sharing = SHARINGS.target(chosen)(chosen, factory, {task: it.width for task, it in tasks.items()})
    heads = {task: LinearHead(Linear(at=None), sharing.spec(task), it.width, task) for task, it in tasks.items()}
    part_of = {task: part.name for part in batch.parts for task in part.targets}
    return MultiTaskModel(sharing, heads, part_of, per_part=True)


def _changes(name: str, spec: Spec, tasks: Mapping[str, Task]) -> dict[str, Any]:
    """A tree without a branch is hard sharing: here its tasks part at the last stage."""
    return {"branches": {spec.stages[-1].name: [[task] for task in tasks]}} if name == "tree" else {}


def apart(name: str) -> bool:
    """Whether a strategy must have a data set for each task."""
    return bool(SHARINGS.target(packaged(SHARINGS, name, {})).data_set_a_task)


def forward(model: MultiTaskModel, batch: Batch) -> Callable[[int], None]:
    """A pass in evaluation mode, without gradients."""

    def run(number: int) -> None:  # noqa: ARG001  # every pass is the same
        model.eval()
        with torch.no_grad():
            for part in batch.parts:
                model(part.inputs, list(part.targets), part.name)

    return run


def sizes(model: MultiTaskModel, batch: Batch) -> dict[str, int]:
    """How many parameters one task alone uses, and how many others there are: as the header of a run counts them."""
    own = {name for names in usage(model, {p.name: p.inputs[:2] for p in batch.parts}).own.values() for name in names}
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    alone = sum(counts[name] for name in own)
    return {"shared": sum(counts.values()) - alone, "own": alone}


def measure(name: str, backbone: str, rows: int, count: int, pairs: int) -> Record:
    """Quartiles of the ratios to hard sharing on the same batch, hard sharing's median milliseconds, and sizes."""
    tasks = make_tasks(count)
    batch = make_batch(tasks, rows, apart(name))
    mine, hard = (make_model(which, backbone, tasks, batch) for which in (name, HARD))
    found: Record = {**sizes(mine, batch), "hard": sizes(hard, batch), "apart": len(batch.parts) > 1, "hard_ms": {}}
    steps = [by_mtl(model, tasks, batch, "fixed", "sum") for model in (mine, hard)]
    for what, (one, other) in (("forward", (forward(mine, batch), forward(hard, batch))), ("step", steps)):
        ratios, found["hard_ms"][what] = compare(one, other, pairs, time.process_time)
        found[what] = statistics.quantiles(ratios, n=4)
    return found


def table(found: Mapping[str, Record]) -> str:
    """A line a strategy. size: all parameters, over hard sharing's; own: the share that one task alone uses."""
    lines = [
        f"| {'sharing':13} | {'forward':19} | {'step':19} | {'size':>5} | {'own':>5} |",
        f"| {'-' * 13} | {'-' * 19} | {'-' * 19} | {'-' * 4}: | {'-' * 4}: |",
    ]
    for name, record in found.items():
        every, of_hard = record["shared"] + record["own"], sum(record["hard"].values())
        size, own = every / of_hard, f"{record['own'] / every:.0%}".replace("%", " %")
        cells = " | ".join(f"{_spread(record[what]):19}" for what in ("forward", "step"))
        lines.append(f"| {name:13} | {cells} | {size:5.2f} | {own:>5} |")
    return "\n".join(lines)


def _spread(quartiles: list[float]) -> str:
    low, middle, high = quartiles
    places = 1 if high >= 10 else 2
    return f"{middle:.{places}f} ({low:.{places}f} to {high:.{places}f})"


def caption(backbone: str, kept: Record) -> str:
    """What a table is of."""
    hard = kept["found"][backbone][HARD]
    ms = hard["hard_ms"]
    return (
        f"`{backbone}`; hard sharing takes {ms['forward']:.1f} ms forward and {ms['step']:.1f} ms a step, and has\n"
        f"{hard['shared']:,} shared parameters and {hard['own']:,} of one task alone."
    )


ABOUT = """\
Each as its YAML has it; {tasks} classifications of {classes} classes with linear heads, images of 3x32x32, batches of
{batch}, fixed weights and `sum`. Times are over those of `hard` in the same process, taking turns: medians of {pairs}
pairs (quartiles), of the CPU time of one thread, on a machine that other work shared. forward: all tasks in evaluation
mode; step: the engine's, with AdamW; size: all parameters, over those of `hard`; own: the share of them that one task
alone uses. `tree` parts its tasks at the last stage, as it has no branch by default; `ltb` evaluates one tree, here the
one that it starts with; `adversarial`, and `hard` beside it, have a batch of each task's own. torch {torch}, commit
{commit:.10}.
"""


def page(kept: Record) -> str:
    """What stands between the markers of docs/sharing.md."""
    lines = [ABOUT.format(classes=CLASSES, **kept["told"])]
    for backbone, found in kept["found"].items():
        lines += [caption(backbone, kept), "", table(found), ""]
    return "\n".join([*lines, "Repeat: `python -m bench.cost --write`"])


def write(kept: Record) -> None:
    """Puts it there."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{page(kept)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    """Measures, prints, and keeps it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["cnn", "mlp"])
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="keep the figures, and put them into docs/sharing.md")
    parser.add_argument("--page", action="store_true", help="measure nothing: write the page from what was kept")
    told = parser.parse_args()
    if told.page:
        write(json.loads(RECORDS.read_text(encoding="utf-8")))
        return
    torch.set_num_threads(1)
    facts = {"torch": torch.__version__, "commit": _commit()}
    kept: Record = {"told": {key: vars(told)[key] for key in ("tasks", "batch", "pairs")} | facts}
    kept["found"] = {}
    for backbone in told.backbones:
        measured = (measure(name, backbone, told.batch, told.tasks, told.pairs) for name in SHARINGS)
        kept["found"][backbone] = dict(zip(SHARINGS, measured, strict=True))
        print(f"{caption(backbone, kept)}\n\n{table(kept['found'][backbone])}\n", flush=True)
    if told.write:
        RECORDS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        write(kept)


def _commit() -> str:
    words = ["git", "rev-parse", "HEAD"]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    return found.stdout.strip()


if __name__ == "__main__":
    main()
