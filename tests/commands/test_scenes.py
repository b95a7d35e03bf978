"""What the pictures show is what the model was given and what it said."""

import numpy as np
import pytest
import torch

from mtl_cli.commands.scenes import losses, tag_lines, training_inputs
from mtl_cli.data.augment import augmented, prepare, restored
from mtl_cli.data.base import MISSING, PartData, Preparation
from mtl_cli.data.loader import TrainLoader
from mtl_cli.evaluation import Answers
from mtl_cli.reporting.plots.scene import Grid
from mtl_cli.tasks.options import KINDS, LOSSES
from tests.options import default, make_task

OUTPUTS = {"classification": 3, "binary": 1, "regression": 1, "multilabel": 3}
PAIRS = [(kind, loss) for kind in KINDS for loss in LOSSES if kind in LOSSES.struct(loss).fits]  # type: ignore[attr-defined]  # every loss says what it fits


def preparation(crop: int = 0, flip: bool = False) -> Preparation:
    return Preparation(mean=(33.318, 120.7, 7.25), std=(78.5, 0.3, 64.1), crop=crop, flip=flip)


def test_restored_is_the_inverse_of_prepared_for_every_byte() -> None:
    raw = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    assert torch.equal(restored(prepare(raw, preparation()), preparation()), raw)


def test_an_augmented_image_is_shown_as_it_was_cropped_and_mirrored() -> None:
    raw = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = Preparation(mean=(0.0,) * 3, std=(1.0,) * 3, crop=2, flip=True)
    index = np.arange(5)
    expected = augmented(raw, plain, index, 3, 4).to(torch.uint8)
    assert not torch.equal(expected, raw)
    its = preparation(crop=2, flip=True)
    assert torch.equal(restored(augmented(raw, its, index, 3, 4), its), expected)


@pytest.mark.parametrize(("kind", "loss"), PAIRS)
def test_the_samples_losses_add_up_to_the_tasks_whatever_its_loss(kind: str, loss: str) -> None:
    draw = torch.Generator().manual_seed(0)
    outputs = torch.randn(20, OUTPUTS[kind], generator=draw)
    targets = torch.randint(0, 2, (20, 3) if kind == "multilabel" else (20,), generator=draw)
    targets = targets if kind == "classification" else targets.float()
    weights = {"class_weights": "balanced"} if "class_weights" in LOSSES.struct(loss).__struct_fields__ else {}
    classes = {"binary": ("no", "yes"), "regression": ()}.get(kind, ("a", "b", "c"))
    task = make_task("t", kind, torch.cat([targets, targets[:3] * 0 + 2]) if kind == "classification" else targets,
                     classes, loss=default(LOSSES, loss, **weights))  # fmt: skip
    found = losses(task, Answers(outputs, targets), torch.device("cpu"))
    assert found.shape == (20,)
    assert float(found.sum()) == pytest.approx(float(task.loss_sum(outputs, targets)), rel=1e-5)
    assert float(found[7]) == pytest.approx(float(task.loss_sum(outputs[7:8], targets[7:8])), rel=1e-5)


def grids(tasks: int) -> list[Grid]:
    """Of two grey images with a label of each task, the first task without one for the first image."""
    names = [f"task{i}" for i in range(tasks)]
    targets = {name: torch.tensor([1, 0]) for name in names} | {"task0": torch.tensor([MISSING, 0])}
    its = {name: make_task(name, "classification", torch.tensor([0, 1]), ("no", "yes")) for name in names}
    preparation = Preparation(mean=(0.0,), std=(1.0,), crop=0, flip=False)
    inputs = torch.full((2, 1, 4, 4), 7, dtype=torch.uint8)
    split = {"images": PartData(inputs, targets, torch.arange(len(inputs)))}
    loader = TrainLoader(split, {"images": preparation}, 2, 0, torch.device("cpu"))
    return list(training_inputs(its, {"images": preparation}, loader))


@pytest.mark.parametrize("tasks", [2, 12])
def test_every_label_stands_beneath_its_image_and_a_missing_one_is_a_dash(tasks: int) -> None:
    (grid,) = grids(tasks)
    named = [f"task{i}: " if tasks == 2 else "" for i in range(tasks)]
    missing = [f"{named[0]}-", *(f"{name}yes" for name in named[1:])]
    there = [f"{name}no" for name in named]
    assert sorted([line.text for line in sample.lines] for sample in grid.samples) == sorted([missing, there])
    assert [line.task for line in grid.samples[0].lines] == list(range(tasks))
    assert ("task11" in grid.legend) == (tasks == 12)
    assert all((sample.image == 7).all() for sample in grid.samples)


def test_tags_stand_beneath_their_image_and_no_tag_is_told_from_no_label() -> None:
    targets = torch.tensor([[1.0, 1.0], [0.0, 0.0], [torch.nan, torch.nan]])
    task = make_task("kinds", "multilabel", torch.tensor([[1.0, 0.0], [0.0, 1.0]]), ("red", "round"))
    preparation = Preparation(mean=(0.0,), std=(1.0,), crop=0, flip=False)
    split = {"images": PartData(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), {"kinds": targets}, torch.arange(3))}
    loader = TrainLoader(split, {"images": preparation}, 3, 0, torch.device("cpu"))
    (grid,) = training_inputs({"kinds": task}, {"images": preparation}, loader)
    lines = sorted(line.text for sample in grid.samples for line in sample.lines)
    assert lines == ["kinds: (no tag)", "kinds: -", "kinds: red,round"]


def test_long_lists_of_tags_are_told_by_what_is_wrong_with_them() -> None:
    names = tuple(f"a rather long tag {i}" for i in range(4))
    task = make_task("kinds", "multilabel", torch.eye(4), names)
    there, said = torch.tensor([True, True, False, False]), torch.tensor([True, False, False, True])
    assert [(line.text, line.wrong) for line in tag_lines(task, there, said)] == [
        ("missed: a rather long tag 1", True), ("too many: a rather long tag 3", True)
    ]  # fmt: skip
    assert [line.text for line in tag_lines(task, there, there)][1] == "→ the same"
    short = make_task("kinds", "multilabel", torch.eye(4), tuple("abcd"))
    assert [(line.text, line.wrong) for line in tag_lines(short, there, said)] == [("a,b", False), ("→ a,d", True)]
    assert [(line.text, line.wrong) for line in tag_lines(short, there, there)] == [("a,b", False), ("→ a,b", False)]
