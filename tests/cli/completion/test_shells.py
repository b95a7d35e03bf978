"""The scripts, in the shells themselves: what TAB makes of a line is what runs."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mtl_cli.__main__ import main
from mtl_cli.cli.completion.command import SHELLS
from mtl_cli.cli.completion.shells import Line, escaped, split
from mtl_cli.sharing.options import SHARINGS
from tests.cli.calls import Mtl

ROOT = Path(__file__).parents[3]
BREAKS = " \t\n\"'><=;|&(:"
DEADLINE = 60  # seconds after which a shell that says nothing has failed

MTL = """#!/bin/sh
case $1 in
  completion) PYTHONPATH={root} exec {python} -m mtl_cli "$@";;
  *) printf 'RAN'; printf '<%s>' "$@"; printf 'END\\n';;
esac
"""


@pytest.fixture
def place(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a few others, and on the path a `mtl` that completes, but else says what it was told."""
    program = here.parent / "bin" / "mtl"
    program.parent.mkdir()
    program.write_text(MTL.format(root=ROOT, python=sys.executable))
    program.chmod(0o755)
    for name in ("a run=1/checkpoints", "deep dir/in:ner", "it's $5 & more", "plain"):
        (here / name).mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(here.parent))
    return here


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("mtl tr", Line(["mtl"], "tr", "tr", "")),
        ("mtl ", Line(["mtl"], "", "", "")),
        ("mtl train sharing=", Line(["mtl", "train"], "sharing=", "", "")),
        ("mtl train sharing=ha", Line(["mtl", "train"], "sharing=ha", "ha", "")),
        ("X=1 mtl ev", Line(["mtl"], "ev", "ev", "")),
        ("mtl train data_dir=deep\\ d", Line(["mtl", "train"], "data_dir=deep d", "deep\\ d", "")),
        ('mtl train data_dir="deep d', Line(["mtl", "train"], "data_dir=deep d", "deep d", '"')),
        ("mtl train 'a=b\" c", Line(["mtl", "train"], 'a=b" c', 'a=b" c', "'")),
        ('mtl "tr" "a"=\'b\'', Line(["mtl", "tr"], "a=b", "'b'", "")),
        ('mtl "a\\"b\\c', Line(["mtl"], 'a"b\\c', 'a\\"b\\c', '"')),
        ("mtl train data_dir=in\\:n", Line(["mtl", "train"], "data_dir=in:n", "in\\:n", "")),
        ("mtl train data_dir=in:n", Line(["mtl", "train"], "data_dir=in:n", "n", "")),
        ("mtl ''", Line(["mtl"], "", "''", "")),
        ("mtl tr\\", Line(["mtl"], "tr\\", "tr\\", "")),
    ],
)
def test_a_line_is_taken_apart_as_bash_does(line: str, told: Line) -> None:
    assert split(line, BREAKS) == told


@pytest.mark.parametrize("text", ["a b", "it's", '"$HOME`x`\\', "a&b;c|d>e<f(g)h*i?j!k#l{m}", "[l1,l2]", "ü,="])
def test_what_is_inserted_means_to_bash_what_was_meant(text: str) -> None:
    for quote in ("", "'", '"'):
        line = f"printf %s x{quote}{escaped(text, quote)}{quote}"
        done = subprocess.run(["bash", "--norc", "-c", line], capture_output=True, text=True, check=True)
        assert done.stdout == f"x{text}"


def reply(line: str, before: str = "") -> list[str]:
    """COMPREPLY of a line with the cursor at its end."""
    script = (
        f'eval "$(mtl completion bash)"; {before}\n'
        f"COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDBREAKS={BREAKS!r}\n"
        '_mtl "${1%% *}"; for one in "${COMPREPLY[@]}"; do printf "%s|\\n" "$one"; done'
    ).replace(repr(BREAKS), "$' \\t\\n\"\\'><=;|&(:'")
    done = subprocess.run(["bash", "--norc", "-uc", script, "bash", line], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [row[:-1] for row in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mtl train sha", ["sharing=", "sharing."]),
        ("mtl train sharing=", [f"{name} " for name in SHARINGS]),
        ("mtl train tasks.digit.head.", ["tasks.digit.head.at="]),
        ("mtl train data_dir=d", ["deep\\ dir/"]),
        ("mtl train data_dir=i", ["it\\'s\\ \\$5\\ \\&\\ more/"]),
        ("mtl train data_dir=~/he", ["~/here/"]),
        ("mtl train data_dir=$HOME/he", ["$HOME/here/"]),
        ("~/bin/mtl tr", ["train "]),
        ("../bin/mtl tr", ["train "]),
        ("mtl nonsense ", []),
        ("nowhere/mtl tr", []),
    ],
)
def test_bash_is_told_what_to_insert(place: Path, line: str, words: list[str]) -> None:
    assert reply(line) == words


def test_a_bash_without_nosort_or_process_errors_is_served_as_well(place: Path) -> None:
    """`complete -o nosort` is bash 4.4's: an older one refuses it."""
    old = 'complete() { case "$*" in *nosort*) return 2;; *) builtin complete "$@"; esac; }'
    script = f'{old}; eval "$(mtl completion bash)"; complete -p mtl'
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "complete -o nospace -F _mtl mtl\n"
    assert done.stderr == ""


@contextmanager
def shell(*argv: str) -> Iterator[int]:
    """An interactive shell on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", PS1="> ", HISTFILE="/dev/null")
        os.execvp(argv[0], argv)  # noqa: S606  # a shell is what this is about
    try:
        yield terminal
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def until(terminal: int, end: str) -> str:
    """What the shell writes up to `end`."""
    said, late = "", time.monotonic() + DEADLINE
    while not re.search(end, said):
        ready, _, _ = select.select([terminal], [], [], max(0, late - time.monotonic()))
        assert ready, f"should say {end!r}. Said {said!r}"
        said += os.read(terminal, 65536).decode(errors="replace")
    return said


def ran(terminal: int, keys: str) -> list[str]:
    """What `mtl` is told when these keys are followed by Return."""
    os.write(terminal, f"{keys}\n".encode())
    return re.findall(r"<(.*?)>", until(terminal, r"RAN.*END\r?\n").rpartition("RAN")[2])


TYPED = [
    ("mtl tr\tweig\tdw\t", ["train", "weighting=dwa"]),
    ("mtl train trainer.ep\t3", ["train", "trainer.epochs=3"]),
    ('mtl train "sharing=cr\t seed=1', ["train", "sharing=cross_stitch", "seed=1"]),
    ("mtl train data_dir=dee\tin\t", ["train", "data_dir=deep dir/in:ner/"]),
    ("mtl train run_dir=a\tche\t", ["train", "run_dir=a run=1/checkpoints/"]),
    ("mtl train data_dir=it\t", ["train", "data_dir=it's $5 & more/"]),
    ("../bin/mtl ev\teval.s\tv\t--mu\t", ["eval", "eval.split=val", "--multirun"]),
    ("mtl train trainer.precision=b\tno\t", ["train", "trainer.precision=bf16", "no"]),
]


@pytest.mark.slow
def test_what_tab_makes_of_a_line_in_bash_is_what_runs(place: Path) -> None:
    with shell("bash", "--norc", "-i") as terminal:
        os.write(terminal, b'eval "$(mtl completion bash)"; bind "set bell-style none"; echo RE""ADY\n')
        until(terminal, "READY")
        for keys, told in TYPED:
            assert ran(terminal, keys) == told


ZSH = pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
AHEAD = {
    "without compinit": 'eval "$(mtl completion zsh)"',
    "with compinit": 'autoload -Uz compinit; compinit -i; eval "$(mtl completion zsh)"',
    "in fpath": "mkdir ../fp; mtl completion zsh > ../fp/_mtl; fpath=(../fp $fpath); autoload compinit; compinit -i",
}


@ZSH
@pytest.mark.slow
@pytest.mark.parametrize("ahead", AHEAD.values(), ids=AHEAD)
def test_what_tab_makes_of_a_line_in_zsh_is_what_runs(place: Path, ahead: str) -> None:
    with shell("zsh", "-f", "-i") as terminal:
        os.write(terminal, f"{ahead}; unsetopt beep zle_bracketed_paste; echo RE''ADY\n".encode())
        until(terminal, "READY")
        for keys, told in TYPED:
            assert ran(terminal, keys) == told
        os.write(terminal, b"mtl train sharing=\t")
        assert "One backbone for all tasks" in until(terminal, "cross_stitch +--")


@ZSH
def test_the_zsh_script_is_zsh(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert subprocess.run(["zsh", "-fn"], input=script, capture_output=True, text=True, check=False).stderr == ""


def test_the_page_says_how_for_both_shells_in_a_screenful(mtl: Mtl) -> None:
    page = mtl("completion", "--help")
    assert page.code == 0
    assert all(f'eval "$(mtl completion {shell_})"' in page.out for shell_ in SHELLS)
    assert len(page.out.splitlines()) <= 24
    assert max(map(len, page.out.splitlines())) <= 80
    assert mtl("help", "completion").out == page.out
    assert "completion" in mtl("--help").out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "mtl: completion is missing its shell: mtl completion bash, or mtl completion zsh\n"),
        (["bsh"], "mtl: completion bsh is not known: did you mean bash?\n"),
        (["bash", "zsh"], "mtl: completion bash zsh is not one shell: mtl completion bash, or mtl completion zsh\n"),
    ],
)
def test_a_wrong_shell_is_answered_in_one_line(mtl: Mtl, words: list[str], line: str) -> None:
    answer = mtl("completion", *words)
    assert (answer.code, answer.out, answer.err) == (2, "", line)


@pytest.mark.parametrize("words", [[], ["fish"], ["bash"], ["bash", "mtl train ("], ["zsh"], ["zsh", "\0", "\udcff"]])
def test_a_question_that_makes_no_sense_is_met_with_silence(mtl: Mtl, here: Path, words: list[str]) -> None:
    answer = mtl("completion", "query", *words)
    assert answer.err == ""
    assert "=" not in answer.out
    assert list(here.iterdir()) == []
