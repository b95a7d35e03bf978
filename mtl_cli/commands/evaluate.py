"""mtl eval: a checkpoint's numbers on a split."""

import json
import sys
from pathlib import Path

import torch

from mtl_cli.commands import facts
from mtl_cli.commands.assemble import wants_heldout
from mtl_cli.commands.build import build_data, build_model, known_from
from mtl_cli.commands.restore import load, run_of
from mtl_cli.config import Config, EvalOptions
from mtl_cli.data.loader import EvalLoader, resident
from mtl_cli.evaluation import Score, evaluate
from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.reporting.log import spoken
from mtl_cli.reporting.metric_log import finite
from mtl_cli.reporting.terminal import open_screen
from mtl_cli.saved import locate
from mtl_cli.session import Session
from mtl_cli.training import checkpoint
from mtl_cli.training.device import place, settled_format
from mtl_cli.training.fit import values
from mtl_cli.training.options import DEVICES


def run(config: Config, options: EvalOptions, given: Path, session: Session) -> None:
    """Evaluates, prints a table and writes JSON beside the checkpoint, or into the sweep's job folder.

    Raises: ConfigError: the checkpoint is damaged, or does not fit what it is evaluated on.
    """
    folder = locate(str(given))
    checkpoint.verify(folder)
    meta = checkpoint.load_meta(folder)
    device: torch.device = DEVICES.target(config.device)(config.device)
    with spoken(sys.stdout):
        data = build_data(config, heldout=wants_heldout(config), known=known_from(meta))
    model = build_model(config, data.tasks, data.given)
    load(model, folder)
    place(model, device, settled_format(config.trainer, checkpoint.decided(meta)))
    for task in data.tasks.values():
        task.loss.to(device)
    split = resident(data.splits[options.split], device)
    loader = EvalLoader(split, data.known.preparations, config.trainer.eval_batch_size, device)
    scores: dict[str, dict[str, Score]] = {options.split: evaluate(model, data.tasks, loader)}
    screen = open_screen(sys.stdout)
    try:
        for part, digest in data.digests.items():
            if meta["data"].get(part) != digest:
                screen.note(f"{part} is not the data that the checkpoint was trained on")
        screen.command(f"{folder}: epoch {meta['epoch']}, step {meta['step']}, {options.split}")
        screen.result(facts.result_rows(data.tasks, scores))
        target = _target(folder, options.split, session)
        result = {"checkpoint": str(folder), "epoch": meta["epoch"], "step": meta["step"], "data": data.digests}
        found = {split: values(score) for split, score in scores.items()}
        write_atomic(target, json.dumps(finite({**result, **found}), indent=2) + "\n")
        screen.command(f"written: {target}")
    finally:
        screen.close()


def _target(folder: Path, split: str, session: Session) -> Path:
    """In a sweep the job's folder; else the run's `eval`, or beside a checkpoint that was copied away."""
    name = f"{folder.name}-{split}.json"
    if session.job_dir is not None:
        return session.job_dir / name
    run_dir = run_of(folder)
    if run_dir is not None:
        (run_dir / "eval").mkdir(exist_ok=True)
        return run_dir / "eval" / name
    return folder.parent / name
