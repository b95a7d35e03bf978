"""What TAB offers: all that the tables and the YAMLs hold, and nothing that the tool would refuse."""

import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from mtl_cli.__main__ import COMMANDS, main
from mtl_cli.beneath import CONF, section
from mtl_cli.cli.arguments import CFG, FLAGS, VALUED
from mtl_cli.cli.completion.answer import answer
from mtl_cli.commands import ls
from mtl_cli.config import ASKED, CHOICES, TABLES
from mtl_cli.options import Option, Table, wrapped
from mtl_cli.tasks.options import METRICS
from tests.cli.calls import Mtl, edit


def tab(line: str) -> list[str]:
    """The words that a line's last one may become."""
    *before, word = line.split(" ")
    return [candidate.text for candidate in answer(before, word).candidates]


def others(group: str, one: str) -> list[str]:
    """The names of a group but for one."""
    return [name for name in TABLES[group] if name != one]


def fields(group: str, name: str, key: str) -> set[str]:
    """The keys of an option's struct, with a dot where a field holds an option with keys of its own."""
    struct = TABLES[group].struct(name)
    inner = {**wrapped(struct), **({"head": "head", "loss": "loss"} if group == "kind" else {})}
    names = {field.encode_name for field in msgspec.structs.fields(struct)}
    return {f"{key}.{field}=" for field in names} | {f"{key}.{field}." for field in inner}


def test_commands_their_help_and_shells_are_offered() -> None:
    assert set(tab("")) == {*COMMANDS, "help"}
    assert tab("tr") == ["train"]
    assert set(tab("help ")) == set(COMMANDS)
    assert tab("--v") == ["--version"]
    assert tab("completion ") == ["bash", "zsh", "--help"]
    assert set(tab("ls ")) >= set(ls.GROUPS)
    assert "backbone" not in tab("ls sharing ")


def test_init_takes_a_file_and_two_options(here: Path) -> None:
    (here / "people.csv").write_text("a\n1\n")
    assert tab("init pe") == ["people.csv"]
    assert tab("init people.csv --") == ["--out", "--targets", "--help"]
    assert tab("init people.csv --targets ") == []
    assert tab("init people.csv --targets a --") == ["--out", "--help"]


def test_data_takes_the_keys_of_train_but_for_those_of_a_run() -> None:
    ways = ["resume=", "init_from=", "run_dir="]
    assert [key for key in tab("train ") if key not in ways] == tab("data ")


def test_every_group_and_every_option_of_it_is_offered() -> None:
    groups = [group for group in ls.FOR_THE_RUN if ls.names(group, [CONF])]
    assert {f"{group}=" for group in groups} <= set(tab("train "))
    for group in groups:
        bracketed = [f"[{name}]" if group == "regularizer" else name for name in ls.names(group, [CONF])]
        assert tab(f"train {group}=") == [f"{group}={name}" for name in bracketed]


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in CHOICES for name in TABLES[group]])
def test_every_key_of_a_chosen_option_is_offered(group: str, name: str) -> None:
    assert {key for key in tab(f"train {group}={name} {group}.") if key.count(".") == 1 or key[-1] != "="} == fields(
        group, name, group
    )


def test_every_key_beneath_tasks_parts_and_penalties_is_offered() -> None:
    for kind in TABLES["kind"]:
        offered = set(tab(f"train tasks.digit.kind={kind} tasks.digit."))
        keys = fields("kind", kind, "tasks.digit")  # but for kind, which the line has
        assert {*offered, "tasks.digit.loss."} == keys  # the loss of a regression has no keys
    for group in ("head", "loss"):
        for name in TABLES[group]:
            line = f"train tasks.digit.{group}={name} tasks.digit.{group}."
            assert set(tab(line)) == fields(group, name, f"tasks.digit.{group}")
    for name in TABLES["source"]:
        line = f"train data.parts.images={name} data.parts.images."
        assert set(tab(line)) == fields("source", name, "data.parts.images")
    for name in TABLES["regularizer"]:
        assert set(tab(f"train regularizer=[{name}] regularizer.{name}.")) == fields(
            "regularizer", name, f"regularizer.{name}"
        )


def test_every_key_of_a_command_is_offered() -> None:
    assert {f"trainer.{key}=" for key in section(CONF / "trainer" / "default.yaml")} == set(tab("train trainer."))
    assert {f"{key}=" for key in ls.names("run", [CONF])} <= set(tab("train "))
    assert {f"data.{key}=" for key in ls.names("data", [CONF])} | {"data.parts."} == set(tab("train data."))
    for command, struct in ASKED.items():
        assert {f"{command}.{key}=" for key in struct.__struct_fields__} == set(tab(f"{command} {command}."))
        assert "checkpoint=" in tab(f"{command} ")
        assert "backbone=" not in tab(f"{command} ")
        assert "resume=" not in tab(f"{command} ")


def test_tasks_are_those_of_the_task_set_and_of_the_line() -> None:
    assert tab("train tasks.") == ["tasks.digit.", "tasks.parity.", "tasks.slant."]
    assert tab("train task=cifar_multi tasks.") == ["tasks.object.", "tasks.animal.", "tasks.medium."]
    changed = ["train", "~tasks.parity", "+tasks.lean={kind: regression, target: slant}"]
    assert [c.text for c in answer(changed, "tasks.").candidates] == ["tasks.digit.", "tasks.slant.", "tasks.lean."]
    assert tab("train trainer.select=") == [
        f"trainer.select={x}" for x in ("mean", "worst", "digit", "parity", "slant")
    ]
    assert tab("train ~tasks.d") == ["~tasks.digit"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("train sha", ["sharing=", "sharing."]),
        ("train backbone.ch", ["backbone.channels="]),
        ("train ++backbone.ch", ["++backbone.channels="]),
        ("train trainer.precision=b", ["trainer.precision=bf16"]),
        ("train data.download=", ["data.download=true", "data.download=false"]),
        ("train data.statistics=s", ["data.statistics=shared"]),
        ("train tasks.digit.loss=", ["tasks.digit.loss=cross_entropy"]),
        ("train tasks.digit.head=", ["tasks.digit.head=linear", "tasks.digit.head=mlp"]),
        ("train tasks.digit.head.hidden=[8] tasks.digit.head.a", ["tasks.digit.head.at="]),
        ("train tasks.digit.primary=a", ["tasks.digit.primary=accuracy"]),
        ("train tasks.digit.metrics=[f1_macro] tasks.digit.primary=", ["tasks.digit.primary=f1_macro"]),
        ("train sharing=hard,", [f"sharing=hard,{name}" for name in others("sharing", "hard")]),
        ("train regularizer=[l", ["regularizer=[l1]", "regularizer=[l2]"]),
        ("train regularizer=l", ["regularizer=l1", "regularizer=l2"]),
        ("train regularizer=[l1", ["regularizer=[l1]", "regularizer=[l1,"]),
        ("train regularizer=[l1,", [f"regularizer=[l1,{name}]" for name in others("regularizer", "l1")]),
        ("train trainer.patience=", []),
        ("train trainer.patience=n", ["trainer.patience=null"]),
        ("train seed=1 see", []),
        ("train trainer.epochs=3 trainer.ep", []),
        ("train --cfg ", list(CFG)),
        ("train --cfg=j", ["--cfg=job"]),
        ("train -c j", ["job"]),
        ("train -p tasks.s", ["tasks.slant"]),
        ("train seed=1 -m", ["-m"]),
        ("export export.format=o", ["export.format=onnx"]),
        ("eval eval.split=v", ["eval.split=val"]),
        ("ls -m", []),
        # what a clumsy user types
        ("trian ", []),
        ("train sharing", ["sharing=", "sharing."]),
        ("train sharing=nope", []),
        ("train sharing=hard,nope,", [f"sharing=hard,nope,{name}" for name in others("sharing", "hard")]),
        ("train nope.", []),
        ("train nope=", []),
        ("train tasks.nope.", []),
        ("train .", []),
        ("train =", []),
        ("train ==", []),
        ("train ~", ["~tasks."]),
        ("train task=nope tasks.", []),
        ("train sharing=nope sharing.", []),
        ("train --cfg nope -m -- sha", ["sharing=", "sharing."]),
        ("train -cd nowhere sha", None),
        ("help train ", []),
        ("completion bash ", []),
        ("eval checkpoint=nowhere eval.s", ["eval.split="]),
        ("train resume=nowhere trainer.ep", ["trainer.epochs="]),
        ("train trainer=[1 trainer.ep", ["trainer.epochs="]),
        ("train {[(,'\"\\ sha", ["sharing=", "sharing."]),
    ],
)
def test_a_line_goes_on(line: str, offered: list[str] | None, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if offered is not None:
        assert tab(line) == offered
    assert main(["completion", "query", "zsh", *line.split(" ")]) in (0, 1)
    out, err = capsys.readouterr()
    assert err == ""
    assert [row.split("\t")[1] for row in out.splitlines() if not row.startswith("note")] == (offered or [])
    assert list(here.iterdir()) == []


def test_options_have_lines_and_go_on_the_line_once() -> None:
    offered = {c.text: c.about for c in answer(["train", "--multirun"], "-").candidates}
    assert set(offered) == {*FLAGS, *VALUED, "--info"} - {"--multirun"}
    assert all(offered.values())


def test_descriptions_are_those_of_mtl_ls_and_a_number_is_described() -> None:
    offered = {c.text: c.about for c in answer(["train"], "sharing=").candidates}
    assert offered["sharing=hard"] == ls.line("sharing", "hard", [CONF])
    assert {c.text: c.about for c in answer(["train"], "task=").candidates}["task=digits"].startswith("scikit-learn")
    epochs = {c.text: c.about for c in answer(["train"], "trainer.").candidates}["trainer.epochs="]
    assert epochs == "30: passes over the training data"  # the task set's
    assert answer(["train"], "trainer.epochs=").note == f"whole number at least 1 ({epochs})"


def test_all_that_is_offered_is_taken(mtl: Mtl) -> None:
    """Every default key by its default; every option of each group, and every closed value of each key."""
    plain = ("name", "resume", "init_from", "run_dir", "plugins", "tasks", "data", "target")
    keys = [key for line in KEYS for key in tab(line) if key.endswith("=")]
    values = {key: [v for v in tab(f"train {key}") if v != key] for key in keys if key.split(".")[-1][:-1] not in plain}
    closed = [found for key, found in values.items() if found and not _is_path(key)]
    assert len(closed) > 20
    for words in zip_longest(*closed):
        answer_ = mtl("train", *_together([word for word in words if word]))
        assert answer_.code == 0, answer_.err


def test_every_experiment_that_is_offered_is_taken(mtl: Mtl) -> None:
    offered = tab("train experiment=")
    assert len(offered) > 1
    for word in offered:
        assert mtl("train", word).code == 0, word


KEYS = ["train ", "train trainer.", "train data.", "train data.parts.", "train data.parts.images.",
        "train device.", "train backbone.", "train optimizer.", "train scheduler.",
        *(f"train tasks.{task}." for task in ("digit", "parity", "slant"))]  # fmt: skip


def _is_path(key: str) -> bool:
    return key.rpartition(".")[2][:-1] in ("runs_dir", "data_dir", "cache_dir", "path")


def _together(words: list[str]) -> list[str]:
    """Without what excludes one another: other tasks, other sources and keys of an option that is chosen away."""
    chosen = [word.partition("=")[0] for word in words]
    kept = []
    for word in words:
        key, _, value = word.partition("=")
        stem = key.rpartition(".")[0]
        if (
            key in ("task", "experiment")
            or (stem in chosen and stem != "trainer")
            or key.endswith(".kind")
            or key == "data.parts.images"
        ):
            continue
        if key.endswith((".primary", ".metrics")):
            continue
        kept.append(word if value else f"{word}null")
    return kept


@pytest.mark.parametrize("task", ["digits", "cifar_multi", "mnist_fashion"])
def test_task_sets_kinds_sources_metrics_are_taken_one_by_one(mtl: Mtl, task: str) -> None:
    assert f"task={task}" in tab("train task=")
    first = tab(f"train task={task} tasks.")[0]
    words = [tab(f"train task={task} {first}{key}=")[-1] for key in ("head", "weight")[:1]]
    metrics = tab(f"train task={task} {first}metrics=[")
    assert metrics == [f"{first}metrics=[{name}]" for name in METRICS["classification"]]
    primary = tab(f"train task={task} {metrics[0]} {first}primary=")
    assert len(primary) == 1
    assert mtl("train", f"task={task}", *words, metrics[0], *primary).code == 0


def test_every_kind_and_source_that_is_offered_is_taken_or_asks_for_what_only_the_user_knows(mtl: Mtl) -> None:
    for word in (*tab("train tasks.digit.kind="), *tab("train data.parts.images=")):
        answer_ = mtl("train", word)
        assert answer_.code == 0 or "=??? is missing" in answer_.err, answer_.err


def test_a_resumed_run_is_offered_what_it_may_be_told_anew(mtl: Mtl, run_dir: Path) -> None:
    offered = [c.text for c in answer(["train", f"resume={run_dir}"], "").candidates]
    assert "seed=" not in offered
    assert "backbone=" not in offered
    assert {"trainer.", "data_dir=", "device="} <= set(offered)
    below = [c.text for c in answer(["train", f"resume={run_dir}"], "trainer.").candidates]
    assert "trainer.epochs=" in below
    assert "trainer.batch_size=" not in below
    assert mtl("train", f"resume={run_dir}", *(f"{key}3" for key in below if "epochs" in key)).code == 0


def test_an_evaluation_is_offered_the_tasks_of_its_checkpoint(run_dir: Path) -> None:
    checkpoint = run_dir / "checkpoints" / "step-1"
    saved = section(checkpoint / "config.yaml")
    edit(checkpoint, tasks={"mine": saved["tasks"]["digit"]})
    offered = answer(["eval", f"checkpoint={run_dir}"], "tasks.").candidates
    assert [c.text for c in offered] == ["tasks.mine."]
    parts = answer(["export", f"checkpoint={run_dir}"], "export.tasks=").candidates
    assert [c.text for c in parts] == ["export.tasks=[mine]"]
    assert "trainer.eval_batch_size=" in tab("eval trainer.")  # no checkpoint yet


def test_runs_come_first_newest_first_then_folders(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MTL_RUNS")
    for run in ("digits/20250101-b", "digits/20250102-a", "faces/20250101-c/0"):
        (here / "runs" / run / "checkpoints" / "step-1").mkdir(parents=True)
        (here / "runs" / run / "checkpoints" / "last").write_text("step-1")
    (here / "runs" / "digits" / "unfinished").mkdir()
    (here / "other photos").mkdir()
    (here / "file.txt").touch()
    newest = ["runs/digits/20250102-a", "runs/faces/20250101-c/0", "runs/digits/20250101-b"]
    for line in ("eval checkpoint=", "train resume=", "train init_from=runs"):
        key = line.split(" ")[1].partition("=")[0]
        assert tab(line) == [f"{key}={run}" for run in newest]
    inside = "eval checkpoint=runs/digits/20250102-a/checkpoints/"
    assert tab(inside) == [f"{inside[5:]}last", f"{inside[5:]}step-1/"]
    assert tab("eval checkpoint=o") == ["checkpoint=other photos/"]
    assert tab("train data_dir=") == ["data_dir=other photos/", "data_dir=runs/"]
    assert tab("train -cd r") == ["runs/"]
    assert tab("train runs_dir=elsewhere resume=") == ["resume=other photos/", "resume=runs/"]


def test_a_source_s_path_is_looked_for_where_it_will_be(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTL_DATA", str(here / "data"))
    (here / "data" / "photos").mkdir(parents=True)
    (here / "data" / "photos.zip").touch()
    (here / "mine.pth").touch()
    assert tab("train backbone=torchvision backbone.weights=m") == ["backbone.weights=mine.pth"]
    word = "data.parts.images.path=p"
    assert tab(f"train data.parts.images=image_folder {word}") == [f"{word}hotos/", f"{word}hotos.zip"]


def test_a_folder_of_ones_own_adds_options_tasks_and_experiments(here: Path) -> None:
    for name, content in {
        "backbone/wide.yaml": "name: cnn\nchannels: 96\ndepth: 3\nnorm: batch\n",
        "weighting/mine.yaml": "# Of a package.\nname: mine\nscale: 2.0\n",
        "sharing/broken.yaml": "name: [\n",
        "task/pets.yaml": "# @package _global_\n# Cats.\ndata: {parts: {photos: cifar10}}\n"
        "tasks: {cat: {kind: binary, target: label}}\n",
        "experiment/first.yaml": "# @package _global_\n# My first idea.\n"
        "defaults: [{override /task: pets}, {override /backbone: mlp}]\n",
    }.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(content)
    own = "train -cd . "
    assert "backbone=wide" in tab(f"{own}backbone=")
    assert "sharing=broken" in tab(f"{own}sharing=")
    assert "backbone.channels=" in tab(f"{own}backbone=wide backbone.")
    assert tab(f"{own}weighting=mine weighting.") == ["weighting.scale="]
    assert "experiment=first" in tab(f"{own}experiment=")
    assert tab(f"{own}experiment=first tasks.") == ["tasks.cat."]
    assert "backbone.hidden=" in tab(f"{own}experiment=first backbone.")
    assert "backbone.channels=" in tab(f"{own}experiment=first backbone=cnn backbone.")
    assert tab(f"{own}task=pets data.parts.") == ["data.parts.photos=", "data.parts.photos."]
    assert {c.text: c.about for c in answer(["train", "-cd", "."], "task=p").candidates} == {"task=pets": "Cats."}


class Smooth(Option, tag="smooth"):
    """Another method's weights, smoothed."""

    inner: Annotated[Option, Meta(description="the method", extra={"group": "aggregation"})]


def test_what_a_method_wraps_is_a_choice_with_keys_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [(TABLES["aggregation"].struct(name), "nowhere:Nothing") for name in TABLES["aggregation"]]
    monkeypatch.setitem(TABLES, "aggregation", Table("aggregation", *lines, (Smooth, "nowhere:Nothing")))
    (here / "aggregation").mkdir()
    (here / "aggregation" / "smooth.yaml").write_text("name: smooth\ninner: sum\n")
    own = "train -cd . aggregation=smooth "
    assert tab(f"{own}aggregation.inner=db") == ["aggregation.inner=db"]
    assert "aggregation.inner.beta=" in tab(f"{own}aggregation.inner=db aggregation.inner.")


def test_a_primary_of_ones_own_is_read(here: Path) -> None:
    (here / "mine.yaml").write_text("defaults: [train, {override backbone: mlp}, _self_]\nseed: 7\nextra: 3\n")
    assert tab("train -cd . -cn m") == ["mine"]
    assert "backbone.hidden=" in tab("train -cd . -cn mine backbone.")


def test_torch_and_hydra_are_not_waited_for() -> None:
    code = (
        "import sys; from mtl_cli.__main__ import main; main(['completion', 'query', 'zsh', 'train', 'sharing=']);"
        "print(sorted({'torch', 'hydra', 'omegaconf', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
