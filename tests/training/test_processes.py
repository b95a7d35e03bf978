"""Two processes with their shares of each batch take the step that one takes with the whole."""

import os
import random
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, distributed

from mtl_cli.aggregation.base import Aggregation, build
from mtl_cli.data.base import Batch
from mtl_cli.look import Look
from mtl_cli.processes import Processes, Signals
from mtl_cli.weighting import base as weighting_base
from tests.training.killing import forked, free_port
from tests.training.shares import by_norm, by_part, cut
from tests.training.test_every_pair import fits
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
)  # fmt: skip

STEPS = 5
TRIPLES = 50


class Case(NamedTuple):
    """What is trained; micro-batches a step; what the model has: dropout, batch norm on maps, a data set a task."""

    sharing: str
    weighting: str
    aggregation: str
    micro: int = 1
    made: str = "plain"
    double: bool = True

    def __str__(self) -> str:
        return "-".join(str(word) for word in self)


def method(words: str) -> Aggregation:
    """An aggregation by its name and options: `pcgrad every=2`."""
    name, *options = words.split()
    pairs = [word.split("=") for word in options]
    told = {key: int(value) if value.isdigit() else value for key, value in pairs}
    return build(name, list(make_data().targets), **told).aggregation


def _triples() -> list[Case]:
    """Fifty of all that go together, drawn by a seed."""
    every = [(s, w, a) for s in SHARING for w in WEIGHTING for a in AGGREGATION if fits(s, w, a)]
    return [Case(*triple) for triple in random.Random(0).sample(every, TRIPLES)]


JUMPS = {"mgda", "nash_mtl", "graddrop", "pcgrad", "gradvac", "excess_mtl"}
"""What a rounding may turn: a draw's side, an active set, a sign."""

CASES = [
    *(Case("hard", weighting, "sum") for weighting in WEIGHTING),
    *(Case("hard", "fixed", aggregation) for aggregation in AGGREGATION if aggregation != "sum"),
    *(Case(s, "fixed", a) for s in SHARING for a in ("sum", "mgda") if fits(s, "fixed", a) and s != "hard"),
    *(Case("hard", "uw", aggregation, micro=2) for aggregation in ("sum", "pcgrad", "sdmgrad")),
    Case("cross_stitch", "uw", "pcgrad gradients=last_stage", micro=2),
    Case("hard", "fixed", "pcgrad gradients=bottleneck"),
    *(Case("hard", "fixed", aggregation, made="dropout") for aggregation in ("sum", "sdmgrad")),
    *(Case(s, "fixed", a, made="norm") for s, a in (("hard", "mgda"), ("film", "sum"))),
    *(Case(s, "fixed", "sum", made="parts") for s in ("hard", "adversarial")),
    *(Case("hard", "fixed", a, made="parts") for a in ("mgda", "graddrop", "modo")),
]
MORE = [
    *(case for case in _triples() if case not in CASES),
    *(Case(s, "fixed", a, made="norm") for s in ("hard", "film", "mtan") for a in ("sum", "mgda")),
    *(Case("hard", w, "sum", double=False) for w in WEIGHTING),
    *(Case("hard", "fixed", a, double=False) for a in AGGREGATION if a not in JUMPS),
]
"""Run by a second pair, which is slow."""


def built(case: Case) -> tuple[Toy, list[Batch]]:
    """What it trains, and the batches of one step, as one process has them."""
    if case.made == "parts":
        return by_part(case.sharing, method(case.aggregation))
    if case.made in ("norm", "apart"):
        return by_norm(case.sharing, method(case.aggregation), case.made == "norm")
    data = make_data() if case.double else make_data().single()
    tasks = make_tasks(data)
    model = make_model(tasks, case.sharing, dropout=0.4 if case.made == "dropout" else 0.0).to(data.inputs.dtype)
    weighting = weighting_base.make(WEIGHTING[case.weighting], facts(tasks)).to(data.inputs.dtype)
    toy = make(data, weighting=weighting, aggregation=method(case.aggregation), tasks=tasks, model=model)
    rows = range(len(data.inputs))
    return toy, [data.batch(rows[i :: case.micro]) for i in range(case.micro)]


def trained(case: Case) -> Toy:
    """After all steps, by this process's share of each batch."""
    toy, batches = built(case)
    aside = make_data(seed=7) if case.double else make_data(seed=7).single()
    heldout = aside.batch(slice(0, ROWS))
    processes, wanted = Processes(), any(needs.heldout for needs in toy.engine.methods.needs)
    for step in range(STEPS):
        shares = [cut(batch, processes) for batch in batches]
        told = toy.engine.step(shares, step, STEPS, cut(heldout, processes) if wanted else None)
        assert isinstance(told, Look)
    return toy


def numbers(toy: Toy) -> dict[str, Tensor]:
    """All parameters and buffers, the weighting's too."""
    held = toy.parameters() | dict(toy.model.named_buffers())
    return {name: tensor.double() for name, tensor in held.items()}


APART = [Case("hard", "fixed", "mgda", made="apart")]
"""Each process normalises its own rows."""


def _rank(rank: int, port: int, folder: str, cases: list[Case]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    _agreements(Path(folder), rank)
    for case in cases:
        torch.save(numbers(trained(case)), Path(folder) / f"{case}-{rank}.pt")
    distributed.destroy_process_group()


def _agreements(folder: Path, rank: int) -> None:
    """What two processes make of words and signals."""
    processes = Processes()
    signals = Signals(processes)
    found = {
        "told": processes.told(lambda: f"by {rank}"),
        "gathered": processes.gathered(rank),
        "portions": [tuple(processes.portion(total)) for total in (0, 1, 5)],
        "signals": [signals.agreed(15 if rank == 1 else 0), signals.agreed(0), signals.agreed(0), signals.settle()],
    }
    torch.save(found, folder / f"agreed-{rank}.pt")


def _ran(folder: Path, cases: list[Case]) -> Path:
    port = free_port()
    assert forked(_rank, [(rank, port, str(folder), cases) for rank in (0, 1)]) == [0, 0]
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of every case."""
    return _ran(tmp_path_factory.mktemp("pair"), [*CASES, *APART])


@pytest.fixture(scope="module")
def second_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two others made of more."""
    return _ran(tmp_path_factory.mktemp("second_pair"), MORE)


def agree(pair: Path, case: Case) -> None:
    """Whether both processes came to the same, and to what one does."""
    alone = trained(case)
    start = built(case)[0].parameters()
    both = [torch.load(pair / f"{case}-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert furthest(start, alone.parameters()) > 1e-3
    assert furthest(both[0], both[1]) == 0
    assert furthest(numbers(alone), both[0]) < (1e-9 if case.double else 1e-5)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_processes_with_uneven_labels_take_the_step_of_one(pair: Path, case: Case) -> None:
    agree(pair, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", MORE, ids=str)
def test_more_triples_and_float32_take_the_step_of_one(second_pair: Path, case: Case) -> None:
    agree(second_pair, case)


@pytest.mark.parametrize("case", APART, ids=str)
def test_with_batch_norm_of_ones_own_rows_processes_stay_equal_and_are_not_one(pair: Path, case: Case) -> None:
    both = [torch.load(pair / f"{case}-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert furthest(both[0], both[1]) == 0
    assert furthest(numbers(trained(case)), both[0]) > 1e-3


def test_words_and_signals_reach_all_processes_at_the_same_moment(pair: Path) -> None:
    first, second = (torch.load(pair / f"agreed-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["told"] == second["told"] == "by 0"
    assert (first["gathered"], second["gathered"]) == ([0, 1], [])
    assert first["portions"] == [(0, 0, 0), (0, 0, 1), (0, 2, 5)]
    assert second["portions"] == [(0, 0, 0), (0, 1, 1), (2, 3, 5)]
    assert first["signals"] == second["signals"] == [0, 15, 0, 0]
