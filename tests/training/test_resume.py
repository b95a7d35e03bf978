"""A run that was killed, wherever, goes on to the end that it would have had."""

import json
import random
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch

from mtl_cli.commands import rundir
from mtl_cli.options import ConfigError
from mtl_cli.training.checkpoint import Store, digest, load_training, load_weights, verify
from tests.training.killing import TINY, same, train

STEPS = 15
"""Of the tiny run: three epochs of five."""
IO_CALLS = 260
"""More than the tiny run's calls that write, sync, rename or remove."""
KILLED = -9
RICH = ["weighting=uw", "aggregation=db", "sharing=cross_stitch", "trainer.ema=0.9"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    return whole(RICH, tmp_path_factory.mktemp("reference"))


def whole(words: list[str], folder: Path) -> Path:
    """A run that is never stopped."""
    run = folder / "whole"
    assert train([*TINY, *words, f"run_dir={run}"]) == 0
    return run


def killed(words: list[str], plan: str, folder: Path) -> tuple[Path, int | None]:
    """A run that is stopped by `plan`, if it gets that far."""
    run = folder / plan.replace(":", "-")
    return run, train([*TINY, *words, f"run_dir={run}"], plan)


def goes_on_to(reference: Path, run: Path) -> None:
    """Resumes, or starts again where the kill came before anything was there to resume, and compares the ends."""
    if any(run.glob("checkpoints/step-*")):
        assert Store(run).newest()[0] is not None, "no checkpoint can be loaded"
        assert train([f"resume={run}"]) == 0
        assert same(reference, run) == []


def test_the_same_run_twice_ends_alike(reference: Path, tmp_path: Path) -> None:
    assert same(reference, whole(RICH, tmp_path)) == []


@pytest.mark.parametrize("step", [1, 4, 5, 6, 11])
def test_a_kill_in_mid_epoch_changes_nothing_at_the_end(reference: Path, tmp_path: Path, step: int) -> None:
    run, code = killed(RICH, f"step:{step}", tmp_path)
    assert code == KILLED
    goes_on_to(reference, run)


@pytest.mark.parametrize("call", [45, 52, 59, 66, 73])
def test_a_kill_in_a_save_changes_nothing_at_the_end(reference: Path, tmp_path: Path, call: int) -> None:
    run, code = killed(RICH, f"io:{call}", tmp_path)
    assert code == KILLED
    goes_on_to(reference, run)


def test_sigterm_saves_says_how_to_go_on_and_changes_nothing_at_the_end(reference: Path, tmp_path: Path) -> None:
    run, code = killed(RICH, "signal:8", tmp_path)
    assert code == 143
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"]) == ("interrupted", 8)
    assert f"resume={run}" in status["resume"]
    goes_on_to(reference, run)


def test_a_damaged_newest_checkpoint_is_passed_over(reference: Path, tmp_path: Path) -> None:
    run, _ = killed(RICH, "step:8", tmp_path)
    newest = Store(run).newest()[0]
    assert newest is not None
    flip(newest / "model.safetensors")
    assert Store(run).newest()[0] not in (None, newest)
    goes_on_to(reference, run)
    assert f"{newest.name} is damaged" in " ".join((run / "train.log").read_text().split())


def test_resuming_a_finished_run_leaves_it_as_it_was(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(reference, run)
    assert train([f"resume={run}"]) == 0
    assert same(reference, run) == []


def test_more_epochs_keep_the_schedule_and_then_its_last_rate(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(reference, run)
    assert train([f"resume={run}", "trainer.epochs=4"]) == 0
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rates = [event["lr"] for event in events if event["event"] == "epoch"]
    assert len(rates) == 4
    assert rates[3] == rates[2]
    before = [line for line in (reference / "metrics.jsonl").read_text().splitlines() if '"final"' not in line]
    assert (run / "metrics.jsonl").read_text().splitlines()[: len(before)] == before
    longer = (run / "metrics.jsonl").read_bytes()
    assert train([f"resume={run}"]) == 0
    assert (run / "metrics.jsonl").read_bytes() == longer


def test_a_run_that_diverges_keeps_a_checkpoint_of_finite_weights_and_names_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    wild = ["optimizer=sgd", "optimizer.lr=1e30", "scheduler=none", "trainer.log_every=50"]
    assert train([*TINY, *wild, f"run_dir={run}"]) == 1
    newest, passed = Store(run).newest()
    assert newest is not None
    assert passed == []
    assert all(bool(tensor.isfinite().all()) for tensor in load_weights(newest).values())
    assert newest.name in json.loads((run / "status.json").read_text())["error"]


def test_steps_without_any_label_end_no_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    rare = "tasks.rare={kind: classification, target: {from: digit, map: {0: a, 1: b" + "".join(
        f", {n}: null" for n in range(2, 10)
    )
    words = ["~tasks.digit", "~tasks.parity", "~tasks.slant", f"+{rare}}}}}}}", "trainer.batch_size=1"]
    assert train([*TINY, *words, f"run_dir={run}"]) == 0
    assert "skipped" not in (run / "train.log").read_text()


def test_a_resume_does_not_need_what_the_run_was_started_from(reference: Path, tmp_path: Path) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    shutil.copytree(reference, source)
    assert train([*TINY, *RICH, f"init_from={source}", f"run_dir={run}"], "step:7") == KILLED
    shutil.rmtree(source)
    assert train([f"resume={run}"]) == 0


def test_a_run_that_another_process_trains_in_is_refused(reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "copy"
    shutil.copytree(reference, run)
    before = (run / "metrics.jsonl").read_bytes()
    with rundir.alone(run):
        assert train([f"resume={run}"]) == 2
    assert (run / "metrics.jsonl").read_bytes() == before


def test_sigterm_in_the_last_evaluation_says_how_to_go_on(reference: Path, tmp_path: Path) -> None:
    run, code = killed(RICH, "final:1", tmp_path)
    assert code == 143
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    goes_on_to(reference, run)


def test_the_report_of_a_resumed_run_tells_the_whole_command(tmp_path: Path) -> None:
    run, _ = killed(["weighting=uw"], "step:7", tmp_path)
    assert train([f"resume={run}", "trainer.epochs=4"]) == 0
    typed = next(line for line in (run / "report.md").read_text().splitlines() if line.startswith("- typed"))
    assert "weighting=uw" in typed
    assert "trainer.epochs=4" in typed
    assert "trainer.epochs=3" not in typed


@pytest.mark.slow
def test_a_kill_at_every_call_that_writes_leaves_a_loadable_checkpoint_and_changes_nothing(
    reference: Path, tmp_path: Path
) -> None:
    """Over two saves, one within an epoch and one at its end with a new best; then over the rest, every seventh."""
    for call in [*range(30, 80), *range(80, IO_CALLS, 7)]:
        run, code = killed(RICH, f"io:{call}", tmp_path)
        if code == 0:
            assert call > 150
            break
        goes_on_to(reference, run)
        shutil.rmtree(run)


@pytest.mark.slow
def test_thirty_kills_at_random_moments_change_nothing_at_the_end(reference: Path, tmp_path: Path) -> None:
    draw, kills, tried = random.Random(0), 0, 0
    while kills < 30:
        tried += 1
        assert tried <= 90, f"only {kills} of {tried} runs were killed before their end"
        run, code = killed(RICH, f"timer:{draw.uniform(0.25, 0.65):.3f}", tmp_path / str(tried))
        kills += code == KILLED
        goes_on_to(reference, run)


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["fixed", "uw", "dwa"])
@pytest.mark.parametrize(
    ("sharing", "aggregation"),
    [("independent", "sum"), *product(("hard", "cross_stitch", "mmoe"), ("sum", "pcgrad", "db"))],
)
def test_every_combination_resumes_to_the_same_end(
    tmp_path: Path, sharing: str, weighting: str, aggregation: str
) -> None:
    words = [f"sharing={sharing}", f"weighting={weighting}", f"aggregation={aggregation}", "regularizer=[l1,l2]"]
    run = whole(words, tmp_path)
    for plan in ("step:3", "step:9", "io:60"):
        stopped, code = killed(words, plan, tmp_path)
        assert code == KILLED
        goes_on_to(run, stopped)


STILL = ["trainer.select=digit", "optimizer.lr=1e-7"]
"""Steps so small that no later epoch is better than the first."""
DROPPED = {
    "weights": [],
    "optimizer": [],
    "weighting": ["weighting=dwa"],
    "aggregation": ["aggregation=db"],
    "epoch": [],
    "batch": [],
    "step": [],
    "totals": [],
    "best": STILL,
    "best_of": STILL,
    "stale": STILL,
    "metric_log": [],
    "trained": ["trainer.ema=0.9"],
    "averaged": ["trainer.ema=0.9"],
}


@pytest.mark.slow
@pytest.mark.parametrize("part", DROPPED)
def test_each_part_of_a_checkpoint_is_needed_for_the_same_end(tmp_path: Path, part: str) -> None:
    words = DROPPED[part]
    run = whole(words, tmp_path)
    stopped, code = killed(words, "step:14", tmp_path)
    assert code == KILLED
    folder = Store(stopped).newest()[0]
    assert folder is not None
    drop(part, folder)
    train([f"resume={stopped}"])
    assert same(run, stopped) != []


def drop(part: str, folder: Path) -> None:
    """Makes a checkpoint forget one part, with a manifest that fits."""
    state = load_training(folder, torch.device("cpu"))
    if part == "weights":
        weights = load_weights(folder)
        from safetensors.torch import save_file

        save_file({name: torch.zeros_like(tensor) for name, tensor in weights.items()}, folder / "model.safetensors")
    elif part == "optimizer":
        state["optimizer"]["state"] = {}
    elif part in ("weighting", "aggregation"):
        state[part] = {k: v for k, v in fresh(state[part]).items() if "/" not in k}
    elif part == "totals":
        state["progress"]["totals"]["table"].zero_()
    elif part in ("metric_log", "averaged"):
        state[part] = 0
    elif part == "trained":
        state["trained"] = {}
    else:
        empty = {"epoch": 0, "batch": 0, "step": 0, "best": None, "best_of": {}, "stale": 7}
        state["progress"][part] = empty[part]
    torch.save(state, folder / "training.pt")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({name: digest(folder / name) for name in manifest}))


def fresh(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Buffers as they were at the start."""
    return {k: torch.full_like(v, torch.nan if v.is_floating_point() else 0) for k, v in state.items()}


def flip(file: Path) -> None:
    """Flips one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["config.yaml", "meta.json", "model.safetensors", "training.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_any_damage_is_found_and_named(reference: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "copied away"
    newest = Store(reference).newest()[0]
    assert newest is not None
    shutil.copytree(newest, folder)
    verify(folder)
    file = folder / name
    if damage == "flip":
        flip(file)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    else:
        file.unlink()
    with pytest.raises(ConfigError, match="is damaged"):
        verify(folder)
