"""Learned relations of tasks: the covariance beside numpy's, blocks, what they rest on, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mtl_cli.__main__ import main
from mtl_cli.contracts import slot
from mtl_cli.options import ConfigError
from mtl_cli.regularizers.base import Held
from mtl_cli.regularizers.mtrl import MtrlRegularizer
from mtl_cli.regularizers.options import REGULARIZERS
from tests.options import build

TASKS = ("a", "b", "c")


def weights() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 4, 3, generator=generator)
    return {"a": nn.Parameter(one), "b": nn.Parameter(one + 0.3 * other), "c": nn.Parameter(other - one)}


def holding(its: dict[str, nn.Parameter], tasks: tuple[str, ...] = TASKS) -> Held:
    return Held({}, {task: {f"sharing.networks.{slot(task)}.weight": its[task]} for task in tasks})


def begun(its: dict[str, nn.Parameter], **options: float) -> MtrlRegularizer:
    regularizer: MtrlRegularizer = build(REGULARIZERS, "mtrl", **{"weight": 1.0, "every": 2, **options})
    regularizer.begin(holding(its))
    return regularizer


def covariance(its: dict[str, nn.Parameter]) -> np.ndarray:
    """(W^T W)^(1/2) / tr by the singular values of W."""
    columns = np.stack([its[task].detach().numpy().ravel() for task in TASKS], 1).astype(float)
    _, values, right = np.linalg.svd(columns, full_matrices=False)
    root: np.ndarray = right.T @ np.diag(values) @ right / values.sum()
    return root


def test_the_covariance_is_the_root_of_the_weights_products_after_every_second_step() -> None:
    its = weights()
    regularizer = begun(its)
    regularizer.after_step(0)
    torch.testing.assert_close(regularizer.omega, torch.eye(3, dtype=torch.float64) / 3)
    regularizer.after_step(1)
    np.testing.assert_allclose(regularizer.omega, covariance(its), atol=1e-7)
    assert float(regularizer.omega.trace()) == pytest.approx(1.0)


def by_numpy(its: dict[str, nn.Parameter], tasks: tuple[str, ...], ridge: float) -> float:
    rows = [TASKS.index(task) for task in tasks]
    omega = ((1 - ridge) * covariance(its) + ridge * np.eye(3) / 3)[np.ix_(rows, rows)]
    columns = np.stack([its[task].detach().numpy().ravel() for task in tasks], 1)
    return float(0.5 * np.trace(columns @ np.linalg.inv(omega) @ columns.T))


@pytest.mark.parametrize("tasks", [TASKS, ("a", "c"), ("b",)])
def test_the_penalty_is_of_the_active_tasks_by_their_block_of_the_covariance(tasks: tuple[str, ...]) -> None:
    its = weights()
    regularizer = begun(its, ridge=0.05)
    regularizer.after_step(1)
    penalty = regularizer.penalty(holding(its, tasks))
    assert penalty.item() == pytest.approx(by_numpy(its, tasks, 0.05), rel=1e-5)
    gradients = torch.autograd.grad(penalty, list(its.values()), allow_unused=True)
    assert [g is not None for g in gradients] == [task in tasks for task in TASKS]


def test_equal_networks_have_a_finite_penalty_and_are_wholly_related() -> None:
    one = torch.ones(2, 2)
    its = {task: nn.Parameter(one.clone()) for task in TASKS}
    regularizer = begun(its)
    regularizer.after_step(1)
    assert bool(torch.isfinite(regularizer.penalty(holding(its))))
    correlations = regularizer.relations().correlations
    assert bool((correlations > 0.97).all())
    torch.testing.assert_close(correlations.diagonal(), torch.ones(3, dtype=torch.float64))


def test_tasks_that_point_against_each_other_are_related_below_zero() -> None:
    its = {
        "a": nn.Parameter(torch.ones(1, 4)),
        "b": nn.Parameter(-torch.ones(1, 4)),
        "c": nn.Parameter(torch.eye(4)[:1]),
    }
    regularizer = begun(its)
    regularizer.after_step(1)
    assert float(regularizer.relations().correlations[0, 1]) < -0.8


def test_without_a_layer_of_one_shape_it_is_refused_with_the_way_out() -> None:
    def heads(*wide: int) -> Held:
        return Held(
            {}, {t: {f"heads.{slot(t)}.w": nn.Parameter(torch.ones(w, 2))} for t, w in zip(TASKS, wide, strict=True)}
        )

    for held in (heads(2, 3, 4), heads(2, 2, 2)):  # linear heads: the last layer is none of it
        with pytest.raises(
            ConfigError, match=r"^regularizer=\[mtrl\] needs a layer .* set tasks.NAME.head=mlp for every"
        ):
            build(REGULARIZERS, "mtrl").begin(held)


HEADS = [
    f"tasks.{task}.head={{name: mlp, hidden: [8], at: null, dropout: 0.0}}" for task in ("digit", "parity", "slant")
]
SMALL = ["task=digits", "data.limit=60", "device=cpu", "device.threads=1", "trainer.batch_size=16", "backbone.depth=2",
         "backbone.channels=4", "trainer.memory_format=contiguous", "tensorboard=false", "regularizer=[mtrl]",
         "regularizer.mtrl.every=2", *HEADS]  # fmt: skip


def state(run: Path) -> dict[str, Tensor]:
    (last,) = [
        path
        for path in (run / "checkpoints").iterdir()
        if path.name == (run / "checkpoints" / "last").read_text().strip()
    ]
    return load_file(last / "model.safetensors")


def test_a_run_that_is_taken_up_ends_as_an_unbroken_one_and_draws_how_tasks_relate(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(["train", *SMALL, "trainer.epochs=3", "plots=true", f"run_dir={whole}"]) == 0
    words = ["trainer.epochs=3", "plots=false", "trainer.max_steps=3"]
    assert main(["train", *SMALL, *words, f"run_dir={broken}"]) == 0
    assert main(["train", f"resume={broken}", "trainer.max_steps=null"]) == 0
    expected, found = state(whole), state(broken)
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert (whole / "plots" / "relations-mtrl.png").exists()
    assert "![relations-mtrl](plots/relations-mtrl.png)" in (whole / "report.md").read_text()
