"""An evaluation and a resumed run start from a saved configuration, which is data and nothing else."""

import shutil
from pathlib import Path

import pytest
from msgspec.structs import asdict

from mtl_cli import asked, saved
from mtl_cli.options import ConfigError, tag
from mtl_cli.training.options import Cpu
from tests.cli.calls import Mtl, edit


def test_a_checkpoint_is_found_by_its_run_its_pointer_or_itself(run_dir: Path, tmp_path: Path) -> None:
    checkpoints = run_dir / "checkpoints"
    assert saved.locate(str(run_dir)) == checkpoints / "step-1"
    assert saved.locate(str(checkpoints)) == checkpoints / "step-1"
    assert saved.locate(str(checkpoints / "last")) == checkpoints / "step-2"
    assert saved.locate(str(checkpoints / "step-2")) == checkpoints / "step-2"
    (checkpoints / "best").unlink()
    assert saved.locate(str(run_dir)) == checkpoints / "step-2"
    copied = tmp_path / "copied"
    shutil.copytree(checkpoints / "step-1", copied)
    assert saved.locate(str(copied)) == copied


@pytest.mark.parametrize("command", ["eval checkpoint", "train resume"])
def test_a_run_that_was_saved_before_a_key_came_goes_on_as_it_was(mtl: Mtl, run_dir: Path, command: str) -> None:
    edit(run_dir, sharing={"name": "hard"})
    edit(run_dir / "checkpoints" / "step-1", sharing={"name": "hard"})
    answer = mtl(*f"{command}={run_dir}".split(maxsplit=1))
    assert (answer.code, answer.err) == (0, "")
    assert asdict(answer.jobs[0].config.sharing) == {"split_at": None}


def test_what_a_saved_run_says_of_a_key_stays() -> None:
    assert saved.grown({"sharing": {"name": "hard", "split_at": "stage1"}})["sharing"]["split_at"] == "stage1"
    assert saved.grown({"sharing": {"name": "independent"}}) == {"sharing": {"name": "independent"}}


@pytest.mark.parametrize("content", ["", "step-9", "../../elsewhere", "\xff"])
def test_a_pointer_that_leads_nowhere_is_refused(run_dir: Path, content: str) -> None:
    (run_dir / "checkpoints" / "best").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match="best does not lead to a checkpoint"):
        saved.locate(str(run_dir))


def test_an_evaluation_takes_everything_from_the_checkpoint_but_device_and_folders(
    mtl: Mtl, run_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("runs", "cache", "data"):
        monkeypatch.setenv(f"MTL_{name.upper()}", str(tmp_path / f"new-{name}"))
    edit(run_dir / "checkpoints" / "step-1", device={"name": "cuda", "index": 3, "threads": None})
    answer = mtl("eval", f"checkpoint={run_dir}", "eval.split=val", "trainer.eval_batch_size=5")
    assert (answer.code, answer.err) == (0, "")
    job = answer.jobs[0]
    assert (job.config.seed, job.config.task, job.config.trainer.eval_batch_size) == (7, "digits", 5)
    assert (job.options.split, job.checkpoint) == ("val", run_dir / "checkpoints" / "step-1")
    assert type(job.config.device).__struct_config__.tag == "auto"
    assert job.config.runs_dir == str(tmp_path / "new-runs")
    assert job.config.cache_dir == str(tmp_path / "new-cache")
    assert job.config.data_dir == str(tmp_path / "new-data")
    assert job.session.command == "eval"


def test_the_data_folder_is_kept_where_it_is_there_and_nothing_else_is_said(
    mtl: Mtl, run_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MTL_DATA")
    edit(run_dir / "checkpoints" / "step-1", data_dir=str(tmp_path / "gone"))
    assert mtl("eval", f"checkpoint={run_dir}").jobs[0].config.data_dir == "./data"
    (tmp_path / "gone").mkdir()
    assert mtl("eval", f"checkpoint={run_dir}").jobs[0].config.data_dir == str(tmp_path / "gone")


@pytest.mark.parametrize("words", [["task=digits"], ["backbone=mlp"], ["evl.split=val"], ["eval.split=tset"]])
def test_an_evaluation_answers_mistakes_in_one_line(mtl: Mtl, run_dir: Path, words: list[str]) -> None:
    answer = mtl("eval", f"checkpoint={run_dir}", *words)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert words[0] in answer.err


def test_an_export_is_told_a_format_and_tasks_and_computes_on_the_cpu(mtl: Mtl, run_dir: Path) -> None:
    answer = mtl("export", f"checkpoint={run_dir}", "export.format=onnx", "export.tasks=[slant,digit]")
    assert (answer.code, answer.err) == (0, "")
    job = answer.jobs[0]
    assert (tag(job.options.format), job.options.tasks) == ("onnx", ["slant", "digit"])
    assert (job.checkpoint, job.config.seed) == (run_dir / "checkpoints" / "step-1", 7)
    assert tag(job.config.device) == "cpu"
    sweep = mtl("export", "-m", f"checkpoint={run_dir}", "export.format=pt2,safetensors", "export.tasks=null,[digit]")
    assert [(tag(job.options.format), job.options.tasks) for job in sweep.jobs] == [
        (name, tasks) for name in ("pt2", "safetensors") for tasks in (None, ["digit"])
    ]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("export.format=onx", "export.format=onx is not known: did you mean onnx?"),
        ("export.format=3", "export.format=3 is not valid: expected a name"),
        ("export.tasks=[digitt]", "export.tasks=[digitt] is no task of the checkpoint: did you mean digit?"),
        ("export.tasks=digit", "export.tasks=digit should be a list: export.tasks=[digit]"),
        ("export.tasks=[]", "export.tasks=[] is not valid"),
        ("export.task=[digit]", "export.task=[digit] is not a key here: did you mean tasks?"),
        ("export=onnx", "export.format=onnx"),
        ("exprt.format=onnx", "exprt.format=onnx is not a key here: did you mean export?"),
        ("format=onnx", "format=onnx is not a key here: did you mean export.format=onnx?"),
        ("device=cuda", "device=cuda does not go with export"),
        ("task=digits", "task=digits cannot be chosen here: mtl export takes it from the checkpoint"),
    ],
)
def test_an_export_answers_mistakes_in_one_line(mtl: Mtl, run_dir: Path, word: str, says: str) -> None:
    answer = mtl("export", f"checkpoint={run_dir}", word)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert says in answer.err
    assert answer.jobs == []


def test_a_missing_package_of_a_format_is_named_with_the_command_that_installs_it(
    mtl: Mtl, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked, "find_spec", lambda name: None if "onnx" in name else object())
    answer = mtl("export", f"checkpoint={run_dir}", "export.format=onnx")
    assert answer.code == 2
    assert answer.err == "mtl: export.format=onnx needs onnx, onnxscript, onnxruntime: pip install 'mtl-cli[onnx]'\n"
    assert mtl("export", f"checkpoint={run_dir}").code == 0


def test_a_resumed_run_goes_on_in_its_directory_with_its_configuration(mtl: Mtl, run_dir: Path) -> None:
    answer = mtl("train", f"resume={run_dir}", "trainer.epochs=90", "task=digits", "backbone=cnn")
    assert (answer.code, answer.err) == (0, "")
    config, session = answer.jobs[0][:2]
    assert (config.resume, config.run_dir) == (str(run_dir), str(run_dir))
    assert (config.trainer.epochs, config.seed) == (90, 7)
    assert session.overrides == [f"resume={run_dir}", "trainer.epochs=90", "task=digits", "backbone=cnn"]


def test_a_resumed_run_keeps_its_device_unless_told_another(mtl: Mtl, run_dir: Path) -> None:
    edit(run_dir, device={"name": "cpu", "index": None, "threads": 3})
    kept = mtl("train", f"resume={run_dir}").jobs[0].config.device
    assert isinstance(kept, Cpu)
    assert kept.threads == 3
    changed = mtl("train", f"resume={run_dir}", "device=cuda", "device.index=1").jobs[0].config.device
    assert (changed.__struct_config__.tag, changed.index, changed.threads) == ("cuda", 1, None)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=3", "seed=3 cannot change in a resumed run, which has 7"),
        ("backbone.channels=8", "backbone.channels=8 cannot change in a resumed run, which has 16"),
        ("backbone=mlp", "backbone=mlp cannot change in a resumed run, which has cnn"),
        ("task=cifar_multi", "task=cifar_multi cannot change in a resumed run, which has digits"),
        ("tasks.digit.weight=2", "tasks.digit.weight=2.0 cannot change in a resumed run, which has 1.0"),
        ("regularizer=[l2]", "regularizer=[l2] cannot change in a resumed run, which has []"),
        ("trainer.batch_size=8", "trainer.batch_size=8 cannot change in a resumed run, which has 64"),
        ("~tasks.slant", "tasks.slant"),
        ("run_dir=x", "run_dir=x cannot change"),
        ("trainer.epoch=3", "did you mean epochs?"),
    ],
)
def test_what_decides_a_runs_numbers_cannot_change_on_resume(mtl: Mtl, run_dir: Path, word: str, says: str) -> None:
    answer = mtl("train", f"resume={run_dir}", word)
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert says in answer.err
    assert answer.jobs == []


def test_what_does_not_may_change(mtl: Mtl, run_dir: Path) -> None:
    keys = [key for key in saved.MAY_DIFFER if key not in ("resume", "run_dir", "plugins", "device")]
    others = {"trainer.memory_format": "channels_last", "trainer.compile": "true", "trainer.deterministic": "true"}
    others |= {"trainer.profile": "true"}
    values = {**dict.fromkeys(keys, "11"), **others, "plots": "false", "tensorboard": "false"}
    answer = mtl("train", f"resume={run_dir}", *(f"{key}={value}" for key, value in values.items()))
    assert (answer.code, answer.err) == (0, "")
    assert answer.jobs[0].config.scheduler.total_epochs == 11


def test_a_run_without_a_checkpoint_cannot_be_resumed(mtl: Mtl, run_dir: Path) -> None:
    shutil.rmtree(run_dir / "checkpoints")
    answer = mtl("train", f"resume={run_dir}")
    assert (answer.code, answer.jobs) == (2, [])
    assert "has no checkpoint yet" in answer.err


def test_a_checkpoint_is_not_resumed_but_started_from(mtl: Mtl, run_dir: Path) -> None:
    checkpoint = run_dir / "checkpoints" / "step-1"
    assert f"init_from={checkpoint}" in mtl("train", f"resume={checkpoint}").err
    assert mtl("train", f"init_from={checkpoint}").jobs[0].config.init_from == str(checkpoint)


@pytest.mark.parametrize("command", ["eval", "train"])
def test_a_crafted_configuration_cannot_reach_into_hydra(mtl: Mtl, run_dir: Path, command: str, here: Path) -> None:
    attack = {
        "callbacks": {"x": {"_target_": "pathlib.Path.touch", "self": str(here / "owned")}},
        "run": {"dir": str(here / "owned")},
        "output_subdir": "owned",
    }
    for folder in (run_dir, run_dir / "checkpoints" / "step-1"):
        edit(folder, hydra=attack, defaults=[{"override /hydra/help": "nope"}])
    answer = mtl(command, f"{'resume' if command == 'train' else 'checkpoint'}={run_dir}")
    assert (answer.code, answer.err) == (0, "")
    assert not list(here.glob("**/owned"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "${oc.env:HOME}"}, "name=${oc.env:HOME}"),
        ({"data_dir": "a${oc.decode:1}"}, "data_dir=a${oc.decode:1}"),
        ({"tasks": {"digit": {"metrics": ["a", "${seed}"]}}}, "tasks.digit.metrics.1=${seed}"),
        ({"plugins": ["os", "sys"]}, "plugins=[os,sys]"),
        ({"_target_": "os.system"}, "_target_=os.system"),
        ({"backbone": {"name": "cnn", "_target_": "os.system"}}, "backbone._target_=os.system"),
        ({"backbone": None}, "backbone=null"),
        ({"tasks": {"digit": 3}}, "tasks.digit=3"),
    ],
)
def test_a_crafted_configuration_is_refused_in_one_line(
    mtl: Mtl, run_dir: Path, changes: dict[str, object], says: str
) -> None:
    for folder in (run_dir, run_dir / "checkpoints" / "step-1"):
        edit(folder, **changes)
    for answer in (mtl("eval", f"checkpoint={run_dir}"), mtl("train", f"resume={run_dir}")):
        assert answer.code == 2
        assert answer.err.count("\n") == 1
        assert says in answer.err
        assert answer.jobs == []


@pytest.mark.parametrize("content", ["[1, 2]", "3", "a: [", "\x00", None])
def test_a_damaged_configuration_is_named(mtl: Mtl, run_dir: Path, content: str | None) -> None:
    file = run_dir / "checkpoints" / "step-1" / "config.yaml"
    file.unlink()
    if content is not None:
        file.write_text(content)
    answer = mtl("eval", f"checkpoint={run_dir}")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert str(file) in answer.err
