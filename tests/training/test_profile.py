"""A step's time is told by place, once the run has settled, and the run is the same as without."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl_cli.__main__ import main
from mtl_cli.training import profile
from mtl_cli.training.profile import TIMED, TRACED, WARM_UP, Profile, Stopwatch, table
from mtl_cli.training.spans import LISTENERS, PLACES, span, within
from tests.training.killing import same

WORDS = [
    "task=digits", "data.limit=90", "backbone.depth=2", "backbone.channels=4", "trainer.batch_size=8",
    "device=cpu", "device.threads=1", "plots=false", "tensorboard=false", "trainer.deterministic=true",
    "trainer.epochs=3", "aggregation=pcgrad", "regularizer=[l2]", "trainer.ema=0.9",
]  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What it shows: one number, to be changed."""
    shown = [0.0]
    monkeypatch.setattr(profile, "now", lambda: shown[0])
    return shown


@pytest.fixture(autouse=True)
def _nobody_listens_after() -> Iterator[None]:
    yield
    assert LISTENERS == []


def test_a_place_within_another_takes_its_time_from_it(clock: list[float]) -> None:
    watch = Stopwatch()
    watch.begin()
    clock[0] += 1
    with watch.at("balancing"):
        clock[0] += 2
        with watch.at("backward"):
            clock[0] += 4
        clock[0] += 8
    clock[0] += 16
    watch.end()
    spent = {place: seconds for place, seconds in watch.rounds[0].items() if seconds}
    assert spent == {"other": 17, "balancing": 10, "backward": 4}


def test_the_table_has_ten_lines_that_add_up() -> None:
    rounds = [dict.fromkeys(PLACES, 0.001), {**dict.fromkeys(PLACES, 0.001), "backward": 0.005}]
    lines = table(rounds)
    assert len(lines) == 10
    assert "11.00 ms (mean of 2" in lines[0]
    assert [line.split()[:2] for line in lines[1:]] == [[p, "3.00" if p == "backward" else "1.00"] for p in PLACES]
    assert [line.split()[3] for line in lines[1:4]] == ["9.1%", "9.1%", "27.3%"]


def test_rounds_are_timed_once_the_run_has_settled_without_the_last_of_an_epoch(
    clock: list[float], tmp_path: Path
) -> None:
    """Epochs of four rounds, the last of which takes a hundred seconds more, as a loop does that evaluates after it."""
    told: list[str] = []
    settled: list[bool] = []
    followed = Profile(tmp_path / "profile", lambda: bool(settled), told.append)

    @within("forward")
    def step() -> None:
        clock[0] += 3

    for epoch in range(20):
        for k in followed.rounds(range(4)):
            clock[0] += 1
            step()
            if k == 3:
                clock[0] += 100
                break
        if epoch == 1:
            settled.append(True)
        if told:
            break
    assert epoch == 1 + (WARM_UP + TIMED) // 3 + 1
    assert told == (tmp_path / "profile" / "table.txt").read_text().splitlines()
    assert told[0].startswith(f"profile: a step takes 4000.00 ms (mean of {TIMED}")
    assert "forward    3000.00 ms  75.0%" in told[2]
    assert "other    1000.00 ms  25.0%" in told[9]


def test_a_run_is_profiled_once(tmp_path: Path) -> None:
    (tmp_path / "table.txt").write_text("")
    batches, told = iter([1]), list[str]()
    followed = Profile(tmp_path, lambda: True, told.append)
    assert followed.rounds(batches) is batches
    followed.finish()
    assert told == []


def test_nothing_is_named_where_nobody_listens() -> None:
    assert span("forward") is span("metrics")


def test_a_run_is_the_same_with_a_profile_which_names_every_place(tmp_path: Path) -> None:
    plain, followed = tmp_path / "plain", tmp_path / "followed"
    assert main(["train", *WORDS, f"run_dir={plain}"]) == 0
    assert main(["train", *WORDS, "trainer.profile=true", f"run_dir={followed}"]) == 0
    assert same(plain, followed) == []
    lines = (followed / "profile" / "table.txt").read_text().splitlines()
    spent = {line.split()[0]: float(line.split()[1]) for line in lines[1:]}
    assert all(spent[place] > 0 for place in PLACES)
    assert lines[5].split()[0] in (followed / "train.log").read_text()
    with gzip.open(followed / "profile" / "trace.json.gz") as file:
        names = [event["name"] for event in json.load(file)["traceEvents"] if event.get("cat") == "user_annotation"]
    assert {place for place in PLACES if place != "other"} <= set(names)
    assert names.count("forward") == TRACED
    assert names.count("backward") == TRACED


def test_a_run_that_is_too_short_says_so(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["train", *WORDS, "trainer.profile=true", "trainer.max_steps=2", f"run_dir={run}"]) == 0
    assert "trainer.profile=true: too few steps" in (run / "train.log").read_text()
    assert not (run / "profile").exists()
