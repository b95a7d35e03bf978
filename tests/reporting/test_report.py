import re

import pytest

from mtl_cli.reporting.report import write_report
from mtl_cli.reporting.wording import number
from tests.reporting import samples


def written(tasks, folder) -> str:
    path = write_report(samples.report(tasks, folder))
    assert path == folder / "report.md"
    return path.read_text()


@pytest.mark.parametrize("count", [1, 3, 6])
def test_the_report_holds_every_number_of_every_task_in_its_row(tmp_path, count):
    tasks = samples.names(count, False)
    text = written(tasks, tmp_path)
    for name in tasks:
        mine = [row for row in samples.results(tasks) if row.task == name]
        numbers = " | ".join(number(n) for row in mine for n in (row.value, row.constant, row.skill))
        assert f"| {name} | **{mine[0].metric}** | {numbers} |" in text


def test_the_report_tells_each_tasks_best_epoch_and_the_selected_one(tmp_path):
    text = written(["digit", "parity"], tmp_path)
    assert "Of epoch 17, the best of 20 by mean" in text
    assert "| digit | accuracy | 11 | 0.7001 |" in text
    assert "| parity | f1_macro | 12 | 0.7101 |" in text


def test_the_report_tells_balance_and_missing_labels_of_each_split(tmp_path):
    text = written(["digit", "parity", "slant"], tmp_path)
    for split in ("train", "val", "test"):
        assert f"| digit | {split} | 1,200 | 94 | cat 700, dog 500 |" in text
        assert f"| slant | {split} | 1,202 | 96 | mean 4.5000, deviation 2.2500 |" in text


def test_the_report_tells_what_was_run_so_that_it_can_be_typed_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "a run"
    folder.mkdir(parents=True)
    text = written(["task0"], folder)
    assert "`mtl train task=sample seed=11 'tasks.task0.head.hidden=[8, 4]'`" in text
    assert "mtl eval checkpoint='runs/a run'\n" in text
    assert "mtl train resume='runs/a run' trainer.epochs=40\n" in text
    assert "mtl train task=sample 'tasks.task0.head.hidden=[8, 4]' -m seed=0,1,2\n" in text
    for fact in (
        "seed 11, data.seed 12",
        "cpu, 2 threads",
        "shared 93,248, task0 1,290",
        "images: f00dfeed",
        "backbone cnn",
    ):
        assert fact in text


def test_a_name_with_a_bar_stays_in_its_cell(tmp_path):
    text = written(["a|b"], tmp_path)
    assert all(
        len(re.findall(r"(?<!\\)\|", line)) == 9 for line in text.splitlines() if line.startswith("| a\\|b | **")
    )
    assert "| a\\|b | **" in text


def test_the_report_tells_calibration_errors_and_shows_the_pictures(tmp_path):
    text = written(["digit", "parity", "slant"], tmp_path)
    assert "| task | val | test |" in text
    assert "| digit | 0.0101 | 0.0151 |" in text
    assert "| slant | 0.0" not in text
    assert "\n\nLosses:\n\n![curves](plots/curves.png)\n\n" in text
    assert "\n\ntask0, on test: classes:\n\n![confusion-task0](plots/confusion-task0.png)\n\n" in text


def test_without_pictures_and_classes_the_report_does_not_speak_of_them(tmp_path):
    bare = samples.report(["slant"], tmp_path)._replace(pictures=(), calibrations=())
    text = write_report(bare).read_text()
    assert "Pictures" not in text
    assert "Calibration" not in text


def test_the_report_tells_what_the_sharing_learned_if_anything(tmp_path):
    told = written(["task0"], tmp_path)
    assert "## What the sharing learned\n\n```\na tree: left | right\n```\n" in told
    assert "learned" not in write_report(samples.report(["task0"], tmp_path)._replace(learned=())).read_text()
