"""What does not go together is refused in one line, before any data is read and with nothing written."""

from pathlib import Path

import pytest

from mtl_cli.__main__ import main
from mtl_cli.commands import assemble
from mtl_cli.tasks.losses import BinaryCrossEntropyLoss

DIGITS = ["task=digits", "data.limit=60", "device=cpu", "device.threads=1", "plots=false", "tensorboard=false"]


def never(*_: object) -> None:
    raise AssertionError("data was read")


@pytest.fixture
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "build_data", never)


@pytest.mark.usefixtures("_no_data")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["weighting=auto_lambda", "aggregation=pcgrad"],
            (
                "mtl: weighting=auto_lambda is derived for the step of the plain sum, and aggregation=pcgrad takes "
                "another: take aggregation=sum, or another weighting"
            ),
        ),
        (
            ["weighting=auto_lambda", "data.held_out=0"],
            ("mtl: weighting=auto_lambda looks at held-out data, and data.held_out=0 leaves none: take 0.1"),
        ),
        (
            ["sharing=independent", "aggregation=db"],
            (
                "mtl: aggregation=db looks at gradients of shared parameters, and with sharing=independent no "
                "parameter is reached by two tasks: take aggregation=sum, or sharing=hard"
            ),
        ),
        (
            ["sharing=independent", "weighting=gradnorm"],
            (
                "mtl: weighting=gradnorm looks at gradients of shared parameters, and with sharing=independent no "
                "parameter is reached by two tasks: take weighting=fixed, or sharing=hard"
            ),
        ),
        (
            ["sharing=cross_stitch", "aggregation=pcgrad", "aggregation.gradients=bottleneck"],
            (
                "mtl: aggregation.gradients=bottleneck of pcgrad needs one tensor that all tasks read and no shared"
                " parameter lies behind, and sharing=cross_stitch has none: take sharing=hard with heads on its "
                "vector, or aggregation.gradients=shared"
            ),
        ),
        (
            ["tasks.parity.head.at=stage1", "aggregation=graddrop"],
            (
                "mtl: aggregation=graddrop needs one tensor that all tasks read and no shared parameter lies "
                "behind, and tasks.parity.head.at=stage1 has none: take sharing=hard with heads on its vector, or "
                "another aggregation"
            ),
        ),
        (
            ["aggregation=pcd", "aggregation.primary=partiy"],
            ("mtl: aggregation.primary=partiy should be a task: did you mean parity?"),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_methods_that_do_not_go_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert main(["train", *DIGITS, *words, f"run_dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err.strip() == line
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_no_data")
@pytest.mark.parametrize("weighting", ["gls", "si"])
def test_a_method_on_logarithms_is_refused_where_a_loss_may_be_below_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, weighting: str
) -> None:
    monkeypatch.setattr(BinaryCrossEntropyLoss, "nonnegative", False)
    assert main(["train", *DIGITS, f"weighting={weighting}", f"run_dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err.strip() == (
        f"mtl: weighting={weighting} needs losses that are never below zero, and tasks.parity.loss.name=bce may be: "
        "take another loss or weighting"
    )


def test_a_trunk_that_is_frozen_leaves_nothing_to_balance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["backbone.freeze=stage2", "aggregation=pcgrad", f"run_dir={tmp_path / 'run'}"]
    assert main(["train", *DIGITS, *words]) == 2
    assert "no parameter that trains is reached by two tasks: take aggregation=sum" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_approximations_are_called_so_in_the_log(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["aggregation=pcgrad", "aggregation.gradients=last_stage", "aggregation.every=4", "trainer.max_steps=1"]
    assert main(["train", *DIGITS, *words, f"run_dir={run}"]) == 0
    log = " ".join(line[20:].strip() for line in (run / "train.log").read_text().splitlines())
    assert "aggregation.gradients=last_stage: an approximation, the weights come of the gradients at the last" in log
    assert "aggregation.every=4: an approximation, the weights are renewed every 4 steps" in log


def test_one_task_may_have_any_method(tmp_path: Path) -> None:
    words = [
        "tasks.parity=null",
        "tasks.slant=null",
        "sharing=independent",
        "aggregation=pcgrad",
        "trainer.max_steps=1",
    ]
    assert main(["train", *DIGITS, *words, "trainer.max_steps=1", f"run_dir={tmp_path / 'run'}"]) == 0


@pytest.mark.parametrize(("accumulate", "said"), [(1, True), (2, False)])
def test_a_run_says_where_a_step_balances_one_part_alone(tmp_path: Path, accumulate: int, said: bool) -> None:
    run = tmp_path / "run"
    words = ["+data.parts.more=digits", "tasks.parity.part=more", "tasks.slant.part=images", "tasks.digit.part=images"]
    words += ["data.sampling=round_robin", "aggregation=pcgrad", f"trainer.accumulate={accumulate}"]
    assert main(["train", *DIGITS, *words, "trainer.max_steps=1", f"run_dir={run}"]) == 0
    log = (run / "train.log").read_text()
    assert ("a step balances the tasks of 1 part" in log) is said
    assert "epoch: " in log
