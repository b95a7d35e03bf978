"""Shared-private networks: what heads read, and which way the guess pulls whom."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mtl_cli.__main__ import main
from mtl_cli.backbones.base import Features
from mtl_cli.contracts import slot
from mtl_cli.sharing.adversarial import overlap
from mtl_cli.sharing.options import SHARINGS
from tests.options import build
from tests.sharing.test_every_sharing import TASKS, factory, images, made, moved, used

THREE = dict.fromkeys(TASKS, 2)


def strategy(**changes: Any) -> Any:
    torch.manual_seed(1)
    return moved(build(SHARINGS, "adversarial", factory("map"), THREE, **changes))


def by_part(sharing: Any, rows: dict[str, int]) -> dict[str, Features]:
    """Features of the tasks' own data sets, of so many rows each."""
    return {task: sharing(images(20)[3 * i : 3 * i + n], [task])[task] for i, (task, n) in enumerate(rows.items())}


def test_heads_read_the_shared_networks_vector_beside_their_tasks_own() -> None:
    sharing = strategy()
    for task, features in sharing(images(), TASKS).items():
        own = sharing.private[slot(task)](images())
        torch.testing.assert_close(features.vector, torch.cat([sharing.shared(images()).vector, own.vector], 1))
        assert torch.equal(features.stages["stage1"], own.stages["stage1"])


def test_all_networks_start_equal() -> None:
    sharing = made("adversarial")
    start = sharing.shared.state_dict()
    for network in sharing.private.values():
        assert all(torch.equal(tensor, start[key]) for key, tensor in network.state_dict().items())


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True)
    return [g for g in found if g is not None]


def test_the_guess_learns_to_tell_tasks_apart_and_the_shared_network_not_to_be_told() -> None:
    sharing = strategy(strength=0.3, orthogonality=0.0).train()
    features = by_part(sharing, {TASKS[0]: 4, TASKS[2]: 2})  # the other has no label in this step
    logits = torch.cat([f.aux["shared"] for f in features.values()]) @ sharing.guess.weight.T + sharing.guess.bias
    entropy = functional.cross_entropy(logits, torch.tensor([0, 0, 0, 0, 2, 2]))
    penalty = sharing.penalty(features, {})
    torch.testing.assert_close(penalty, 0.3 * entropy)
    for found, expected in zip(gradients(penalty, sharing.guess), gradients(entropy, sharing.guess), strict=True):
        torch.testing.assert_close(found, 0.3 * expected)
    for found, expected in zip(gradients(penalty, sharing.shared), gradients(entropy, sharing.shared), strict=True):
        torch.testing.assert_close(found, -0.3 * expected)
    assert gradients(penalty, sharing.private) == []


def test_own_features_that_repeat_shared_ones_are_held_down() -> None:
    shared = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    assert float(overlap(shared, shared)) == pytest.approx(0.5)  # the identity over 2 rows: (1 + 1) / 4
    assert float(overlap(shared[:1], torch.tensor([[0.0, 1.0]]))) == pytest.approx(1.0)  # s1 p2 = 1
    sharing = strategy(strength=0.0, orthogonality=0.2)
    features = by_part(sharing, {TASKS[1]: 3})
    aux = features[TASKS[1]].aux
    torch.testing.assert_close(sharing.penalty(features, {}), 0.2 * overlap(aux["shared"], aux["private"]))


def test_the_shared_network_is_shared_the_others_are_not_and_penalties_alone_reach_the_guess() -> None:
    found = used(made("adversarial"))
    assert all(name.startswith("sharing.shared.") for name in found.shared)
    assert found.rest == ("sharing.guess.weight", "sharing.guess.bias")
    for task, own in found.own.items():
        assert {n for n in own if n.startswith("sharing.")} == {
            f"sharing.private.{slot(task)}.{n}" for n, _ in factory("map")().named_parameters()
        }


def test_tasks_on_one_data_set_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "task=digits", "sharing=adversarial"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "sharing=adversarial needs a data set of its own for each task, and tasks.digit and tasks.parity share "
        "data.parts.images: take another sharing, such as hard"
    )


def test_under_autocast_the_penalty_is_that_of_full_precision_but_for_rounding() -> None:
    sharing = moved(strategy())
    features = by_part(sharing, dict.fromkeys(TASKS, 4))
    half = {
        task: found._replace(aux={name: rows.to(torch.bfloat16) for name, rows in found.aux.items()})
        for task, found in features.items()
    }
    full, rounded = sharing.penalty(features, {}), sharing.penalty(half, {})
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, full, rtol=0.02, atol=0.02)
