"""The rows of all tasks by one batched backward pass: nothing else changes by it."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.cnn import CnnBackbone
from mtl_cli.backbones.mlp import MlpBackbone
from mtl_cli.backbones.options import Cnn, Mlp
from mtl_cli.beneath import CONF
from mtl_cli.data.base import MISSING, Batch, InputSpec, Part
from mtl_cli.look import Look
from mtl_cli.model import MultiTaskModel
from mtl_cli.processes import Processes
from mtl_cli.sharing.hard import HardSharing
from mtl_cli.sharing.options import Hard
from mtl_cli.tasks.heads import LinearHead
from mtl_cli.tasks.options import Linear
from mtl_cli.training import gradients, layer_gramian
from mtl_cli.training.average import Average
from mtl_cli.training.choices import choices
from mtl_cli.training.engine import Engine, Reason, Skipped
from mtl_cli.training.faults import Faults
from mtl_cli.training.options import TrainerOptions
from mtl_cli.training.probing import Probes
from mtl_cli.training.tasks_at_once import Begun
from tests.training.test_every_pair import fits
from tests.training.toys import ROWS, SHARING, Data, Toy, furthest, make, make_data, make_model, make_tasks

ALL = slice(0, ROWS)
CUTS = [slice(0, 7), slice(7, ROWS)]
METHODS = ("upgrad", "db", "excess_mtl")
"""On the Gramian; on rows; on rows of two batches."""


@pytest.fixture
def batched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each batched pass was for."""
    seen: list[int] = []
    over_shared = gradients.over_shared

    def watched(begun: Begun, sought: Sequence[Any]) -> Sequence[Tensor | None]:
        seen.append(len(begun.given[0]))
        return over_shared(begun, sought)

    monkeypatch.setattr(gradients, "over_shared", watched)
    return seen


def pair(data: Data, model: MultiTaskModel | None = None, **told: Any) -> tuple[Toy, Toy]:
    """Two alike, of which the second takes tasks together."""
    apart, together = (make(data, model=copy.deepcopy(model), **told) for _ in range(2))
    together.engine.by_task.together = True
    return apart, together


def same(pair: tuple[Toy, Toy], steps: Sequence[list[Batch]]) -> None:
    """Steps, looks and running statistics are the same."""
    apart, together = pair
    for number, batches in enumerate(steps):
        first, second = (toy.step(batches, number) for toy in (apart, together))
        assert first.tasks == second.tasks
        assert (first.losses_T - second.losses_T).abs().max() < 1e-9
        seen = first.seen(), second.seen()
        assert (seen[0] is None) == (seen[1] is None)
        if seen[0] is not None and seen[1] is not None:
            assert (seen[0][1] - seen[1][1]).abs().max() < 1e-9
    assert furthest(apart.parameters(), together.parameters()) < 1e-9
    buffers = zip(apart.model.buffers(), together.model.buffers(), strict=True)
    assert all(torch.allclose(first.double(), second.double(), rtol=0, atol=1e-9) for first, second in buffers)


def without(batch: Batch, task: str) -> Batch:
    """No labels of that one."""
    (part,) = batch.parts
    target = part.targets[task]
    target = torch.full_like(target, torch.nan if target.is_floating_point() else MISSING)
    return Batch([part._replace(targets={**part.targets, task: target}, labelled={**part.labelled, task: 0})])


SHARED = [(s, a) for s in SHARING for a in METHODS if fits(s, "fixed", a)]


@pytest.mark.parametrize(("sharing", "aggregation"), SHARED)
def test_steps_are_those_of_a_pass_a_task(sharing: str, aggregation: str, batched: list[int]) -> None:
    data = make_data()
    whole = data.batch(ALL)
    same(
        pair(data, sharing=sharing, aggregation=aggregation),
        [[whole], [data.batch(rows) for rows in CUTS], [without(whole, "odd")]],
    )
    assert set(batched) == {2, 3}


@pytest.mark.parametrize("sharing", ["hard", "mmoe", "branched"])
def test_a_task_that_only_one_of_the_micro_batches_has_gets_its_row(sharing: str) -> None:
    data = make_data()
    if sharing not in SHARING:
        pytest.skip("no such sharing")
    micro = [data.batch(rows) for rows in CUTS]
    del micro[0].parts[0].targets["odd"]
    micro.append(data.batch(slice(3, 9)))
    for aggregation in METHODS:
        same(pair(data, sharing=sharing, aggregation=aggregation), [micro])
