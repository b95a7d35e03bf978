"""Jobs that a launcher runs in other processes, perhaps on other machines: what they show, answer, and are told.

An answer is a file in a folder that all of them share, as such a job has no other way back through Hydra; so is the
number of its process, while it runs.
"""

import io
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple, TextIO, final

from mtl_cli.options import Interrupted

EXTRAS = {"joblib": "joblib", "submitit_local": "submitit", "submitit_slurm": "submitit"}
"""The extra that brings each of Hydra's launchers."""
STOPPED = "stopped"
"""The name of the file that tells jobs not to begin."""
PATIENCE = 60.0
"""Seconds in which a job that is told to stop may save."""


class Answer(NamedTuple):
    """How a job ended: its number, what names it, an exit code, and the line that says why it failed."""

    number: int
    name: str
    code: int
    line: str


def begin(folder: Path, number: int) -> None:
    """Says where job `number` runs. Ctrl-C in the sweep's terminal is for the sweep alone, which tells the jobs.

    submitit's word that time is nearly over, SIGUSR2, becomes a SIGTERM, after which a run saves.

    Raises: Interrupted: the sweep was stopped before the job began.
    """
    if (folder / STOPPED).exists():
        raise Interrupted
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGUSR2, lambda *_: signal.raise_signal(signal.SIGTERM))
    _write(folder / f"{number}.process", [socket.gethostname(), os.getpid()])


def leave(folder: Path, answer: Answer) -> None:
    """Puts an answer where the sweep looks for it."""
    _write(folder / f"{answer.number}.json", answer)
    (folder / f"{answer.number}.process").unlink(missing_ok=True)


@contextmanager
def stoppable(folder: Path) -> Iterator[None]:
    """Within it, Ctrl-C and SIGTERM stop the jobs on this machine before the sweep; a second Ctrl-C waits for none."""

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _stop(folder)
        raise KeyboardInterrupt if number == signal.SIGINT else Interrupted(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(folder: Path) -> None:
    """Tells each job to stop, and waits until all have answered."""
    if folder.is_dir():
        (folder / STOPPED).touch()
    running = {file: json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.process")}
    files = [file for file, (host, _) in running.items() if host == socket.gethostname()]
    for file in files:
        with suppress(ProcessLookupError):
            os.kill(running[file][1], signal.SIGINT)
    until = time.monotonic() + PATIENCE
    while any(file.exists() for file in files) and time.monotonic() < until:
        time.sleep(0.05)


def _write(file: Path, content: object) -> None:
    """The whole file or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(content), encoding="utf-8")
    part.replace(file)


def collect(folder: Path) -> list[Answer]:
    """Takes the answers that have come, by number."""
    files = sorted(folder.glob("*.json"), key=lambda file: int(file.stem)) if folder.is_dir() else []
    answers = [Answer(*json.loads(file.read_text(encoding="utf-8"))) for file in files]
    shutil.rmtree(folder, ignore_errors=True)
    return answers


@contextmanager
def speaking(name: str, out: TextIO) -> Iterator[None]:
    """Within it, each line on stdout begins with the job's name: several may speak at once."""
    with redirect_stdout(Lines(name, out)) as lines:
        try:
            yield
        finally:
            lines.end()


@final
class Lines(io.TextIOBase):
    """Whole lines of one job; no terminal, so that no bar is drawn."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._begun = ""

    def write(self, text: str) -> int:
        """Keeps what ends in no line break for later."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in whole:
            self._out.write(f"{self._name}: {line}\n")
        return len(text)

    def flush(self) -> None:
        """What is whole can be read."""
        self._out.flush()

    def end(self) -> None:
        """The last line, which may have no break."""
        if self._begun:
            self.write("\n")
        self.flush()
