"""Tables from the file to the report."""

import csv
import json
import random
from pathlib import Path
from typing import Any

from mtl_cli.__main__ import main
from tests.data.table.files import put

Row = dict[str, Any]
INPUTS = {"numbers": ["age", "rooms"], "categories": ["city"], "dates": ["since"]}
CITIES = {"Basel": 0.0, "Bern": 8.0, "Genf": 16.0}


def people(count: int, seed: int) -> list[Row]:
    """Rents of flats, and who would move; some cells of the inputs are empty."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        age, rooms, city, year = (
            draw.randint(20, 80),
            draw.randint(1, 6),
            draw.choice(list(CITIES)),
            draw.randint(0, 20),
        )
        rent = 5 * rooms + CITIES[city] + year / 2 + draw.gauss(0, 1)
        moves = "yes" if age + 10 * rooms + CITIES[city] < 90 else "no"
        row: Row = {
            "age": age,
            "rooms": rooms,
            "city": city,
            "since": f"{2000 + year}-06-15",
            "rent": rent,
            "moves": moves,
        }
        rows.append(without(row, ["age", "rooms", "city", "since"], 0.05, draw))
    return rows


def without(row: Row, columns: list[str], share: float, draw: random.Random) -> Row:
    """The row with some cells empty."""
    return {name: "" if name in columns and draw.random() < share else cell for name, cell in row.items()}


def table(folder: Path, name: str, rows: list[Row]) -> str:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(folder / name)


def train(folder: Path, parts: dict[str, Any], tasks: dict[str, Any], *words: str) -> tuple[int, Path]:
    """Trains a small network on a task set in `folder`."""
    (folder / "conf/task").mkdir(parents=True, exist_ok=True)
    yaml = "# @package _global_\n" + json.dumps({"data": {"parts": parts}, "tasks": tasks})
    (folder / "conf/task/mine.yaml").write_text(yaml)
    run = folder / f"run{len(list(folder.glob('run*')))}"
    small = ["backbone=mlp", "backbone.hidden=[32]", "trainer.batch_size=64", "device=cpu", "seed=0"]
    quiet = ["plots=false", "tensorboard=false", f"run_dir={run}", "--config-dir", str(folder / "conf")]
    return main(["train", "task=mine", *small, *words, *quiet]), run


def reached(run: Path) -> dict[str, float]:
    """R2 of the rent and accuracy of the moves, on test."""
    final = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["test"]
    return {"rent": final["rent"]["r2"], "moves": final["moves"]["accuracy"]}


TASKS = {"rent": {"kind": "regression", "target": "rent"}, "moves": {"kind": "binary", "target": "moves"}}


def test_with_30_percent_of_each_label_removed_a_table_trains_to_within_a_point(tmp_path):
    rows, draw = people(2000, 0), random.Random(2)
    removed = [without(row, ["rent", "moves"], 0.3, draw) for row in rows]
    missing = [sum(row[name] == "" for row in removed) / len(rows) for name in ("rent", "moves")]
    assert all(0.27 < share < 0.33 for share in missing)
    test = table(tmp_path, "test.csv", people(4000, 1))
    found = []
    for name, its in (("full.csv", rows), ("removed.csv", removed)):
        part = {"name": "table", "path": table(tmp_path, name, its), "test_path": test, **INPUTS}
        code, run = train(tmp_path, {"people": part}, TASKS, "trainer.epochs=15", "optimizer.lr=0.01", "seed=1")
        assert code == 0
        found.append(reached(run))
    full, some = found
    assert full["rent"] > 0.9
    assert full["moves"] > 0.9
    assert all(some[name] > full[name] - 0.01 for name in TASKS)


def test_tables_with_one_label_each_train_together_on_one_encoding(tmp_path):
    parts, tasks = {}, {}
    for i, name in enumerate(("rent", "moves", "rooms_up")):
        rows = people(200, i)
        label = name if name in rows[0] else "rent"
        kept = [{k: v for k, v in row.items() if k in ("age", "rooms", "city", "since", label)} for row in rows]
        parts[name] = {"name": "table", "path": table(tmp_path, f"{name}.csv", kept), **INPUTS}
        tasks[name] = {"part": name, "kind": "binary" if name == "moves" else "regression", "target": label}
    code, run = train(tmp_path, parts, tasks, "trainer.max_steps=3")
    assert code == 0
    folder = next((run / "checkpoints").glob("step-*"))
    known = json.loads((folder / "meta.json").read_text())["preparations"]
    assert known["rent"]["table"] == known["moves"]["table"] == known["rooms_up"]["table"]
    assert [code["name"] for code in known["rent"]["table"]["numbers"]] == ["age", "rooms"]


def test_tables_with_other_inputs_are_refused(tmp_path, capsys):
    parts = {
        name: {"name": "table", "path": table(tmp_path, "t.csv", people(40, 0)), "numbers": [name]}
        for name in ("age", "rooms")
    }
    tasks = {name: {"part": name, "kind": "regression", "target": "rent"} for name in parts}
    code, run = train(tmp_path, parts, tasks)
    assert code == 2
    assert "rooms has other input columns than age" in capsys.readouterr().err
    assert not run.exists()


def test_a_label_that_train_never_has_is_told_with_its_row(tmp_path, capsys):
    put(tmp_path, "train.csv", "n,y\n" + "1,a\n2,b\n" * 20)
    put(tmp_path, "test.csv", "n,y\n1,a\n2,\n3,c\n")
    part = {
        "name": "table",
        "path": str(tmp_path / "train.csv"),
        "test_path": str(tmp_path / "test.csv"),
        "numbers": ["n"],
    }
    code, run = train(tmp_path, {"p": part}, {"y": {"kind": "classification", "target": "y"}}, "data.limit=30")
    err = capsys.readouterr().err
    assert code == 2
    assert "test.csv, row 3, column y: c is a class of tasks.y that train never has" in err
    assert err.count("\n") == 1
    assert not run.exists()
    mapped = {"kind": "classification", "target": {"from": "y", "map": {"a": "a", "b": "b", "c": None}}}
    assert train(tmp_path, {"p": part}, {"y": mapped}, "trainer.max_steps=1")[0] == 0


def test_a_class_that_the_limit_leaves_out_of_train_is_no_mistake(tmp_path):
    put(tmp_path, "t.csv", "n,y\n" + "1,a\n2,b\n" * 200 + "1,c\n" * 3)
    part = {"name": "table", "path": str(tmp_path / "t.csv"), "numbers": ["n"]}
    code, _ = train(
        tmp_path, {"p": part}, {"y": {"kind": "classification", "target": "y"}}, "data.limit=20", "trainer.max_steps=1"
    )
    assert code == 0


def lines(words: str) -> str:
    """Rows of three kinds, each with numbers of its own."""
    at = {"ant": 0, "bee": 5, "cat": 10, "dog": 15}
    return "x,kind\n" + "".join(f"{at[word] + i % 7 / 10},{word}\n" for i, word in enumerate(words.split()))


def test_other_data_is_evaluated_by_the_classes_that_the_checkpoint_knows(tmp_path, monkeypatch, capsys):
    for folder, words in (("a", "ant bee cat "), ("b", "bee cat "), ("c", "bee cat dog ")):
        (tmp_path / folder).mkdir()
        put(tmp_path / folder, "t.csv", lines(40 * words))
    monkeypatch.setenv("MTL_DATA", str(tmp_path / "a"))
    parts = {"rows": {"name": "table", "path": "t.csv", "numbers": ["x"]}}
    tasks = {"kind": {"kind": "classification", "target": "kind"}}
    code, run = train(tmp_path, parts, tasks, "trainer.max_steps=60", "trainer.epochs=60", "optimizer.lr=0.03")
    assert code == 0
    monkeypatch.setenv("MTL_DATA", str(tmp_path / "b"))
    assert main(["eval", f"checkpoint={run}", "device=cpu"]) == 0
    assert json.loads(next((run / "eval").glob("*.json")).read_text())["test"]["kind"]["accuracy"] > 0.95
    monkeypatch.setenv("MTL_DATA", str(tmp_path / "c"))
    capsys.readouterr()
    assert main(["eval", f"checkpoint={run}", "device=cpu"]) == 2
    assert "t.csv, row 3, column kind: dog is a class of tasks.kind that the checkpoint" in capsys.readouterr().err


def test_a_checkpoint_is_not_evaluated_on_other_columns_or_tasks(tmp_path, capsys):
    path = table(tmp_path, "t.csv", people(60, 0))
    parts = {"flats": {"name": "table", "path": path, **INPUTS}}
    code, run = train(tmp_path, parts, TASKS, "trainer.max_steps=1")
    assert code == 0
    capsys.readouterr()
    assert main(["eval", f"checkpoint={run}", "data.parts.flats.numbers=[age]"]) == 2
    assert "data.parts.flats has other input columns than the checkpoint was trained on" in capsys.readouterr().err
    assert main(["eval", f"checkpoint={run}", "tasks.stays.kind=binary", "tasks.stays.target=moves"]) == 2
    assert "tasks.stays is no task of the checkpoint" in capsys.readouterr().err
