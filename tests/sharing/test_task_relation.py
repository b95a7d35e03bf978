"""Outputs that learn from one another: what is computed, where it starts, and who shares what."""

import pytest
import torch
from torch import nn

from mtl_cli.contracts import slot
from mtl_cli.model import MultiTaskModel
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.options import HEADS
from mtl_cli.training.graph import usage
from tests.options import build
from tests.sharing.test_every_sharing import factory, images

WIDTHS = {"a": 2, "b": 3}


def model(name: str = "task_relation", parts: tuple[str, str] = ("p", "p")) -> MultiTaskModel:
    torch.manual_seed(1)
    sharing = build(SHARINGS, name, factory("map"), WIDTHS)
    torch.manual_seed(2)
    heads = {task: build(HEADS, "linear", sharing.spec(task), width, "head") for task, width in WIDTHS.items()}
    return MultiTaskModel(sharing, heads, dict(zip(WIDTHS, parts, strict=True)), True).eval()


def learned(parts: tuple[str, str] = ("p", "p")) -> MultiTaskModel:
    found = model(parts=parts)
    for correction in found.sharing.corrections.values():
        nn.init.normal_(correction.weight)
        nn.init.normal_(correction.bias)
    return found


def test_at_its_start_it_is_hard_sharing() -> None:
    ours, hard = model(), model("hard")
    for task, output in hard(images(), list(WIDTHS), "p").items():
        assert torch.equal(ours(images(), list(WIDTHS), "p")[task], output)


@pytest.mark.parametrize("parts", [("p", "p"), ("p", "q")])
def test_each_output_is_corrected_by_all_tasks_outputs_also_of_other_parts(parts: tuple[str, str]) -> None:
    found = learned(parts)
    vector = found.sharing.backbone(images()).vector
    plain = {task: vector @ h.layers.weight.T + h.layers.bias for task, h in found.heads_by_task().items()}
    relation = found.sharing.relation
    hidden = (torch.cat([plain["a"], plain["b"]], 1) @ relation.weight.T + relation.bias).clamp_min(0)
    for task, part in zip(WIDTHS, parts, strict=True):
        correction = found.sharing.corrections[slot(task)]
        expected = plain[task] + hidden @ correction.weight.T + correction.bias
        torch.testing.assert_close(found(images(), [task], part)[task], expected)


def test_heads_are_shared_and_corrections_are_not() -> None:
    used = usage(model(), {"p": images(2)})
    assert {n for n in used.shared if n.startswith("heads.")} == {
        f"heads.{slot(task)}.layers.{kind}" for task in WIDTHS for kind in ("weight", "bias")
    }
    assert used.own == {
        task: tuple(f"sharing.corrections.{slot(task)}.{kind}" for kind in ("weight", "bias")) for task in WIDTHS
    }
    assert not used.bottleneck


def test_one_task_alone_ships_with_every_head_and_its_own_correction() -> None:
    shipped = learned().ready(["b"])
    torch.testing.assert_close(shipped(images(), ["b"], "p")["b"], learned()(images(), ["b"], "p")["b"])
