"""A trunk that runs once a task: film, adapters and lora."""

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from mtl_cli.backbones import pieces
from mtl_cli.backbones.base import Backbone, BackboneFactory, Spec
from mtl_cli.backbones.cutting import plan
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.contracts import slot
from mtl_cli.data.base import InputSpec
from mtl_cli.options import ConfigError
from mtl_cli.sharing.options import SHARINGS
from tests.options import build
from tests.sharing.test_every_sharing import SHAPE, TASKS, factory, images, made, moved, used

EVERY = pytest.mark.parametrize("name", ["film", "adapters", "lora"])
KINDS = pytest.mark.parametrize("kind", ["map", "vector", "sequence"])
THREE = dict.fromkeys(TASKS, 2)


def normed() -> BackboneFactory:
    torch.manual_seed(0)
    return BackboneFactory(build(BACKBONES, "cnn", InputSpec(SHAPE), channels=4, depth=2, norm="batch"))


@EVERY
@KINDS
def test_at_its_start_every_task_has_the_backbones_features(name: str, kind: str) -> None:
    expected = factory(kind)().eval()(images())
    for features in made(name, kind)(images(), TASKS).values():
        torch.testing.assert_close(features.vector, expected.vector)


def lent(strategy: Any, task: str) -> Backbone:
    """The plain backbone with the strategy's weights, and the task's running statistics."""
    network = normed().piece([s.name for s in strategy.backbone.spec.stages]).eval()
    network.load_state_dict(strategy.backbone.state_dict() | strategy.statistics[slot(task)].by_name())
    return network


def test_film_scales_and_shifts_channels_after_every_stage_by_the_tasks_embedding() -> None:
    strategy = moved(build(SHARINGS, "film", normed(), THREE).eval())
    for task, features in strategy(images(), TASKS).items():
        tensor, network = images(), lent(strategy, task)
        for name, stage in network.stages.items():
            generator = strategy.modulations[name].generator
            said = generator.weight @ strategy.embeddings[slot(task)] + generator.bias
            gamma, beta = said.view(2, -1, 1, 1)
            tensor = stage(tensor) + gamma * stage(tensor) + beta
            torch.testing.assert_close(features.stages[name], tensor)
        torch.testing.assert_close(features.vector, tensor.mean((2, 3)))


def test_adapters_add_a_bottleneck_of_the_task_after_every_stage() -> None:
    strategy = moved(build(SHARINGS, "adapters", normed(), THREE).eval())
    for task, features in strategy(images(), TASKS).items():
        tensor, network = images(), lent(strategy, task)
        for name, stage in network.stages.items():
            adapter = strategy.adapters[slot(task)][name]
            tensor = stage(tensor)
            low = (
                torch.einsum("oi,bihw->bohw", adapter.down.weight[:, :, 0, 0], tensor)
                + adapter.down.bias[:, None, None]
            )
            up = torch.einsum("oi,bihw->bohw", adapter.up.weight[:, :, 0, 0], low.clamp_min(0))
            tensor = tensor + up + adapter.up.bias[:, None, None]
        torch.testing.assert_close(features.vector, tensor.mean((2, 3)))


@pytest.mark.parametrize("shared_rank", [0, 2])
def test_lora_runs_the_backbone_with_each_tasks_own_weights(shared_rank: int) -> None:
    strategy = moved(build(SHARINGS, "lora", normed(), THREE, shared_rank=shared_rank).eval())
    for task, features in strategy(images(), TASKS).items():
        network = lent(strategy, task)
        changed = 0
        for name, parameter in network.named_parameters():
            if parameter.dim() < 2:
                continue
            updates = [(strategy.updates[slot(task)], 4)] + ([(strategy.common, 2)] if shared_rank else [])
            for update, asked in ((u[name.replace(".", "/")], r) for u, r in updates):
                rank = min(asked, *parameter.flatten(1).shape)
                assert update.down.shape == (rank, parameter[0].numel())
                parameter.data += 8.0 / rank * (update.up @ update.down).view_as(parameter)
            changed += 1
        assert changed == 4
        torch.testing.assert_close(features.vector, network(images()).vector)


@EVERY
def test_a_tasks_running_statistics_move_by_its_own_passes_alone(name: str) -> None:
    strategy = build(SHARINGS, name, normed(), THREE).train()
    before = {task: strategy.statistics[slot(task)].state_dict() for task in TASKS}
    before = {task: {key: t.clone() for key, t in state.items()} for task, state in before.items()}
    strategy(images(), TASKS[:1])
    moved_of = {
        task: [not torch.equal(t, before[task][key]) for key, t in strategy.statistics[slot(task)].state_dict().items()]
        for task in TASKS
    }
    assert all(moved_of[TASKS[0]])
    assert not any(moved_of[TASKS[1]] + moved_of[TASKS[2]])


@EVERY
def test_the_trunk_is_shared_and_what_is_a_tasks_own_is_not(name: str) -> None:
    strategy = build(SHARINGS, name, normed(), THREE)
    found = used(strategy)
    trunk = {f"sharing.backbone.{n}" for n, _ in strategy.backbone.named_parameters()}
    shared = (
        {f"sharing.modulations.{n}" for n, _ in strategy.modulations.named_parameters()} if name == "film" else set()
    )
    assert set(found.shared) == trunk | shared
    for task, own in found.own.items():
        mine = {n for n, _ in strategy.named_parameters(prefix="sharing") if slot(task) in n}
        assert {n for n in own if n.startswith("sharing.")} == mine
        assert mine


@pytest.mark.parametrize("name", ["adapters", "lora"])
def test_in_a_frozen_trunk_what_is_a_tasks_own_still_learns(name: str) -> None:
    backbone = normed()()
    backbone.freeze("stage2")
    strategy = build(SHARINGS, name, BackboneFactory(backbone), THREE).train()
    start = {n: p.clone() for n, p in strategy.named_parameters()}
    optimizer = torch.optim.SGD([p for p in strategy.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        sum(f.vector.square().sum() for f in strategy(images(), TASKS).values()).backward()
        optimizer.step()
    for n, p in strategy.named_parameters():
        assert torch.equal(p, start[n]) is n.startswith("backbone."), n
    assert strategy.last_stage() == []


@EVERY
def test_stages_may_be_named_and_no_other(name: str) -> None:
    strategy = build(SHARINGS, name, normed(), THREE, at=["stage2"])
    extra = [n for n, _ in strategy.named_parameters() if not n.startswith("backbone.") and "stage" in n]
    assert extra
    assert all("stage2" in n for n in extra)
    with pytest.raises(ConfigError, match=r"^sharing.at names stage9, which is no stage of the backbone: did you mean"):
        build(SHARINGS, name, normed(), THREE, at=["stage9"])


def vit() -> Backbone:
    """Two layers of attention over four patches."""
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    skeleton = torchvision.models.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    cut = plan(skeleton.to("meta").eval(), 32)
    assert cut is not None
    bodies, neck = pieces.cut(network, cut, repeat=False)
    stages = {name: pieces.Stage(body, recompute=True) for name, body in bodies.items()}
    backbone: type[Backbone] = type("Vit", (Backbone,), {})
    return backbone(stages, neck, Spec(cut.width, cut.specs))


def test_lora_changes_attention_too_also_where_stages_are_recomputed() -> None:
    strategy = moved(build(SHARINGS, "lora", BackboneFactory(vit()), {"a": 2, "b": 2}))
    names = {name.replace("/", ".") for name in strategy.updates[slot("a")]}
    assert len([name for name in names if name.endswith("in_proj_weight")]) == 2
    pictures = torch.randn(2, 3, 32, 32)

    def gradients(training: bool) -> list[Tensor]:
        strategy.train(training)  # recomputes in training alone; there is no dropout
        loss = sum(f.vector.square().sum() for f in strategy(pictures, ["a", "b"]).values())
        return list(torch.autograd.grad(loss, list(strategy.parameters())))

    for again, kept in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(again, kept, rtol=1e-3, atol=1e-3 * float(kept.abs().max() + 1e-6))
        assert bool(kept.any())
    assert isinstance(strategy.updates[slot("a")], nn.ModuleDict)
