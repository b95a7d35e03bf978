"""`backbone.freeze`: what is frozen neither trains nor moves, under every strategy."""

import pytest
import torch
from torch import Tensor

from mtl_cli.backbones.base import Backbone, BackboneFactory
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.model import MultiTaskModel, in_mode
from mtl_cli.options import ConfigError
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.options import HEADS
from mtl_cli.training.graph import usage
from mtl_cli.training.optimizer import build_optimizer
from mtl_cli.training.options import OPTIMIZERS
from tests.backbones.inputs import given, inputs
from tests.options import build, default

TASKS = ["a", "b"]


def made(name: str) -> Backbone:
    torch.manual_seed(0)
    backbone: Backbone = build(BACKBONES, name, given(name))
    return backbone


def images() -> Tensor:
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", list(BACKBONES))
def test_a_stage_and_all_before_it_stay_as_they_are_and_the_rest_trains(name: str) -> None:
    backbone = made(name)
    first, *rest = list(backbone.stages)
    if not rest:
        pytest.skip("one stage only")
    backbone.freeze(first)
    backbone.train()
    before = {key: tensor.clone() for key, tensor in backbone.stages[first].state_dict().items()}
    optimizer = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    backbone(inputs(given(name), 4)).vector.square().sum().backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.stages[first].state_dict().items())
    assert not any(module.training for module in backbone.stages[first].modules())
    for other in rest:
        assert all(module.training for module in backbone.stages[other].modules())
        assert all(p.grad is not None for p in backbone.stages[other].parameters())


@pytest.mark.parametrize("name", list(SHARINGS))
def test_every_strategys_networks_are_frozen_also_after_an_evaluation(name: str) -> None:
    backbone = made("cnn")
    backbone.freeze("stage2")
    sharing = build(SHARINGS, name, BackboneFactory(backbone), dict.fromkeys(TASKS, 2))
    heads = {task: build(HEADS, "linear", sharing.spec(task), 2, "head") for task in TASKS}
    model = MultiTaskModel(sharing, heads, dict.fromkeys(TASKS, "p"), True)
    model.train()
    with in_mode(model, training=False):
        assert not any(module.training for module in model.modules())
    frozen = {n for n, _ in model.named_parameters() if ".stages.stage1." in n or ".stages.stage2." in n}
    assert frozen
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == frozen
    before = {
        n: tensor.clone()
        for n, tensor in model.state_dict().items()
        if ".stages.stage1." in n or ".stages.stage2." in n
    }
    outputs = model(images(), TASKS, "p")
    sum(output.sum() for output in outputs.values()).backward()
    assert all(torch.equal(tensor, model.state_dict()[n]) for n, tensor in before.items())
    used = usage(model, {"p": images()})
    assert not frozen & {*used.shared, *used.rest, *(n for names in used.own.values() for n in names)}
    optimizer = build_optimizer(default(OPTIMIZERS, "adamw"), torch.optim.AdamW, model, sharing.groups())
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}


def test_a_stage_that_there_is_not_is_one_line_with_those_that_there_are() -> None:
    line = "backbone.freeze=layer9 is no stage of the backbone, which has stem, layer1, layer2, layer3, layer4"
    with pytest.raises(ConfigError, match=f"^{line}$"):
        made("resnet18_cifar").freeze("layer9")
