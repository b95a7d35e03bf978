import io
import logging
import re
import subprocess
import sys
import warnings

import pytest
from rich.console import Console

from mtl_cli.reporting.log import RunLog
from mtl_cli.reporting.plain import PlainScreen
from mtl_cli.reporting.rich_screen import RichScreen
from mtl_cli.reporting.screen import Pace, Screen
from mtl_cli.reporting.terminal import open_screen
from mtl_cli.reporting.wording import number
from tests.reporting import samples

SIZES = [(count, long) for count in range(1, 7) for long in (False, True)]


def show(screen: Screen, tasks: list[str], run_dir) -> None:
    screen.header(samples.header(tasks, run_dir))
    screen.progress(samples.progress())
    screen.epoch(samples.epoch(tasks, 99, best=True))
    screen.epoch(samples.epoch(tasks, 100))
    screen.note("a note " + "that is long " * 20)
    screen.result(samples.results(tasks))
    screen.close()


def plain(tasks: list[str], run_dir) -> list[str]:
    lines: list[str] = []
    show(PlainScreen(lines.append, Pace(0)), tasks, run_dir)
    return lines


def rich(tasks: list[str], run_dir, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True, color_system=None)
    show(RichScreen(console, Pace(1e9)), tasks, run_dir)  # the bar, drawn over and over, has its own test
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize(("count", "long"), SIZES)
def test_plain_lines_are_never_wider_than_80_columns(tmp_path, count, long):
    lines = plain(samples.names(count, long), tmp_path)
    assert max(map(len, lines)) <= 80
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize(("count", "long"), SIZES)
def test_a_terminal_of_80_columns_shows_every_metric_in_full_on_one_line(tmp_path, count, long):
    tasks = samples.names(count, long)
    lines = rich(tasks, tmp_path)
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.lstrip().startswith("99/100"))
    numbers = re.findall(r"\d+\.\d+", row)
    per_task = [number(samples.value(i)) for i in range(count)]
    assert numbers[-count - 1 : -1] == per_task if count > 3 else numbers[1:-1:2] == per_task
    assert numbers[-1] == number(0.8765)


@pytest.mark.parametrize("draw", [plain, rich])
@pytest.mark.parametrize(("count", "long"), SIZES)
def test_the_result_holds_every_number_of_every_task(tmp_path, draw, count, long):
    tasks = samples.names(count, long)
    text = "\n".join(draw(tasks, tmp_path))
    for row in samples.results(tasks):
        for value in (row.value, row.constant, row.skill):
            assert number(value) in text


@pytest.mark.parametrize("draw", [plain, rich])
def test_up_to_three_tasks_show_their_losses_and_more_only_metrics(tmp_path, draw):
    for count in range(1, 7):
        row = next(line for line in draw(samples.names(count, False), tmp_path) if line.lstrip().startswith("99/100"))
        assert (number(10.1201) in row) == (count <= 3)


@pytest.mark.parametrize("draw", [plain, rich])
def test_tasks_beyond_the_width_are_counted_not_dropped_in_silence(tmp_path, draw):
    lines = draw(samples.names(40, False), tmp_path)
    assert max(map(len, lines)) <= 80
    hidden = next(int(found[1]) for line in lines if (found := re.search(r"\((\d+) more tasks: metrics.csv\)", line)))
    row = next(line for line in lines if line.lstrip().startswith("99/100"))
    assert hidden + len(re.findall(r"\d+\.\d+", row)) - 1 == 40


@pytest.mark.parametrize("draw", [plain, rich])
def test_the_best_epoch_is_marked_and_its_heading_stands_once(tmp_path, draw):
    lines = draw(["digit", "parity"], tmp_path)
    rows = [line for line in lines if re.match(r"\s*\d+/100", line)]
    assert [row.endswith("*") for row in rows] == [True, False]
    assert sum(line.split()[-1:] == ["score"] for line in lines) == 1


@pytest.mark.parametrize("draw", [plain, rich])
def test_the_header_names_tasks_sizes_device_seeds_and_place(tmp_path, draw):
    text = " ".join(" ".join(draw(["digit", "parity"], tmp_path)).replace("│", " ").split())
    for fact in (
        "sample",
        "digit 1,290",
        "parity 1,291",
        "shared 93,248",
        "classification",
        "10 classes",
        "1,294 labels",
    ):
        assert fact in text
    for fact in (
        "train 45,000",
        "val 5,000",
        "test 10,000",
        "cpu, 2 threads",
        "seed 11",
        "data seed 12",
        "backbone cnn",
    ):
        assert fact in text
    assert str(tmp_path) in text.replace(" ", "")


def test_the_bar_tells_loss_speed_and_time_left(tmp_path):
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    screen = RichScreen(console, Pace(0))
    screen.progress(samples.progress())
    bar = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", console.file.getvalue())
    screen.close()
    assert "epoch 3/100" in bar
    assert max(map(len, bar.splitlines())) <= 80
    assert "loss 1.2345 · 12,346 samples/s · 1:07:03 left" in bar
    assert console.file.getvalue().count("\x1b[?25h") >= 1  # the cursor is back


def test_words_in_brackets_are_shown_as_they_are(tmp_path):
    assert any("[bold]x[/bold] [/]" in line for line in rich_note("[bold]x[/bold] [/]"))
    assert "[red]a" in "\n".join(rich(["[red]a"], tmp_path))


def rich_note(text: str) -> list[str]:
    console = Console(file=io.StringIO(), width=80, record=True)
    RichScreen(console, Pace(0)).note(text)
    return console.export_text().splitlines()


def test_progress_is_printed_no_oftener_than_its_pace():
    now = 0.0
    lines: list[str] = []
    screen = PlainScreen(lines.append, Pace(5, lambda: now))
    for _ in range(100):
        now += 0.25
        screen.progress(samples.progress())
    assert len(lines) == 5
    assert lines[0] == "epoch 3/100  step 4,321/35,200  loss 1.2345  12,346 samples/s  1:07:03 left"


def test_one_call_shows_a_line_and_logs_it_with_the_time(tmp_path):
    stream = io.StringIO()
    log = RunLog(tmp_path)
    screen = open_screen(stream, log)
    show(screen, ["digit", "parity"], tmp_path)
    log.close()
    logged = (tmp_path / "train.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in logged)
    assert [line[20:] for line in logged] == stream.getvalue().splitlines()


def test_a_resume_adds_to_the_log_and_a_failure_leaves_its_traceback(tmp_path):
    for text in ("first", "second"):
        log = RunLog(tmp_path)
        log.write(text)
        log.close()
    log = RunLog(tmp_path)
    try:
        raise RuntimeError("the reason")
    except RuntimeError as error:
        log.failure(error)
    log.close()
    text = (tmp_path / "train.log").read_text()
    assert text.index("first") < text.index("second") < text.index("Traceback") < text.index("RuntimeError: the reason")
    assert "test_screens.py" in text


def test_a_warning_becomes_a_note_of_one_line_until_the_screen_is_closed():
    logging.getLogger().setLevel(logging.ERROR)  # as Hydra does
    stream = io.StringIO()
    screen = open_screen(stream)
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = before
        warnings.warn("mind https://there.is/more", stacklevel=1)
    screen.close()
    assert re.fullmatch(r"test_screens\.py:\d+: UserWarning: mind https://there\.is/more\n", stream.getvalue())


def test_a_pipe_gets_plain_lines_and_no_rich_is_imported(tmp_path):
    code = (
        "import sys; from mtl_cli.reporting.terminal import open_screen; s = open_screen(sys.stdout); s.note('here');"
        "s.close(); print('rich' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["here", "False False"]


def test_a_terminal_gets_the_live_screen_and_a_dumb_one_plain_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for term, live in (("xterm", True), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        stream = Terminal()
        screen = open_screen(stream)
        screen.header(samples.header(["digit"], samples.Path("here")))
        screen.close()
        assert ("╭" in stream.getvalue()) == live


def test_a_command_to_type_stays_on_one_line_however_long():
    command = f"mtl train resume=/{'a-long-folder/' * 12}run"
    lines: list[str] = []
    PlainScreen(lines.append, Pace(0.0)).command(command)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    RichScreen(console, Pace(0.0)).command(command)
    assert lines == [command]
    assert console.file.getvalue().splitlines()[-1].strip() == command
