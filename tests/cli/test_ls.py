"""`mtl ls` shows all that can be chosen, from the structs and the YAMLs."""

import re
from pathlib import Path

import pytest

from mtl_cli.beneath import CONF, section
from mtl_cli.commands.ls import GROUPS, LsOptions, run
from mtl_cli.config import TABLES
from mtl_cli.options import description, text
from mtl_cli.tasks.options import METRICS
from mtl_cli.words import words
from tests.cli.calls import Mtl


def one_line(page: str) -> str:
    return " ".join(page.split())


def test_ls_lists_every_group_with_its_line_and_every_option(mtl: Mtl) -> None:
    answer = mtl("ls")
    assert (answer.code, answer.err) == (0, "")
    page = one_line(answer.out)
    for group, line in GROUPS.items():
        assert f"{group} {line}" in page
    for table in TABLES.values():
        assert all(re.search(rf"\b{name}\b", page) for name in table)
    assert {folder.name for folder in CONF.iterdir() if folder.is_dir()} - {"hydra"} <= set(GROUPS)


@pytest.mark.parametrize("group", TABLES)
def test_ls_of_a_group_shows_each_option_with_its_description_and_each_key_with_default_and_range(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(LsOptions(group=group), [CONF])
    page = one_line(capsys.readouterr().out)
    table = TABLES[group]
    for name in table:
        struct = table.struct(name)
        assert f"{name} " in page
        assert one_line((struct.__doc__ or "").splitlines()[0]) in page
        defaults = section(CONF / group / f"{name}.yaml", resolve=False)
        assert set(defaults) == {*struct.__struct_fields__, table.tag_field}
        for key in struct.__struct_fields__:
            value = "(to be given)" if defaults[key] == "???" else text(defaults[key])
            assert f"{key} = {value} (" in page
            assert description(struct, key)
            assert one_line(description(struct, key)) in page


def test_ls_shows_task_sets_metrics_and_what_belongs_to_no_group(mtl: Mtl) -> None:
    tasks = one_line(mtl("ls", "task").out)
    for file in (CONF / "task").glob("*.yaml"):
        comment = next(line for line in file.read_text().splitlines()[1:] if line.startswith("# "))
        assert comment[2:] in tasks
        assert all(f"tasks.{name} = " in tasks for name in dict(section(file)["tasks"]))
    metrics = one_line(mtl("ls", "metrics").out)
    assert all(metric.line in metrics for known in METRICS.values() for metric in known.values())
    rest = one_line(mtl("ls", "run").out)
    assert "seed = 0 (whole number at least 0)" in rest
    assert "runs_dir = ./runs, or $MTL_RUNS (text)" in rest
    assert "trainer.epochs" not in rest
    assert "epochs = 20 (whole number at least 1)" in one_line(mtl("ls", "trainer").out)
    assert "validation = 0.1 (number at least 0 and below 1)" in one_line(mtl("ls", "data").out)


def test_ls_shows_what_a_users_folder_adds(mtl: Mtl, here: Path) -> None:
    for name, content in {
        "backbone/wide.yaml": "name: cnn\nchannels: 96\ndepth: 3\nnorm: batch\n",
        "experiment/first.yaml": "# @package _global_\n# My first idea.\nseed: 3\ntasks: {digit: {weight: 2}}\n",
    }.items():
        (here / name).parent.mkdir()
        (here / name).write_text(content)
    page = one_line(mtl("ls", "backbone", "--config-dir", ".").out)
    assert "wide cnn, with other defaults. A small, fast" in page
    assert "channels = 96" in page
    experiments = one_line(mtl("ls", "--config-dir=.", "experiment").out)
    assert "first My first idea." in experiments
    assert "tasks.digit" not in experiments


@pytest.mark.parametrize("line", [[], ["kind"], ["source"], ["scheduler"], ["run"], ["task"], ["--help"]])
def test_ls_fits_80_columns_and_has_no_colour_codes(mtl: Mtl, line: list[str]) -> None:
    out = mtl("ls", *line).out
    assert max(len(row) for row in out.splitlines()) <= 80
    assert "\x1b" not in out


def test_ls_goes_through_hydra(mtl: Mtl) -> None:
    assert mtl("ls", "--cfg", "job", "sharing").out.startswith("group: sharing\n")


def test_types_are_said_in_words() -> None:
    assert words(list[int] | None) == "list: whole number, or null"
    assert words(tuple[float, bool]) == "[number, true or false]"
    assert words(dict[str, list[int]]) == "keys, each with list: whole number"
