"""docs/sharing.md: a picture, drawn by a script, and five lines for every strategy, with the facts of the code."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from torch import nn

from bench.diagrams import FOLDER, PICTURES
from bench.drawing import Place
from mtl_cli.backbones.base import Backbone, BackboneFactory, Spec, StageSpec
from mtl_cli.beneath import CONF, section
from mtl_cli.options import ConfigError
from mtl_cli.sharing.options import SHARINGS
from tests.options import build, default

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
LINES = ("Shares", "When", "Cost", "Options", "Source")
EVERY = pytest.mark.parametrize("name", list(SHARINGS))
LARGEST = 15_000


def about(name: str) -> str:
    """The section of a strategy."""
    return PAGE.partition(f"\n### {name}\n")[2].partition("\n## ")[0].partition("\n### ")[0]


def line(name: str, what: str) -> str:
    """One of its five lines."""
    return dict(re.findall(r"^- \*\*(\w+)\*\*: (.+)$", about(name), re.MULTILINE))[what]


def cells(name: str) -> list[str]:
    """Its row of what goes with what."""
    rows = [row for row in PAGE.splitlines() if row.startswith(f"| `{name}` | ") and row.count(" | ") == 5]
    assert len(rows) == 1
    return [cell.strip() for cell in rows[0].strip("| ").split(" | ")]


def test_every_strategy_has_a_section_and_there_is_no_other() -> None:
    assert sorted(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)) == sorted(SHARINGS)
    assert sorted(PICTURES) == sorted(SHARINGS)
    assert sorted(file.stem for file in FOLDER.iterdir()) == sorted(SHARINGS)


def test_the_readme_and_the_page_of_methods_name_every_strategy() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^\| `sharing` \| (.*) \|$", readme, re.MULTILINE)
    assert found is not None
    assert sorted(re.findall(r"`(\w+)`", found[1])) == sorted(SHARINGS)
    methods = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[`(\w+)`\]\(../mtl_cli/sharing/(\w+).py\)", methods, re.MULTILINE)
    assert sorted(rows) == sorted((name, name) for name in SHARINGS)


@EVERY
def test_a_section_is_a_picture_and_five_lines(name: str) -> None:
    picture, *lines = [text for text in about(name).splitlines() if text]
    assert picture == f"![{name}](images/sharing/{name}.svg)"
    assert [re.match(r"- \*\*(\w+)\*\*: .+\.$", text)[1] for text in lines] == list(LINES)  # type: ignore[index]  # no match is an error


@EVERY
def test_its_options_are_those_of_the_yaml(name: str) -> None:
    spans = re.findall(r"`(\w+=[^`]*)`", line(name, "Options"))
    told = OmegaConf.to_container(OmegaConf.from_dotlist(spans))
    assert told == {key: value for key, value in section(CONF / "sharing" / f"{name}.yaml").items() if key != "name"}


@EVERY
def test_its_source_is_that_of_the_file(name: str) -> None:
    source = line(name, "Source").rstrip(".")
    document = " ".join((SHARINGS.target(default(SHARINGS, name)).__doc__ or "").split()).partition("Source:")[2]
    assert (source == "-") == (not document)
    for paper in [] if source == "-" else source.split(", "):
        first, year = re.split(r" et al\. | and [\w-]+ |(?<=[a-zé]) (?=\d)", paper)
        assert first in document
        assert year in document


class Opaque(Backbone):
    """One stage that is all of it."""

    def __init__(self) -> None:
        spec = Spec(4, (StageSpec("whole", "vector", 4, 1),), opaque=True)
        super().__init__({"whole": nn.Linear(3, 4)}, nn.Identity(), spec)


def refused(name: str) -> bool:
    """Whether a backbone without stages is refused."""
    try:
        build(SHARINGS, name, BackboneFactory(Opaque()), {"a": 2, "b": 2})
    except ConfigError:
        return True
    return False


@EVERY
def test_what_goes_with_it_is_what_it_declares(name: str) -> None:
    kind = SHARINGS.target(default(SHARINGS, name))
    facts: list[Any] = [kind.shares, kind.trunk, refused(name), kind.data_set_a_task]
    _, *told, ships = cells(name)
    assert told == ["yes" if fact else "no" for fact in facts]
    assert ("every network" in ships) == kind.mixes_all


@EVERY
def test_a_picture_is_what_the_script_draws_and_is_small(name: str) -> None:
    file = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert file == PICTURES[name]().svg()
    assert len(file.encode()) < LARGEST
    assert f"<title>{name}: " in file


def apart(one: Place, other: Place) -> bool:
    """Whether two do not touch."""
    return abs(one.x - other.x) > one.half + other.half or abs(one.y - other.y) > one.tall + other.tall


@EVERY
def test_in_a_picture_no_box_or_note_lies_on_another_and_every_word_fits(name: str) -> None:
    drawn = PICTURES[name]()
    assert [(a, b) for a, b in combinations([*drawn.boxes, *drawn.notes], 2) if not apart(a, b)] == []
    assert [place for place, wide in drawn.texts if wide > 2 * place.half] == []
