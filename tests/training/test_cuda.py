"""On a GPU: a step gives what a processor's gives, and the host waits for the device no more than it must."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from mtl_cli.__main__ import main
from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.data.base import Batch
from mtl_cli.look import Look
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.graph import usage
from mtl_cli.training.progress import Totals
from mtl_cli.weighting import base as weighting_base
from tests.training.killing import TINY, free_port, same, train
from tests.training.toys import (
    AGGREGATION,
    ROWS,
    SHARING,
    WEIGHTING,
    Toy,
    facts,
    furthest,
    make,
    make_data,
    make_model,
    make_tasks,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CPU, GPU = torch.device("cpu"), torch.device("cuda")
STEPS, KILLED = 3, -9
TINY_THERE = [*(word for word in TINY if not word.startswith("device")), "device=cuda"]
NO_HOST = ("fixed", "uw", "dwa", "rlw", "imtl_l")
"""Weightings that ask the device nothing."""
ON_A_GRAMIAN = [
    name
    for name, option in AGGREGATION.items()
    if (needs := aggregation_base.make(option, ["a"]).needs).level == "gramian" and needs.batches == 1
]
CASES = [
    *(("hard", weighting, "sum") for weighting in WEIGHTING),
    *(("hard", "fixed", aggregation) for aggregation in AGGREGATION if aggregation != "sum"),
    *((sharing, "fixed", "sum") for sharing in SHARING if sharing != "hard"),
]


def on(device: torch.device, sharing: str, weighting: str, aggregation: str, read_later: bool = False) -> Toy:
    """A toy that computes there."""
    data = make_data()
    tasks = make_tasks(data)
    for task in tasks.values():
        task.loss.to(device)
    model = make_model(tasks, sharing).to(device)
    weighs = weighting_base.make(WEIGHTING[weighting], facts(tasks)).double().placed(device)
    examples = {"p": data.inputs[:2].to(device)}
    toy = make(data, tasks=tasks, model=model, weighting=weighs, aggregation=aggregation, examples=examples)
    if not read_later:
        return toy
    settings = Settings(0, None, None, read_later=True)
    engine = Engine(model, tasks, toy.engine.methods, toy.engine.optimizer, usage(model, examples), settings)
    return toy._replace(engine=engine)


def there(batch: Batch, device: torch.device) -> Batch:
    """It on a device."""
    moved = [
        part._replace(inputs=part.inputs.to(device), targets={name: y.to(device) for name, y in part.targets.items()})
        for part in batch.parts
    ]
    return Batch(moved)


def step(toy: Toy, number: int, device: torch.device) -> Look:
    """One that is taken there."""
    wanted = any(needs.heldout for needs in toy.engine.methods.needs)
    heldout = there(make_data(seed=7).batch(slice(0, ROWS)), device) if wanted else None
    look = toy.engine.step([there(make_data().batch(slice(0, 20)), device)], number, STEPS, heldout)
    assert isinstance(look, Look)
    return look


@contextmanager
def waits() -> Iterator[list[str]]:
    """The times within it that the host waited for the device."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found += [f"{w.filename}:{w.lineno}" for w in told if "called a synchronizing" in str(w.message)]


@pytest.mark.parametrize(("sharing", "weighting", "aggregation"), CASES)
def test_steps_on_a_gpu_are_those_of_a_processor(sharing: str, weighting: str, aggregation: str) -> None:
    here, away = (on(device, sharing, weighting, aggregation) for device in (CPU, GPU))
    start = here.parameters()
    for number in range(STEPS):
        step(here, number, CPU)
        step(away, number, GPU)
    assert furthest(start, here.parameters()) > 1e-3
    assert furthest(here.parameters(), {name: p.cpu() for name, p in away.parameters().items()}) < 1e-9


def waits_of_a_step(toy: Toy) -> list[str]:
    """Where the second step of a toy waits, with its totals."""
    batch, totals = there(make_data().batch(slice(0, 20)), GPU), Totals(list(toy.tasks))
    step(toy, 0, GPU)
    with waits() as found:
        look = toy.engine.step([batch], 1, STEPS)
        assert isinstance(look, Look)
        totals.add(look)
    return found


@pytest.mark.parametrize("weighting", NO_HOST)
def test_a_plain_step_waits_for_nothing(weighting: str) -> None:
    toy = on(GPU, "hard", weighting, "sum", read_later=True)
    assert waits_of_a_step(toy) == []
    assert toy.engine.unread.read()


@pytest.mark.parametrize("aggregation", ON_A_GRAMIAN)
def test_a_step_on_a_gramian_waits_for_that_alone(aggregation: str) -> None:
    assert len(waits_of_a_step(on(GPU, "hard", "fixed", aggregation, read_later=True))) == 1


def waited(run: Path, *words: str) -> list[str]:
    """Where a short run waited, from its command line to its report."""
    with waits() as found:
        assert main(["train", *TINY_THERE, f"run_dir={run}", "trainer.save_every=null", "data.limit=900", *words]) == 0
    return found


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_epoch_of_twice_as_many_steps_waits_no_more(tmp_path: Path, optimizer: str) -> None:
    words = [f"optimizer={optimizer}", "trainer.log_every=1000", "trainer.epochs=2"]
    few, many = (
        waited(tmp_path / str(size), *words, f"trainer.batch_size={size}", "trainer.memory_format=contiguous")
        for size in (64, 32)
    )
    assert len(many) <= len(few) + 2, sorted(set(many))  # a slower run shows its rate once more


def test_a_stopped_run_goes_on_to_the_bit_by_algorithms_that_are_repeatable(tmp_path: Path) -> None:
    words = [*TINY_THERE, "trainer.deterministic=true", "aggregation=upgrad", "weighting=uw"]
    seen = {"CUDA_VISIBLE_DEVICES": "0"}
    assert train([*words, f"run_dir={tmp_path / 'one'}"], "", seen) == 0
    assert train([*words, f"run_dir={tmp_path / 'two'}"], "step:7", seen) == KILLED
    assert train([f"resume={tmp_path / 'two'}"], "", seen) == 0
    assert same(tmp_path / "one", tmp_path / "two") == []


@pytest.mark.parametrize("aggregation", ["sum", "upgrad"])
def test_a_process_of_nccl_trains_as_one_by_itself_does(tmp_path: Path, aggregation: str) -> None:
    words = ["train", *TINY_THERE, "trainer.deterministic=true", f"aggregation={aggregation}"]
    words += ["trainer.memory_format=contiguous"]
    assert main([*words, f"run_dir={tmp_path / 'alone'}"]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=1", f"--master-port={free_port()}"]
    command += ["-m", "mtl_cli", *words, f"run_dir={tmp_path / 'nccl'}"]
    told = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False)  # our own words
    assert told.returncode == 0, told.stderr[-2000:]
    alone, nccl = (losses(tmp_path / name) for name in ("alone", "nccl"))
    assert len(alone) > 10
    for one, other in zip(alone, nccl, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def losses(run: Path) -> list[dict[str, float]]:
    """Those of each step."""
    events = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [event["losses"] for event in events if event["event"] == "step"]


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.precision=auto"],
        ["trainer.precision=fp16"],
        ["trainer.compile=true"],
        ["trainer.profile=true", "trainer.epochs=9"],
        ["trainer.ema=0.9", "trainer.accumulate=2"],
        ["backbone=cnn", "backbone.channels=4", "trainer.precision=bf16", "trainer.memory_format=channels_last"],
    ],
    ids=lambda words: words[-1].partition("=")[0] + "-" + words[0],
)
@pytest.mark.parametrize("aggregation", ["sum", "upgrad"])
def test_what_a_gpu_is_told_to_do_trains(tmp_path: Path, words: list[str], aggregation: str) -> None:
    given = [word for word in TINY_THERE if not (word.startswith("backbone") and words[0] == "backbone=cnn")]
    given = [word for word in given if word.partition("=")[0] not in {w.partition("=")[0] for w in words}]
    run = tmp_path / "run"
    assert main(["train", *given, *words, f"aggregation={aggregation}", f"run_dir={run}", "data.limit=400"]) == 0
    final = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert final["event"] == "final"
    assert main(["eval", f"checkpoint={run}", "device=cuda"]) == 0
