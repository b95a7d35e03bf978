"""docs/methods.md has a row for every method, whose facts are those of the code; what it shows in Python runs."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from omegaconf import OmegaConf

from mtl_cli.aggregation.options import AGGREGATIONS, GramianOption, RenewedOption
from mtl_cli.beneath import CONF, section
from mtl_cli.contracts import Needs
from mtl_cli.options import Table
from mtl_cli.regularizers.options import REGULARIZERS
from mtl_cli.weighting.options import WEIGHTINGS
from tests.options import NAMES, build, default
from tests.weighting.looks import facts

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
GENERIC = {"gradients": "shared", "every": 1, "scale_task_parameters": False}
"""Switches that a row need not spell out, and their default."""


class Row(NamedTuple):
    """A method's line."""

    link: str
    does: str
    needs: str
    cost: str
    options: str
    when: str
    source: str


def rows(table: Table) -> dict[str, Row]:
    """By name, in the section about that group."""
    part = PAGE.partition(f"\n## {table.group.capitalize()}\n")[2].partition("\n## ")[0]
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in part.splitlines()]
    return {cells[0].split("`")[1]: Row(*cells) for cells in lines if cells[0].startswith("[`") and len(cells) == 7}


EVERY = [(table, name) for table in (WEIGHTINGS, AGGREGATIONS) for name in table]
IDS = [f"{table.group}-{name}" for table, name in EVERY]


def test_the_tables_have_a_row_for_every_method_and_no_other() -> None:
    for table in (WEIGHTINGS, AGGREGATIONS):
        assert sorted(rows(table)) == sorted(table)


def row(table: Table, name: str) -> Row:
    return rows(table)[name]


def method(table: Table, name: str) -> Any:
    """As it is built by default."""
    return build(table, name, facts() if table is WEIGHTINGS else list(NAMES))


def told(options: str) -> dict[str, Any]:
    """The keys of a row and their values; a switch without one has the default of all."""
    spans = re.findall(r"`(\w+(?:=[^`]*)?)`", options)
    values = OmegaConf.to_container(OmegaConf.from_dotlist([span for span in spans if "=" in span]))
    assert isinstance(values, dict)
    bare = [span for span in spans if "=" not in span]
    return {**{str(key): value for key, value in values.items()}, **{name: GENERIC[name] for name in bare}}


@pytest.mark.parametrize(("table", "name"), EVERY, ids=IDS)
def test_a_rows_keys_and_defaults_are_those_of_the_yaml(table: Table, name: str) -> None:
    its = row(table, name)
    yaml = {k: v for k, v in section(CONF / table.group / f"{name}.yaml").items() if k != "name"}
    switches = GENERIC if "switches" in its.options else {}
    assert issubclass(table.struct(name), GramianOption) == (switches != {})
    assert {**switches, **told(its.options)} == yaml


@pytest.mark.parametrize(("table", "name"), EVERY, ids=IDS)
def test_a_rows_needs_and_costs_are_those_that_the_method_declares(table: Table, name: str) -> None:
    its, built = row(table, name), method(table, name)
    needs: Needs = built.needs
    if name == "cr":
        assert its.needs == "what the other needs"
        return
    looks = {"losses": "losses|nothing", "norms": "norms", "gramian": "Gramian", "rows": "rows"}
    assert re.match(looks[needs.level] if needs.level != "losses" else "(mean )?losses|nothing", its.needs)
    assert ("0 or more" in its.needs) == needs.positive
    assert ("again" in its.needs) == needs.again == ("forward pass more" in its.cost)
    assert ("held-out" in its.needs) == needs.heldout == ("held-out" in its.cost)
    assert ("parts of the batch" in its.needs) == (needs.batches > 1) == ("each part" in its.cost)
    assert ("trunk" in its.needs) == (needs.at == "trunk")
    assert ("last shared stage" in its.needs) == (needs.at == "last_stage")
    assert ("T passes" in its.cost) == (needs.level != "losses" and needs.at == "shared")
    assert ("T short passes and 1" in its.cost) == (needs.at != "shared")


@pytest.mark.parametrize(("table", "name"), EVERY, ids=IDS)
def test_a_rows_state_is_what_the_method_keeps(table: Table, name: str) -> None:
    its, built = row(table, name), method(table, name)
    assert ("a row a task" in its.cost) == (table is AGGREGATIONS and built.rows_kept > 0 and name != "cr")
    kept = sum(tensor.numel() for key, tensor in built.state_dict().items() if NAMES[0] in key.split(":"))
    found = re.search(r"(a|\d+) numbers? a task", its.cost)
    said = 0 if found is None else 1 if found[1] == "a" else int(found[1])
    assert said == kept or "a row a task" in its.cost or "T numbers" in its.cost


@pytest.mark.parametrize(("table", "name"), EVERY, ids=IDS)
def test_a_rows_source_is_that_of_the_file(table: Table, name: str) -> None:
    its = row(table, name)
    document = " ".join((type(method(table, name)).__doc__ or "").split()).partition("Source:")[2]
    if its.source == "-":
        assert not document
        return
    for source in its.source.split(", "):
        first, year = re.split(r" et al\. | and [\w-]+ |(?<=[a-zé]) (?=\d)", source)
        assert first in document
        assert year in document


def test_the_readme_names_every_method() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for table in (WEIGHTINGS, AGGREGATIONS, REGULARIZERS):
        line = re.search(rf"^\| `{table.group}` \| (.*) \|$", readme, re.MULTILINE)
        assert line is not None
        assert sorted(re.findall(r"`(\w+)`", line[1])) == sorted(table)


def test_the_switches_are_told_with_their_defaults() -> None:
    lines = re.findall(r"^\| `aggregation\.(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert {name: str(value).lower() for name, value in {**GENERIC, "probe_every": "null"}.items()} == dict(lines)
    assert set(GENERIC) == set(GramianOption.__struct_fields__) > set(RenewedOption.__struct_fields__)
    assert default(AGGREGATIONS, "sum").probe_every is None


@pytest.mark.parametrize("code", re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
def test_what_the_page_shows_in_python_runs(code: str) -> None:
    exec(compile(code, "docs/methods.md", "exec"), {})  # noqa: S102  # our own page
