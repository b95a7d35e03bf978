"""What a job is given, and what becomes of how it ends."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from mtl_cli.aggregation.options import AGGREGATIONS
from mtl_cli.cli.arguments import adapted, override
from mtl_cli.config import Config
from mtl_cli.options import ConfigError, Interrupted, JobError
from mtl_cli.session import Session
from mtl_cli.tasks.options import Mlp
from tests.cli.calls import Mtl
from tests.options import default


def stub(monkeypatch: pytest.MonkeyPatch, run: Callable[[Config, Session], None]) -> None:
    monkeypatch.setitem(vars(sys.modules["mtl_cli.commands.train"]), "run", run)


def raising(error: BaseException) -> Callable[[Config, Session], None]:
    def run(_config: Config, _session: Session) -> None:
        raise error

    return run


def test_a_job_gets_the_typed_configuration_and_the_overrides_as_typed(mtl: Mtl, here: Path) -> None:
    answer = mtl("train", "tasks.digit.weight=0.3", "name=a=b c", "data_dir=/x=y,'z", "trainer.epochs=2", "-r")
    assert (answer.code, answer.err) == (0, "")
    config, session = answer.jobs[0][:2]
    assert (config.tasks["digit"].weight, config.name, config.trainer.epochs) == (0.3, "a=b c", 2)
    assert config.data_dir == "/x=y,'z"
    assert session.overrides == ["tasks.digit.weight=0.3", "name=a=b c", "data_dir=/x=y,'z", "trainer.epochs=2"]
    assert (session.command, session.job_dir) == ("train", None)
    assert session.hydra is not None
    assert "tasks.digit.weight=0.3" in session.hydra["overrides.yaml"]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "value", ["12", "1e3", "true", "a,b", "(x)", "über", "{a: 1}", "a#b", "a b", "=", "it's", '"quoted=1"', "'it\\'s'"]
)
def test_a_path_is_taken_as_it_is_typed(value: str) -> None:
    typed = override(f"data_dir={value}")
    parsed = OverridesParser.create().parse_override(str(adapted(typed, sweep=False)))
    plain = value[1:-1].replace("\\'", "'") if value[0] in "'\"" else value
    assert (parsed.value(), typed.plain) == (plain, plain)


@pytest.mark.parametrize(
    "words",
    [
        ["sharing.branches={layer2: [[left], [right]]}"],
        ["sharing.branches.layer2=[[left],[right]]"],
        ["sharing.branches={layer2: [[left, right]]}", "sharing.branches.layer2=[[left],[right]]"],
    ],
)
def test_a_dictionary_that_is_empty_in_its_yaml_is_filled_as_it_is_typed(mtl: Mtl, words: list[str]) -> None:
    answer = mtl("train", "task=multi_mnist", "sharing=tree", *words)
    assert (answer.code, answer.err) == (0, "")
    assert fields(answer.jobs[0].config.sharing)["branches"] == {"layer2": [["left"], ["right"]]}
    assert answer.jobs[0].session.overrides == ["task=multi_mnist", "sharing=tree", *words]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("sharing.branch={a: [[b]]}", "sharing.branch.a=[[b]] is not a key of tree: did you mean branches?"),
        ("sharing.branch.a=[[b]]", "sharing.branch.a=[[b]] is not a key of tree: did you mean branches?"),
        (
            "sharing.branches.a=[b]",
            "sharing.branches.a=[b] is not valid: expected keys, each with list: list: text",
        ),
    ],
)
def test_what_does_not_fit_such_a_dictionary_is_one_line(mtl: Mtl, word: str, says: str) -> None:
    answer = mtl("train", "sharing=tree", word)
    assert (answer.code, answer.err, answer.jobs) == (2, f"mtl: {says}\n", [])


def test_a_sweep_over_dictionaries_is_a_job_for_each(mtl: Mtl) -> None:
    both = ["{a: [[digit], [parity, slant]]}", "{a: [[slant], [digit, parity]]}"]
    answer = mtl("train", "-m", "sharing=tree", f"sharing.branches={','.join(both)}")
    assert [fields(job.config.sharing)["branches"]["a"][0] for job in answer.jobs] == [["digit"], ["slant"]]
    assert all(job.session.overrides[1].startswith("sharing.branches={a:") for job in answer.jobs)


def test_a_source_s_path_may_hold_spaces_and_equals_signs(mtl: Mtl) -> None:
    words = ["data.parts.images=image_folder", "data.parts.images.path=my photos/a=b"]
    answer = mtl("train", *words)
    assert fields(answer.jobs[0].config.data.parts["images"])["path"] == "my photos/a=b"
    assert answer.jobs[0].session.overrides == words


def test_a_sweep_over_paths_quotes_each(mtl: Mtl) -> None:
    answer = mtl("train", "-m", "name=a b,c=d")
    assert [job.config.name for job in answer.jobs] == ["a b", "c=d"]
    assert [job.session.overrides for job in answer.jobs] == [["name=a b"], ["name=c=d"]]


def test_null_stays_null_for_a_path(mtl: Mtl) -> None:
    assert mtl("train", "cache_dir=null").jobs[0].config.cache_dir is None


@pytest.mark.parametrize(
    "words",
    [
        ["tasks.digit.head=mlp", "tasks.digit.head.hidden=[64]"],
        ["tasks.digit.head.hidden=[64]", "tasks.digit.head=mlp"],
        ["tasks.digit.head.name=mlp", "tasks.digit.head.hidden=[64]"],
        ["tasks.digit.head={name: mlp, hidden: [64]}"],
    ],
)
def test_a_head_can_be_named_and_given_keys_in_any_order(mtl: Mtl, words: list[str]) -> None:
    head = mtl("train", *words).jobs[0].config.tasks["digit"].head
    assert isinstance(head, Mlp)
    assert (head.hidden, head.dropout) == ([64], 0.0)


@pytest.mark.parametrize(
    "words",
    [
        ["aggregation.inner=excess_mtl", "aggregation.inner.step_size=0.5"],
        ["aggregation.inner.step_size=0.5", "aggregation.inner=excess_mtl"],
        ["aggregation.inner={name: excess_mtl, step_size: 0.5}"],
    ],
)
def test_a_wrapped_method_can_be_named_and_given_keys_in_any_order(mtl: Mtl, words: list[str]) -> None:
    (job,) = mtl("train", "aggregation=cr", *words).jobs
    assert fields(job.config.aggregation)["inner"] == default(AGGREGATIONS, "excess_mtl", step_size=0.5)


def test_a_wrapped_method_given_by_its_default_name_has_room_for_a_key(mtl: Mtl) -> None:
    (job,) = mtl("train", "aggregation=cr", "aggregation.inner.every=3").jobs
    inner = fields(job.config.aggregation)["inner"]
    assert inner == default(AGGREGATIONS, "pcgrad", every=3)
    assert job.session.overrides == ["aggregation=cr", "aggregation.inner.every=3"]


def test_a_key_below_a_part_that_a_yaml_only_names_keeps_the_rest_of_that_source(mtl: Mtl) -> None:
    config = mtl("train", "data.parts.images.crop=2").jobs[0].config
    before = mtl("train").jobs[0].config
    part, other = config.data.parts["images"], before.data.parts["images"]
    assert {**fields(part), "crop": 0} == fields(other)
    assert fields(part)["crop"] == 2


def fields(option: object) -> dict[str, object]:
    return {name: getattr(option, name) for name in type(option).__struct_fields__}  # type: ignore[attr-defined]


def test_a_task_can_be_added_and_left_out(mtl: Mtl) -> None:
    words = ["~tasks.parity", "+tasks.lean={kind: regression, target: slant}", "trainer.select=lean"]
    assert list(mtl("train", *words).jobs[0].config.tasks) == ["digit", "slant", "lean"]


def test_an_entry_that_is_null_is_left_out(mtl: Mtl, here: Path) -> None:
    config = mtl("train", "tasks.parity=null", "regularizer=[l1,l2]", "regularizer.l2=null").jobs[0].config
    assert (list(config.tasks), list(config.regularizer)) == (["digit", "slant"], ["l1"])
    words = ["task=mnist_fashion", "tasks.garment=null", "data.parts.fashion=null"]
    assert list(mtl("train", *words).jobs[0].config.data.parts) == ["mnist"]
    (here / "experiment").mkdir()
    text = "# @package _global_\ntasks:\n  slant: null\n  parity: null\n"
    (here / "experiment" / "one.yaml").write_text(text)
    config = mtl("train", "experiment=one", "--config-dir=.").jobs[0].config
    assert list(config.tasks) == ["digit"]
    assert mtl("train", "tasks.digit=null", "tasks.slant=null", "tasks.parity=null").err.startswith("mtl: tasks={} is")


def test_a_users_folder_adds_options_and_primaries_below_the_packaged_ones(mtl: Mtl, here: Path) -> None:
    for name, text in {
        "backbone/wide.yaml": "name: cnn\nchannels: 64\ndepth: 3\nnorm: batch\nfreeze: null\n",
        "backbone/cnn.yaml": "name: cnn\nchannels: 1\ndepth: 1\nnorm: batch\nfreeze: null\n",
        "mine.yaml": "defaults:\n  - train\n  - override backbone: wide\n  - _self_\nseed: 7\n",
    }.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    wide = mtl("train", "backbone=wide", "--config-dir", ".").jobs[0].config
    mine = mtl("train", "-cd", str(here), "-cn", "mine").jobs[0].config
    packaged = mtl("train", "--config-dir=.").jobs[0].config
    assert [fields(c.backbone)["channels"] for c in (wide, mine, packaged)] == [64, 64, 32]
    assert mine.seed == 7


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("data_dir=x holds no cifar10"), 2, "mtl: data_dir=x holds no cifar10\n"),
        (JobError("out of memory: see RUN/train.log"), 1, "mtl: out of memory: see RUN/train.log\n"),
        (RuntimeError("one\ntwo"), 1, "mtl: failed: RuntimeError: one\n"),
        (ValueError(), 1, "mtl: failed: ValueError:\n"),
        (Interrupted(143), 143, ""),
        (Interrupted(), 130, ""),
        (KeyboardInterrupt(), 130, "mtl: interrupted\n"),
    ],
)
def test_how_a_job_ends_is_the_exit_code_and_one_line(
    mtl: Mtl, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    stub(monkeypatch, raising(error))
    answer = mtl("train")
    assert (answer.code, answer.err) == (code, line)


def test_a_sweep_runs_every_job_in_a_folder_of_its_own(mtl: Mtl, tmp_path: Path) -> None:
    answer = mtl("train", "seed=1,2", "tasks.digit.weight=3", "-m")
    assert (answer.code, answer.err) == (0, "")
    assert [job.config.seed for job in answer.jobs] == [1, 2]
    assert [job.session.overrides for job in answer.jobs] == [
        ["seed=1", "tasks.digit.weight=3"],
        ["seed=2", "tasks.digit.weight=3"],
    ]
    folders = [job.session.job_dir for job in answer.jobs]
    assert all(folder is not None and folder.is_dir() for folder in folders)
    assert [folder.relative_to(tmp_path / "runs").parts[::2] for folder in folders if folder] == [
        ("digits", "0"),
        ("digits", "1"),
    ]


def test_a_failed_job_stops_no_other_and_is_named_with_its_overrides(
    mtl: Mtl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []

    def run(config: Config, session: Session) -> None:
        seen.append(config.seed)
        if config.seed == 2:
            raise JobError("diverged")
        assert session.job_dir is not None
        (session.job_dir / "status.json").write_text("{}")

    stub(monkeypatch, run)
    answer = mtl("train", "-m", "seed=1,2,3", "trainer.epochs=1,-1")
    assert answer.code == 1
    assert seen == [1, 2, 3]
    assert answer.err.splitlines() == [
        "mtl: job 1 (seed=1 trainer.epochs=-1): trainer.epochs=-1 is not valid: expected whole number at least 1",
        "mtl: job 2 (seed=2 trainer.epochs=1): diverged",
        "mtl: job 3 (seed=2 trainer.epochs=-1): trainer.epochs=-1 is not valid: expected whole number at least 1",
        "mtl: job 5 (seed=3 trainer.epochs=-1): trainer.epochs=-1 is not valid: expected whole number at least 1",
    ]
    assert sorted(path.parent.name for path in tmp_path.glob("runs/*/*/*/status.json")) == ["0", "4"]
    assert sorted(path.name for path in tmp_path.glob("runs/*/*/*")) == ["0", "4", "multirun.yaml"]


@pytest.mark.parametrize("where", [[], ["runs_dir=deep/er"], ["hydra.sweep.dir=x/y"]])
def test_a_sweep_of_mistakes_only_is_a_mistake_and_leaves_nothing(mtl: Mtl, tmp_path: Path, where: list[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    answer = mtl("train", "-m", "trainer.epochs=-1,-2", *where)
    assert answer.code == 2
    assert answer.err.count("\n") == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_ends_a_sweep(mtl: Mtl, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(config: Config, _session: Session) -> None:
        seen.append(config.seed)
        raise Interrupted(130)

    stub(monkeypatch, run)
    assert mtl("train", "-m", "seed=1,2").code == 130
    assert seen == [1]
