"""Picks the screens of a run, and shows all of them the same."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, final

from mtl_cli.reporting.log import RunLog
from mtl_cli.reporting.plain import PlainScreen
from mtl_cli.reporting.records import EpochRow, Header, Progress, ResultRow
from mtl_cli.reporting.screen import Pace, Screen

BAR_EVERY = 0.1
LINE_EVERY = 5.0
LOG_EVERY = 30.0


def open_screen(stream: TextIO, log: RunLog | None = None) -> Screen:
    """A screen on `stream` that also writes to `log`: a live one where `stream` is a terminal, else plain lines.

    Until it is closed, Python's warnings become notes on it.
    """
    shown: list[Screen] = [_rich(stream) if _live(stream) else _plain(stream)]
    if log is not None:
        shown.append(PlainScreen(log.write, Pace(LOG_EVERY)))
    return Screens(shown)


def silent() -> Screen:
    """Nobody looks: another process is looked at."""
    return Screens([])


@final
class Screens(Screen):
    """Several at once; none at all is the silence of every process but the first."""

    def __init__(self, screens: Sequence[Screen]) -> None:
        self._screens = screens
        self._warnings = _Notes(self)
        logging.captureWarnings(capture=True)
        logger = logging.getLogger("py.warnings")
        self._level = logger.level
        logger.setLevel(logging.WARNING)  # Hydra leaves errors only to be heard
        logger.disabled = False
        logger.addHandler(self._warnings)

    def header(self, header: Header) -> None:
        for screen in self._screens:
            screen.header(header)

    def progress(self, progress: Progress) -> None:
        for screen in self._screens:
            screen.progress(progress)

    def epoch(self, row: EpochRow) -> None:
        for screen in self._screens:
            screen.epoch(row)

    def note(self, line: str) -> None:
        for screen in self._screens:
            screen.note(line)

    def command(self, line: str) -> None:
        for screen in self._screens:
            screen.command(line)

    def result(self, rows: Sequence[ResultRow]) -> None:
        for screen in self._screens:
            screen.result(rows)

    def close(self) -> None:
        logger = logging.getLogger("py.warnings")
        logger.removeHandler(self._warnings)
        logger.setLevel(self._level)
        logging.captureWarnings(capture=False)
        for screen in self._screens:
            screen.close()


@final
class _Notes(logging.Handler):
    """Turns a captured warning into a note of one line."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        place, _, text = record.getMessage().splitlines()[0].partition(": ")
        self._screen.note(f"{Path(place).name}: {text}")


def _live(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _plain(stream: TextIO) -> Screen:
    return PlainScreen(lambda line: print(line, file=stream, flush=True), Pace(LINE_EVERY))


def _rich(stream: TextIO) -> Screen:
    from rich.console import Console

    from mtl_cli.reporting.rich_screen import RichScreen

    return RichScreen(Console(file=stream, highlight=False), Pace(BAR_EVERY))
