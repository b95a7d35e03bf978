"""Every inhabitant with every other, through the command line: one part and two, trained, resumed and evaluated."""

import json
import math
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_cli.__main__ import main
from mtl_cli.aggregation import base as aggregation_base
from mtl_cli.beneath import packaged
from mtl_cli.config import TABLES
from mtl_cli.weighting import base as weighting_base

BASIC = ("hard", "independent", "cross_stitch")
"""Sharings that are evaluated by default; tests/sharing saves, loads and ships every one, without a command line."""
METHODS = [
    *(f"weighting={name}" for name in TABLES["weighting"]),
    *(f"weighting=uw aggregation={name}" for name in TABLES["aggregation"]),
]
"""Each weighting and each aggregation; every pair of them takes steps in tests/training."""


def paired() -> list[str]:
    """Each weighting and each aggregation once or more, together where they go together."""
    needs = {name: weighting_base.build(name, ["a", "b"]).weighting.needs for name in TABLES["weighting"]}
    any_step = [name for name, its in needs.items() if not its.plain_step]
    pairs = zip(cycle(any_step), TABLES["aggregation"], strict=False)
    alone = [f"weighting={name}" for name in needs if name not in any_step]
    return [*alone, *(f"weighting={weighting} aggregation={aggregation}" for weighting, aggregation in pairs)]


RUNS = [
    *(("digits", "hard", methods) for methods in paired()),
    *(
        pytest.param("digits", "hard", methods, marks=pytest.mark.slow, id=f"digits hard {methods}")
        for methods in METHODS
        if methods not in paired()
    ),
    *(("mnist_fashion", sharing, "weighting=uw aggregation=sum") for sharing in TABLES["sharing"]),
    *(("mnist_fashion", "hard", f"aggregation={name}") for name in ("upgrad", "graddrop", "sdmgrad", "nash_mtl")),
    *(("digits", "independent", methods) for methods in ("weighting=dwa", "weighting=gradnorm", "aggregation=pcgrad")),
    *(
        pytest.param(task_set, sharing, methods, marks=pytest.mark.slow, id=f"{task_set} {sharing} {methods}")
        for task_set, sharing in (
            ("digits", "cross_stitch"),
            ("mnist_fashion", "hard"),
            ("mnist_fashion", "cross_stitch"),
        )
        for methods in METHODS
    ),
]
SETS = {
    "digits": ["task=digits", "data.limit=60"],
    "mnist_fashion": ["task=mnist_fashion", "data.limit=40", "data.parts.fashion.flip=false"],
}
SMALL = ["device=cpu", "device.threads=1", "trainer.batch_size=16", "trainer.log_every=1", "backbone.depth=2",
         "backbone.channels=4", "plots=false", "tensorboard=false"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small idx files in torchvision's layout: bright squares whose place tells the class."""
    root = tmp_path_factory.mktemp("data")
    for variant, shift in (("MNIST", 0), ("FashionMNIST", 14)):
        raw = root / variant / "raw"
        raw.mkdir(parents=True)
        for part, count in (("train", 60), ("t10k", 40)):
            labels = np.arange(count) % 10
            images = np.zeros((count, 28, 28), np.uint8)
            for image, label in zip(images, labels, strict=True):
                image[shift : shift + 9, 2 * label : 2 * label + 8] = 200
            _idx(raw / f"{part}-images-idx3-ubyte", images)
            _idx(raw / f"{part}-labels-idx1-ubyte", labels)
    return root


@pytest.fixture(autouse=True)
def _data_dir(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_DATA", str(data))


def _idx(path: Path, values: Any) -> None:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def events(run: Path) -> list[dict[str, Any]]:
    """What metrics.jsonl tells."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's tensors."""
    from safetensors.torch import load_file

    return load_file(checkpoint / "model.safetensors")


def numbers(value: Any) -> list[float]:
    """All numbers in nested dictionaries."""
    return [n for part in value.values() for n in numbers(part)] if isinstance(value, dict) else [value]


def refused(sharing: str, words: str) -> bool:
    """Whether a method of these wants to see what the sharing has not."""
    kind = TABLES["sharing"].target(packaged(TABLES["sharing"], sharing, {}))
    methods = [word.split("=") for word in words.split()]
    needs = [
        weighting_base.build(name, ["a", "b"]).weighting.needs
        if group == "weighting"
        else aggregation_base.build(name, ["a", "b"]).aggregation.needs
        for group, name in methods
    ]
    return any(n.level != "losses" and (not kind.shares or (n.at == "trunk" and not kind.trunk)) for n in needs)


@pytest.mark.parametrize(("task_set", "sharing", "methods"), RUNS)
def test_every_method_trains_with_finite_numbers_and_moves_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task_set: str, sharing: str, methods: str
) -> None:
    run = tmp_path / "run"
    words = [*SETS[task_set], f"sharing={sharing}", *methods.split()]
    code = main(["train", *words, *SMALL, "trainer.max_steps=3", "optimizer.lr=0.01", f"run_dir={run}"])
    if refused(sharing, methods):
        assert code == 2
        assert f"sharing={sharing}" in capsys.readouterr().err
        assert not run.exists()
        return
    assert code == 0
    told = events(run)
    steps = [event for event in told if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3]
    for event in steps:
        assert all(math.isfinite(n) for n in numbers(event["losses"]))
        assert any(c != 0 for c in numbers(event["coefficients"]))
    tasks = set(steps[0]["losses"])
    assert steps[0]["losses"] != steps[2]["losses"]
    assert set(told[-1]["test"]) == tasks
    assert all(math.isfinite(n) for n in numbers(told[-1]["test"]))
    first, *_, last = (weights(folder) for folder in sorted((run / "checkpoints").glob("step-*")))
    moved = {name for name in first if not first[name].equal(last[name])}
    assert {f"heads.task:{task}.layers.weight" for task in tasks} <= moved
    assert any(name.startswith("sharing.") and name.endswith("stage1.0.weight") for name in moved)


def a_part_a_task(sharing: str) -> bool:
    """Whether it takes no task set whose tasks share their input."""
    declared: bool = TABLES["sharing"].target(packaged(TABLES["sharing"], sharing, {})).data_set_a_task
    return declared


@pytest.mark.parametrize(
    ("task_set", "sharing"),
    [
        pytest.param(task_set, sharing, marks=() if sharing in BASIC else pytest.mark.slow, id=f"{task_set} {sharing}")
        for task_set in SETS
        for sharing in TABLES["sharing"]
        if task_set != "digits" or not a_part_a_task(sharing)
    ],
)
def test_eval_gives_exactly_the_numbers_recorded_as_final(tmp_path: Path, task_set: str, sharing: str) -> None:
    run = tmp_path / "a run = with odd name"
    words = [*SETS[task_set], f"sharing={sharing}", "trainer.epochs=2", f"run_dir={run}"]
    assert main(["train", *SMALL, *words]) == 0
    final = events(run)[-1]
    assert final["event"] == "final"
    for split in ("val", "test"):
        assert main(["eval", f"checkpoint={run}", f"eval.split={split}"]) == 0
        (file,) = run.glob(f"eval/*-{split}.json")
        assert json.loads(file.read_text())[split] == final[split]


OPTIONS = [
    ["optimizer=sgd", "scheduler=step"],
    ["optimizer=adam", "scheduler=multistep", "scheduler.milestones=[1]"],
    ["scheduler=cosine", "scheduler.warmup_epochs=1"],
    ["scheduler=none", "trainer.accumulate=3", "trainer.clip_norm=0.5"],
    ["trainer.precision=bf16", "aggregation=pcgrad"],
    ["trainer.ema=0.5", "trainer.memory_format=channels_last", "trainer.deterministic=true"],
    ["data.statistics=shared", "regularizer=[l1,l2]"],
    ["backbone=mlp", "~backbone.depth", "~backbone.channels"],
    ["tasks.digit.head=mlp", "tasks.digit.loss.label_smoothing=0.1", "tasks.digit.weight=0.3"],
    ["tasks.digit.head.at=stage1", "trainer.select=worst", "trainer.patience=1"],
    ["tasks.digit.loss.class_weights=balanced", "trainer.select=digit", "data.validation=0"],
]
BY_PARTS = ("data.statistics=shared", "scheduler=none", "trainer.ema=0.5", "tasks.digit.head.at=stage1")
"""What several parts see otherwise than one: by default these run on both task sets, the others on one."""


def marks(task_set: str, words: list[str]) -> tuple[pytest.MarkDecorator, ...]:
    return () if task_set == "digits" or words[0] in BY_PARTS else (pytest.mark.slow,)


@pytest.mark.parametrize(
    ("task_set", "words"),
    [
        pytest.param(task_set, words, marks=marks(task_set, words), id=f"{task_set}-{words[0]}")
        for task_set in SETS
        for words in OPTIONS
    ],
)
def test_every_option_trains_and_evaluates_alike(tmp_path: Path, task_set: str, words: list[str]) -> None:
    run = tmp_path / "run"
    small = [w for w in SMALL if "backbone" not in w] if words[0] == "backbone=mlp" else SMALL
    told = [w for w in words if not w.startswith("~")]
    assert main(["train", *SETS[task_set], *small, *told, "trainer.epochs=2", f"run_dir={run}"]) == 0
    assert main(["eval", f"checkpoint={run}"]) == 0
    (file,) = run.glob("eval/*-test.json")
    assert json.loads(file.read_text())["test"] == events(run)[-1]["test"]


def test_one_task_alone_trains(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*SETS["digits"], "~tasks.parity", "~tasks.slant", "trainer.epochs=2"]
    assert main(["train", *words, *SMALL, "weighting=uw", "aggregation=db", f"run_dir={run}"]) == 0
    assert set(events(run)[-1]["test"]) == {"digit"}


def test_weights_start_alike_whatever_the_data_seed_and_differ_by_seed(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    starts = []
    for seed, data_seed in ((0, 0), (0, 1), (1, 0)):
        run = tmp_path / f"{seed}-{data_seed}"
        words = [*SETS["digits"], f"seed={seed}", f"data.seed={data_seed}", "trainer.max_steps=1", f"run_dir={run}"]
        assert main(["train", *words, *SMALL]) == 0
        starts.append(load_file(run / "checkpoints" / "step-00000000" / "model.safetensors"))
    name = "sharing.backbone.stages.stage1.0.weight"
    assert starts[0][name].equal(starts[1][name])
    assert not starts[0][name].equal(starts[2][name])


def test_a_run_starts_from_a_checkpoints_weights(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train", *SETS["digits"], *SMALL, "trainer.epochs=1", f"run_dir={first}"]) == 0
    words = [f"init_from={first}", "~tasks.slant", "trainer.max_steps=1", f"run_dir={second}"]
    assert main(["train", *SETS["digits"], *SMALL, *words]) == 0
    best = first / "checkpoints" / (first / "checkpoints" / "best").read_text()
    given, start = (load_file(f / "model.safetensors") for f in (best, second / "checkpoints" / "step-00000000"))
    assert set(given) - set(start) == {f"heads.task:slant.layers.{kind}" for kind in ("weight", "bias")}
    assert all(given[name].equal(start[name]) for name in start)


UNEQUAL = [
    "+data.parts.more=digits", "data.parts.more.test=0.92", "+data.parts.few=digits", "data.parts.few.test=0.97",
    "tasks.digit.part=images", "tasks.parity.part=more", "tasks.slant.part=few",
    "data.limit=200",
]  # fmt: skip
"""Three parts of digits, each with a task of its own: of 180, 130 and 49 samples to train on."""


@pytest.mark.parametrize("sampling", list(TABLES["sampling"]))
def test_three_parts_of_unequal_sizes_train_and_resume_bit_for_bit_in_the_midst_of_an_epoch(
    tmp_path: Path, sampling: str
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = [*UNEQUAL, f"data.sampling={sampling}", "trainer.accumulate=2", "aggregation=pcgrad"]
    assert main(["train", *words, *SMALL, "trainer.max_steps=7", f"run_dir={whole}"]) == 0
    assert main(["train", *words, *SMALL, "trainer.max_steps=3", f"run_dir={cut}"]) == 0
    assert main(["train", f"resume={cut}", "trainer.max_steps=7"]) == 0
    after = [weights(run / "checkpoints" / "step-00000007") for run in (whole, cut)]
    assert all(after[0][name].equal(after[1][name]) for name in after[0])
    assert set(events(whole)[-1]["test"]) == {"digit", "parity", "slant"}
    assert "samples once" in (whole / "train.log").read_text()
