"""Any table at all: it trains, or one line says what is wrong with it."""

import csv
import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_cli.__main__ import main

CELLS: dict[str, st.SearchStrategy[Any]] = {
    "integers": st.integers(-5, 5),
    "huge": st.integers(-(10**25), 10**25),
    "floats": st.floats(width=32, allow_infinity=False),
    "classes": st.sampled_from(["a", "b", "é ", '"quoted"', "a,b", "1.0", "1", "${x}"]),
    "text": st.text(st.characters(exclude_categories=("Cs",)), max_size=6),
    "dates": st.dates().map(str),
    "moments": st.datetimes().map(lambda moment: moment.isoformat()),
    "flags": st.booleans(),
    "odd": st.one_of(st.integers(), st.text("ab;\t\n'\"", max_size=3), st.sampled_from([float("inf"), 10**400])),
}
EMPTY = [None, "", "NaN", "?"]
NAMES = st.one_of(
    st.sampled_from(["a", "b", "c", "d", "e"]), st.text("ab ,.\"'é\\:=", max_size=4).map(lambda s: f"x{s}x")
)
SOMETIMES = st.sampled_from([False] * 7 + [True])


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[Any]]]:
    """Names, the kind of each column, rows; sometimes two names alike, odd cells, or a row that is too long."""
    kinds = draw(st.lists(st.sampled_from([kind for kind in sorted(CELLS) if kind != "odd"]), min_size=2, max_size=5))
    alike = draw(SOMETIMES)
    names = draw(st.lists(NAMES, min_size=len(kinds), max_size=len(kinds), unique=not alike))
    pools = [draw(st.lists(CELLS[kind], min_size=2, max_size=6, unique_by=str)) for kind in kinds]
    pools = [pool + (draw(st.lists(CELLS["odd"], max_size=2)) if draw(SOMETIMES) else []) for pool in pools]
    pools = [pool + (EMPTY if draw(st.booleans()) else []) for pool in pools]
    pick = random.Random(draw(st.integers(0, 2**32)))
    count = pick.choice([0, 1, 2, 5, 12, 40, 40, 40, 40])
    rows = [[pick.choice(pool) for pool in pools] for _ in range(count)]
    if rows and draw(SOMETIMES):
        rows[-1].append("one too many")
    return names, kinds, rows


def written(path: Path, names: list[str], rows: list[list[Any]]) -> None:
    """The table as a file of the format that its suffix says."""
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=False)), ensure_ascii=False) for row in rows]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    elif path.suffix == ".parquet":
        columns = [array([row[i] for row in rows]) for i in range(len(names))]
        pq.write_table(pa.Table.from_arrays(columns, names=names), path)
    else:
        file = io.StringIO(newline="")
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([names, *rows])
        path.write_text(file.getvalue(), encoding="utf-8", newline="")


def array(cells: list[Any]) -> pa.Array:
    """Of the type of the cells where they have one."""
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if cell is None else str(cell) for cell in cells])


ROLES = {
    "numbers": ("integers", "huge", "floats"),
    "dates": ("dates", "moments"),
    "categories": ("classes", "text", "flags"),
}
TARGETS = {
    "integers": ["regression", "classification"],
    "huge": ["regression"],
    "floats": ["regression"],
    "flags": ["binary", "classification"],
}


def task_set(path: Path, names: list[str], kinds: list[str], target: str, **options: Any) -> str:
    """A YAML that predicts the last column from the others, each in the role that its kind has."""
    inputs = {role: [n for n, k in zip(names[:-1], kinds, strict=False) if k in its] for role, its in ROLES.items()}
    part = {"name": "table", "path": str(path), "missing": ["?", "NaN"], **inputs, **options}
    task = {"kind": target, "target": names[-1]}
    return "# @package _global_\n" + json.dumps(
        {"data": {"parts": {"rows": part}}, "tasks": {"last": task}}, ensure_ascii=False
    )


def trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of one step on the task set `mine` in a folder, and what stands on stderr."""
    words = [
        "task=mine",
        "backbone=mlp",
        "backbone.hidden=[4]",
        "trainer.batch_size=8",
        "trainer.max_steps=1",
        "seed=0",
    ]
    words += ["plots=false", "tensorboard=false", f"run_dir={folder / 'run'}", "device=cpu"]
    capsys.readouterr()
    code = main(["train", *words, "--config-dir", str(folder / "conf")])
    return code, capsys.readouterr().err


def promise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One step is trained, or one line says why not and nothing is written."""
    code, err = trained(folder, capsys)
    run = folder / "run"
    assert code in (0, 2), err
    if code == 0:
        assert "Traceback" not in err
        assert (run / "report.md").exists()
    else:
        assert err.startswith("mtl: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert not run.exists()


def once(data: st.DataObject, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Draws a table and a task set, and keeps the promise to it."""
    names, kinds, rows = data.draw(tables())
    suffix = data.draw(st.sampled_from([".csv", ".csv", ".tsv", ".jsonl", ".parquet"]))
    kind = data.draw(st.sampled_from(TARGETS.get(kinds[-1], ["classification"])))
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "conf/task").mkdir(parents=True)
    options: dict[str, Any] = {"rare": data.draw(st.integers(1, 3)), "codes": {names[0]: ["1", "a", 5]}}
    if data.draw(st.booleans()):
        options["test_path"] = str(folder / f"test{suffix}")
        written(folder / f"test{suffix}", names, rows[len(rows) // 2 :])
        rows = rows[: len(rows) // 2]
    written(folder / f"table{suffix}", names, rows)
    yaml = task_set(folder / f"table{suffix}", names, kinds, kind, **options)
    (folder / "conf/task/mine.yaml").write_text(yaml, encoding="utf-8")
    promise(folder, capsys)


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=15, suppress_health_check=QUIET)
@given(st.data())
def test_any_table_trains_a_step_or_gives_one_line(tmp_path, capsys, data):
    once(data, tmp_path / "any", capsys)


@pytest.mark.slow
@settings(max_examples=300, suppress_health_check=QUIET)
@given(st.data())
def test_many_tables_train_a_step_or_give_one_line(tmp_path, capsys, data):
    once(data, tmp_path / "any", capsys)
