"""Trunks that end early, trees by configuration, and trees that are learned."""

import copy
import itertools
import shlex
from typing import Any

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch import Tensor, nn

from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.aggregation.base import Aggregation
from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.backbones.options import BACKBONES
from mtl_cli.contracts import Needs, slot
from mtl_cli.data.base import InputSpec
from mtl_cli.look import Look
from mtl_cli.options import ConfigError
from mtl_cli.sharing.found_tree import in_words
from mtl_cli.sharing.ltb import LtbSharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.training.engine import Engine, Settings
from mtl_cli.training.methods import Methods
from tests.options import build, default
from tests.sharing.courses import TASKS, start
from tests.sharing.test_every_sharing import factory, images, moved, used

ABC = {"a": 2, "b": 2, "c": 2}
SHAPE = (3, 8, 8)


def deep() -> BackboneFactory:
    """Three stages of maps."""
    torch.manual_seed(0)
    return BackboneFactory(build(BACKBONES, "cnn", InputSpec(SHAPE), channels=2, depth=3))


def sharing(name: str, **changes: Any) -> Any:
    torch.manual_seed(1)
    return build(SHARINGS, name, deep(), ABC, **changes).eval()


def reached(strategy: Any) -> dict[str, set[str]]:
    """By task: the pieces that its output reaches, by what their first parameter is called."""
    found = used(strategy, tuple(ABC))
    return {
        task: {n for n in names if n.endswith(".0.weight") and "heads" not in n} for task, names in found.of.items()
    }


@pytest.mark.parametrize("split_at", ["stage1", "stage2"])
def test_a_trunk_that_ends_early_gives_each_task_its_own_copy_of_what_is_behind(split_at: str) -> None:
    strategy = moved(sharing("hard", split_at=split_at))
    ahead = ["stage1"] if split_at == "stage1" else ["stage1", "stage2"]
    assert list(strategy.backbone.stages) == ahead
    found = used(strategy, tuple(ABC))
    assert all(name.startswith("sharing.backbone.") for name in found.shared)
    assert found.bottleneck
    for task, features in strategy(images(), list(ABC)).items():
        tensor = images()
        for stage in ("stage1", "stage2", "stage3"):
            network = strategy.backbone if stage in ahead else strategy.branches[slot(task)]
            tensor = network.stages[stage](tensor)
            assert torch.equal(features.stages[stage], tensor)
        assert torch.equal(features.vector, tensor.mean((2, 3)))
        assert torch.equal(features.trunk, features.stages[split_at])


def test_branches_start_as_the_backbone_and_a_trunk_to_the_last_stage_is_hard() -> None:
    whole = deep()().eval()(images()).vector
    for split_at in ("stage1", "stage3", None):
        for features in sharing("hard", split_at=split_at)(images(), list(ABC)).values():
            assert torch.equal(features.vector, whole)
    assert len(sharing("hard", split_at="stage3").branches) == 0


def test_without_split_at_parameters_have_the_names_of_the_whole_backbone() -> None:
    expected = [f"backbone.{name}" for name in deep()().state_dict()]
    assert list(sharing("hard").state_dict()) == list(sharing("hard", split_at="stage3").state_dict()) == expected


def test_what_is_frozen_stays_so_on_both_sides_of_the_split() -> None:
    prototype = deep()()
    prototype.freeze("stage2")
    strategy = build(SHARINGS, "hard", BackboneFactory(prototype), ABC, split_at="stage1").train()
    trunk = strategy.backbone.stages["stage1"]
    branches = [strategy.branches[slot(task)].stages for task in ABC]
    for frozen in (trunk, *(stages["stage2"] for stages in branches)):
        assert not any(module.training for module in frozen.modules())
        assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for stages in branches for p in stages["stage3"].parameters())
    assert all(stages["stage3"].training for stages in branches)


@pytest.mark.parametrize(("name", "options"), [("hard", {"split_at": "all"}), ("tree", {}), ("ltb", {})])
def test_a_backbone_that_cannot_be_cut_is_refused_in_one_line(name: str, options: dict[str, Any]) -> None:
    opaque = deep()
    opaque.spec = opaque.spec._replace(opaque=True)
    with pytest.raises(ConfigError, match=r"^sharing.*this backbone cannot be cut into stages: take another"):
        build(SHARINGS, name, opaque, ABC, **options)
    assert build(SHARINGS, "hard", opaque, ABC).spec("a").opaque


class AtTheTrunk(Aggregation):
    """The sum of the tasks' gradients at the trunk, taken back from there; keeps what it saw."""

    needs = Needs(level="rows", at="trunk")

    def direction(self, look: Look) -> Tensor:
        self.values, self.rows = look.trunk()
        self.gramian = look.gramian(at="trunk")
        return look.pull_back(self.rows.sum(0))


def stepped(aggregation: Aggregation) -> dict[str, Tensor]:
    """The parameters of a hard-shared model whose trunk is a map, after one step."""
    toy = start("hard-split", "cnn")
    methods = Methods(toy.engine.methods.weighting, aggregation, {})
    Engine(toy.model, toy.tasks, methods, toy.engine.optimizer, toy.engine.usage, Settings(0, None, None)).step(
        [toy.batch(0)], 0, 1
    )
    return dict(toy.model.named_parameters())


def test_a_trunk_that_is_a_map_is_looked_at_as_a_row_a_sample() -> None:
    twin = start("hard-split", "cnn")
    part = twin.batch(0).parts[0]
    found = twin.model.train().run(part.inputs, TASKS, part.name)
    trunk = found.features[TASKS[0]].trunk
    assert trunk is not None
    assert trunk.dim() == 4
    losses = [t.loss_sum(found.outputs[n], part.targets[n]) / t.count(part.targets[n]) for n, t in twin.tasks.items()]
    rows = torch.stack([torch.autograd.grad(loss, trunk, retain_graph=True)[0].flatten(1) for loss in losses])
    seen = AtTheTrunk()
    moved_there = stepped(seen)
    torch.testing.assert_close(seen.values, trunk.detach().flatten(1))
    torch.testing.assert_close(seen.rows, rows)
    torch.testing.assert_close(seen.gramian, (rows.flatten(1) @ rows.flatten(1).T).double())
    for name, parameter in stepped(aggregation_base.make(default(AGGREGATIONS, "sum"), list(TASKS))).items():
        torch.testing.assert_close(moved_there[name], parameter, atol=1e-5, rtol=1e-4)


def test_graddrop_at_a_map_drops_signs_and_with_a_leak_of_one_is_the_plain_sum() -> None:
    plain, leaking, dropping = (
        stepped(aggregation_base.make(default(AGGREGATIONS, name, **told), list(TASKS)))
        for name, told in (("sum", {}), ("graddrop", {"leak": 1.0}), ("graddrop", {"leak": 0.0}))
    )
    shared = [name for name in plain if name.startswith("sharing.backbone.")]
    for name in shared:
        torch.testing.assert_close(leaking[name], plain[name], atol=1e-5, rtol=1e-4)
    assert any(not torch.allclose(dropping[name], plain[name], atol=1e-4) for name in shared)


def test_a_trunk_ends_at_a_stage_that_there_is() -> None:
    with pytest.raises(ConfigError, match=r"^sharing.split_at=stage9 is no stage of the backbone: did you mean stage"):
        sharing("hard", split_at="stage9")


GROUPINGS = [
    ({}, {"stage1": ["abc"], "stage2": ["abc"], "stage3": ["abc"]}),
    ({"stage2": [["a", "b"], ["c"]]}, {"stage1": ["abc"], "stage2": ["ab", "c"], "stage3": ["ab", "c"]}),
    (
        {"stage2": [["c"], ["b", "a"]], "stage3": [["a"], ["b"], ["c"]]},
        {"stage1": ["abc"], "stage2": ["c", "ba"], "stage3": ["a", "b", "c"]},
    ),
    ({"stage1": [["a"], ["b", "c"]]}, {"stage1": ["a", "bc"], "stage2": ["a", "bc"], "stage3": ["a", "bc"]}),
]


@pytest.mark.parametrize(("branches", "groups"), GROUPINGS)
def test_tasks_share_a_stage_in_a_tree_exactly_where_they_are_in_one_group(
    branches: dict[str, list[list[str]]], groups: dict[str, list[str]]
) -> None:
    of = reached(sharing("tree", branches=branches))
    for stage, its in groups.items():
        here = {task: {name for name in names if f".stages.{stage}." in name} for task, names in of.items()}
        for one, other in itertools.combinations(ABC, 2):
            together = any(one in group and other in group for group in its)
            assert here[one]
            assert (here[one] == here[other]) is together
            assert here[one].isdisjoint(here[other]) is not together


def test_a_tree_without_branches_is_hard_sharing() -> None:
    tree, hard = sharing("tree"), moved(sharing("hard"))
    assert len(list(tree.parameters())) == len(list(hard.parameters()))
    tree.tree.segments[0][slot("a")].load_state_dict(hard.backbone.state_dict())
    for task, features in hard(images(), list(ABC)).items():
        assert torch.equal(tree(images(), list(ABC))[task].vector, features.vector)


def test_a_tree_that_splits_all_at_one_stage_is_hard_with_its_trunk_ending_before() -> None:
    tree = sharing("tree", branches={"stage2": [["a"], ["b"], ["c"]]})
    hard = moved(sharing("hard", split_at="stage1"))
    tree.tree.segments[0][slot("a")].load_state_dict(hard.backbone.state_dict())
    for task in ABC:
        tree.tree.segments[1][slot(task)].load_state_dict(hard.branches[slot(task)].state_dict())
    for task, features in hard(images(), list(ABC)).items():
        assert torch.equal(tree(images(), list(ABC))[task].vector, features.vector)


@pytest.mark.parametrize(
    ("branches", "line"),
    [
        ({"stage9": [["a", "b", "c"]]}, "sharing.branches.stage9 is no stage of the backbone: did you mean stage"),
        ({"stage2": [["a", "b"], ["cc"]]}, "sharing.branches.stage2 names cc, which is no task: did you mean c"),
        ({"stage2": [["a", "b"]]}, "sharing.branches.stage2 should name each task once. Found c 0 times"),
        ({"stage2": [["a", "b"], ["b", "c"]]}, "sharing.branches.stage2 should name each task once. Found b 2 times"),
        (
            {"stage2": [["a", "b"], ["c"]], "stage3": [["a"], ["b", "c"]]},
            "sharing.branches.stage3 joins b, c, which parted at an earlier stage: keep them apart",
        ),
    ],
)
def test_what_is_no_tree_is_one_line(branches: dict[str, list[list[str]]], line: str) -> None:
    with pytest.raises(ConfigError) as told:
        sharing("tree", branches=branches)
    assert str(told.value).startswith(line)
    assert "\n" not in str(told.value)


def decided(parents: dict[str, list[int]], leaves: dict[str, int]) -> LtbSharing:
    """One that has found a tree."""
    strategy: LtbSharing = moved(sharing("ltb"))
    with torch.no_grad():
        for stage, its in parents.items():
            strategy.parents[stage].copy_(nn.functional.one_hot(torch.tensor(its), 3))
        for task, node in leaves.items():
            strategy.leaves[slot(task)].copy_(nn.functional.one_hot(torch.tensor(node), 3))
    return strategy


TREE = decided({"stage2": [1, 1, 0], "stage3": [0, 0, 2]}, {"a": 0, "b": 1, "c": 1})
"""a and b, c part at the last stage, behind node 0 of stage2, whose parent is node 1."""


def path(strategy: LtbSharing, nodes: tuple[int, ...]) -> Tensor:
    tensor = images()
    for stage, node in zip(("stage1", "stage2", "stage3"), nodes, strict=True):
        tensor = strategy.networks[node].stages[stage](tensor)
    return tensor.mean((2, 3))


def test_in_evaluation_each_task_has_the_path_of_the_likeliest_parents() -> None:
    for task, nodes in {"a": (1, 0, 0), "b": (1, 0, 1), "c": (1, 0, 1)}.items():
        torch.testing.assert_close(TREE(images(), list(ABC))[task].vector, path(TREE, nodes))
        torch.testing.assert_close(TREE.ready([task])(images(), [task])[task].vector, path(TREE, nodes))


def test_the_words_of_a_learned_tree_make_the_same_tree() -> None:
    *_, line = TREE.learned()
    words = shlex.split(line)
    assert words == ["sharing=tree", "sharing.branches={stage3: [[a], [b, c]]}"]
    tree = sharing("tree", branches=yaml.safe_load(words[1].partition("=")[2]))
    first, second = tree.tree.segments
    for stage, node in (("stage1", 1), ("stage2", 0)):
        first[slot("a")].stages[stage].load_state_dict(TREE.networks[node].stages[stage].state_dict())
    for task, node in (("a", 0), ("b", 1)):
        second[slot(task)].stages["stage3"].load_state_dict(TREE.networks[node].stages["stage3"].state_dict())
    for task, features in tree(images(), list(ABC)).items():
        assert torch.equal(features.vector, TREE(images(), list(ABC))[task].vector)


def test_without_branching_the_tree_is_hard_sharing() -> None:
    (line,) = sharing("ltb").learned()
    assert line.endswith("as sharing=hard has it")


@pytest.mark.parametrize("odd", ["a b", "it's", "größe", "null", "True", "x-1", 'say "no"', "a, b", "[c]", "3"])
def test_a_tree_over_tasks_of_any_name_is_said_as_a_shell_and_hydra_read_it(odd: str) -> None:
    *_, line = in_words(["s1", "s2.a"], {odd: (0, 0), "c": (0, 1)})
    words = shlex.split(line)
    parsed = OverridesParser.create().parse_override(words[1])
    assert (words[0], parsed.key_or_group, parsed.value()) == (
        "sharing=tree",
        "sharing.branches",
        {"s2.a": [[odd], ["c"]]},
    )


def test_what_is_told_of_a_tree_of_many_tasks_fits_80_columns_but_for_the_words_to_copy() -> None:
    tasks = {f"a-task-of-name-{i}": (i % 2, i) for i in range(12)}
    *told, words = in_words(["s1", "s2"], tasks)
    assert max(map(len, told)) <= 80
    assert all(" ".join(told).count(f"{task}") >= 2 for task in tasks)
    assert words.startswith("  sharing=tree 'sharing.branches={s1: [[")


def test_in_evaluation_one_task_runs_the_stages_of_its_path_alone() -> None:
    called: list[tuple[int, str]] = []
    strategy = copy.deepcopy(TREE)
    for node, network in enumerate(strategy.networks):
        for name, stage in network.stages.items():
            stage.register_forward_hook(lambda *_, at=(node, name): called.append(at))
    strategy(images(), ["a"])
    assert called == [(1, "stage1"), (0, "stage2"), (0, "stage3")]
    called.clear()
    strategy(images(), list(ABC))
    assert len(called) == 4


def test_a_training_pass_mixes_nodes_by_softmax_of_logits_and_the_steps_noise() -> None:
    strategy = copy.deepcopy(TREE)
    strategy.before_step(50, 100)
    strategy.train()
    for module in strategy.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    tau = 10.0 * (0.1 / 10.0) ** (40 / 90)
    assert float(strategy.temperature) == pytest.approx(tau)
    noise = strategy.noise
    draw_2, draw_3 = (
        torch.softmax((strategy.parents[stage] + noise[at]) / tau, 1)
        for stage, at in (("stage2", slice(0, 3)), ("stage3", slice(3, 6)))
    )
    nodes = strategy.networks
    one = [node.stages["stage1"](images()) for node in nodes]
    two = [n.stages["stage2"](sum(w * x for w, x in zip(draw_2[j], one, strict=True))) for j, n in enumerate(nodes)]
    three = [n.stages["stage3"](sum(w * x for w, x in zip(draw_3[j], two, strict=True))) for j, n in enumerate(nodes)]
    for i, (task, features) in enumerate(strategy(images(), list(ABC)).items()):
        leaf = torch.softmax((strategy.leaves[slot(task)] + noise[6 + i]) / tau, 0)
        expected = sum(w * x for w, x in zip(leaf, three, strict=True))
        torch.testing.assert_close(features.stages["stage3"], expected)
        torch.testing.assert_close(features.vector, expected.mean((2, 3)))
        reach = leaf @ draw_3
        torch.testing.assert_close(features.stages["stage2"], sum(w * x for w, x in zip(reach, two, strict=True)))


def test_draws_are_gumbel_noise_and_a_function_of_the_step() -> None:
    strategy = sharing("ltb")
    seen = []
    for step in range(400):
        strategy.before_step(step, 400)
        seen.append(strategy.noise.clone())
    draws = torch.stack(seen)
    assert float(draws.mean()) == pytest.approx(0.5772, abs=0.02)  # Euler's constant
    assert float(draws.var()) == pytest.approx(torch.pi**2 / 6, abs=0.06)
    again = sharing("ltb")
    again.before_step(7, 400)
    assert torch.equal(again.noise, seen[7])
    assert not torch.equal(seen[6], seen[7])


def test_branching_learns_after_the_warm_up_alone() -> None:
    strategy = moved(sharing("ltb", warmup=0.5)).train()
    for step, learns in ((0, False), (4, False), (5, True)):
        strategy.before_step(step, 10)
        strategy.zero_grad()
        sum(f.vector.square().sum() for f in strategy(images(), list(ABC)).values()).backward()
        logits = [*strategy.parents.values(), *strategy.leaves.values()]
        assert all(bool(p.grad.any()) is learns for p in logits)
        assert all(bool(p.grad.any()) for p in strategy.networks.parameters())


def test_in_training_all_nodes_are_shared_and_each_task_draws_a_leaf_of_its_own() -> None:
    found = used(sharing("ltb"), tuple(ABC))
    networks = 3 * len(list(deep()().parameters()))
    assert len(found.shared) == networks + 2
    assert all(f"sharing.leaves.{slot(task)}" in own for task, own in found.own.items())


def test_one_task_has_one_node_and_nothing_to_learn_of_branching() -> None:
    strategy = build(SHARINGS, "ltb", factory("map"), {"a": 2})
    assert strategy.groups() == []
    assert len(strategy.networks) == 1
