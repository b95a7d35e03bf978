"""What the pages tell a reader to type works, what they show is what is printed, and their links lead somewhere.

Fences: `sh` holds commands, `console` commands after `$ ` and what they print. A first line with a path
(```yaml my_conf/task/pets.yaml) makes a block that file's content, or with `diff` a change to it.

`mtl ls` and what prints and leaves run as they stand. `mtl train` and `mtl eval` go through the whole command line,
composition and typed check; only the job itself is a stub, so that no page needs CIFAR-10 or an hour, and a sweep takes
each value once. The examples of CONTRIBUTING.md are then put into a copy of the tree and really trained, for two steps
each.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import msgspec
import pytest
from hydra._internal.core_plugins import basic_sweeper
from omegaconf import OmegaConf

from mtl_cli import schema
from mtl_cli.__main__ import main
from mtl_cli.asked import MODULES
from mtl_cli.cli.jobs import COMPUTING
from mtl_cli.config import Config
from mtl_cli.tasks.options import METRICS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
SMALL = [
    "trainer.max_steps=2",
    "trainer.batch_size=16",
    "data.limit=60",
    "device=cpu",
    "device.threads=1",
    "plots=false",
    "tensorboard=false",
]


class Block(NamedTuple):
    """A fenced block: its language, the path that its first line names, and its lines."""

    language: str
    path: str
    text: str


class Line(NamedTuple):
    """A command line of a page, and what the page shows of its output; None where it shows nothing."""

    page: str
    words: list[str]
    shown: str | None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = re.findall(r"^```(\w*) ?(\S*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [Block(*parts) for parts in found]


def lines(page: Path) -> list[Line]:
    """The command lines of a page, comments and line ends joined by a backslash taken care of."""
    found: list[Line] = []
    for block in blocks(page):
        text = block.text.replace("\\\n", " ")
        if block.language == "sh":
            found += [_line(page, words, None) for words in text.splitlines() if words.strip()]
        elif block.language == "console":
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                words, _, shown = part.partition("\n")
                found.append(_line(page, words, shown or None))
    return [line for line in found if line.words]


def _line(page: Path, words: str, shown: str | None) -> Line:
    split = shlex.split(words, comments=True)
    if split[:1] == ["torchrun"]:  # each of its processes does what `mtl` would
        split = ["mtl", *split[split.index("mtl_cli") + 1 :]]
    return Line(page.name, split, shown)


def identify(value: Any) -> str:
    return f"{value.page}: {' '.join(value.words)}" if isinstance(value, Line) else str(value)


EVERY = [line for page in PAGES for line in lines(page)]
MTL = [line for line in EVERY if "mtl" in line.words and line.page != "own-data.md"]  # tests/test_own_data.py runs it
TOYS = [line for line in MTL if line.page == "CONTRIBUTING.md"]


def put(page: Path, folder: Path) -> None:
    """Writes the files that a page shows, and makes the changes that it shows, below `folder`."""
    for block in blocks(page):
        file = folder / block.path
        if not block.path:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(changed(file.read_text(), block.text) if block.language == "diff" else block.text)


def changed(text: str, diff: str) -> str:
    """`text` after a change whose every line begins with +, - or a space."""
    before = "".join(f"{line[1:]}\n" for line in diff.splitlines() if not line.startswith("+"))
    after = "".join(f"{line[1:]}\n" for line in diff.splitlines() if not line.startswith("-"))
    assert text.count(before) == 1, f"a change should fit in one place. Found {text.count(before)} for:\n{before}"
    return text.replace(before, after)


def in_turn(*lists: list[str]) -> Iterator[tuple[str, ...]]:
    """Each value of each list of a sweep once, where the sweep has each with each."""
    jobs = max(len(values) for values in lists)
    return zip(*(islice(cycle(values), jobs) for values in lists), strict=True)


@contextmanager
def stubs() -> Iterator[list[Config]]:
    """Within it jobs do nothing; the list has the configurations of those started."""
    started: list[Config] = []
    with pytest.MonkeyPatch.context() as patch, mock.patch.dict(METRICS):
        for name in (*COMPUTING.values(), *MODULES.values()):
            stub = ModuleType(name)
            vars(stub)["run"] = lambda config, *_: started.append(config)
            patch.setitem(sys.modules, stub.__name__, stub)
        patch.setattr(basic_sweeper, "itertools", SimpleNamespace(product=in_turn))
        for table in schema.TABLES.values():
            patch.setattr(table, "_lines", dict(table._lines))
        yield started


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def saved() -> str:
    """The configuration that a run of the defaults saves."""
    with stubs() as started:
        assert main(["train"]) == 0
    told = {**msgspec.to_builtins(started[0]), "resume": None, "run_dir": None}
    return OmegaConf.to_yaml(OmegaConf.create(told))


@pytest.fixture
def run(here: Path, saved: str) -> Path:
    """A run as it is left, but for weights; `kept` beside it was copied away; what to predict lies there."""
    folder = here / "a run"
    checkpoint = folder / "checkpoints" / "step-00000021"
    checkpoint.mkdir(parents=True)
    for place in (folder, checkpoint):
        (place / "config.yaml").write_text(saved)
    (checkpoint / "manifest.json").write_text("{}")
    for pointer in ("best", "last"):
        (folder / "checkpoints" / pointer).write_text(checkpoint.name)
    shutil.copytree(checkpoint, here / "kept")
    (here / "photos").mkdir()
    rows = "".join(f"{20 + i % 15},{'' if i % 4 else 900 + i}\n" for i in range(40))
    (here / "people.csv").write_text(f"age,wage\n{rows}")
    return folder


@pytest.mark.parametrize("line", [line for line in MTL if line not in TOYS], ids=identify)
def test_a_command_line_of_a_page_is_right(
    line: Line, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(next(page for page in PAGES if page.name == line.page), Path.cwd())
    at = line.words.index("mtl")
    for name, _, value in (word.partition("=") for word in line.words[:at]):
        monkeypatch.syspath_prepend(Path(value).resolve()) if name == "PYTHONPATH" else monkeypatch.setenv(name, value)
    if "task=mine" in line.words:
        assert main(["init", "people.csv"]) == 0
        capsys.readouterr()
    words = [re.sub(r"\bRUN\b|(?<==)runs/digits/[\d-]+", str(run), word) for word in line.words[at + 1 :]]
    # a launcher would start real jobs, in processes without stubs: tests/cli/test_away.py
    words = [word for word in words if not word.startswith(("hydra/launcher=", "hydra.launcher."))]
    with stubs() as started:
        code = main(words)
    out, err = capsys.readouterr()
    mistake = line.shown is not None and line.shown.startswith("mtl: ")
    assert (code, err) == ((2, line.shown) if mistake else (0, ""))
    runs_jobs = words[0] in (*COMPUTING, *MODULES) and not {"--help", "--cfg", "-c", "--info", "-i"} & set(words)
    assert bool(started) == (runs_jobs and not mistake)
    if words[0] == "ls" and line.shown is not None:
        for shown in line.shown.split("...\n"):
            assert shown in out


@pytest.mark.parametrize("line", [line for line in EVERY if line.words[0] == "make"], ids=identify)
def test_a_make_target_of_a_page_is_there(line: Line) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in line.words[1:] if "=" not in word} <= set(targets)


def test_pages_show_commands_of_the_tool_and_of_make_only() -> None:
    known = ("mtl", "make", "git", "cd", "cp")
    assert [line for line in EVERY if not set(known) & set(line.words)] == []
    assert len(MTL) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:mtl_cli|conf|tests|docs|bench)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    shown = {block.path for block in blocks(page)}
    assert [name for name in named if not (ROOT / name).exists() and name not in shown] == []


def test_the_readmes_session_is_what_a_run_prints(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = next(line.shown for line in lines(ROOT / "README.md") if line.shown and line.words[1] == "train")
    quick = ["trainer.max_steps=1", "device=cpu", "device.threads=1", "plots=false", "tensorboard=false"]
    assert main(["train", *quick]) == 0
    printed = capsys.readouterr().out.splitlines()
    number = re.compile(r"\d")
    facts = [line for line in shown.splitlines() if line.startswith(("task ", "data ", "parameters", "choices", "  "))]
    steady = [line for line in shown.splitlines() if not number.search(line) and line != "..."]
    assert len(facts) > 5
    assert len(steady) > 5
    assert [line for line in (*facts, *steady) if line not in printed and "/30" not in line] == []


def test_every_option_stands_on_the_page_about_it() -> None:
    where = {
        "sharing.md": ("sharing",),
        "methods.md": ("sharing", "weighting", "aggregation", "regularizer"),
        "data.md": ("source", "kind", "sampling"),
        "shipping.md": ("format",),
    }
    for name, groups in where.items():
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        for group in groups:
            assert [option for option in schema.TABLES[group] if f"`{option}`" not in text] == []


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with the examples of CONTRIBUTING.md in place."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("mtl_cli", "conf", "tests"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    put(ROOT / "CONTRIBUTING.md", root)
    return root


SCRIPT = """
import json, sys
from mtl_cli.__main__ import main
print(json.dumps([main(words) for words in json.loads(sys.argv[1])]))
"""


def test_the_examples_of_contributing_train(copy: Path, tmp_path: Path) -> None:
    assert len(TOYS) > 8
    train = [[*line.words[1:], *SMALL, f"run_dir={tmp_path / str(i)}"] for i, line in enumerate(TOYS)]
    calls = [words if line.words[1] == "train" else line.words[1:] for line, words in zip(TOYS, train, strict=True)]
    command = [sys.executable, "-c", SCRIPT, json.dumps(calls)]
    done = subprocess.run(command, cwd=copy, env={**os.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0] * len(calls), done.stderr
    assert "More weight to larger losses: adds up a power of them." in done.stdout
    assert "power = 2.0  (number at least 1)" in done.stdout
    for i, line in enumerate(TOYS):
        if line.words[1] == "train":
            assert json.loads((tmp_path / str(i) / "status.json").read_text())["step"] == 2


@pytest.mark.slow
def test_the_examples_of_contributing_keep_every_promise_of_their_rooms(copy: Path) -> None:
    rooms = [f"tests/{room}" for room in ("weighting", "aggregation", "sharing", "backbones")]
    chosen = "toy or every or combination"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *rooms, "-k", chosen]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
