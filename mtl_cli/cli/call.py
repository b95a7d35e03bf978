"""Hands a command to Hydra, once, and turns what comes back into an exit code.

0: done. 1: a job failed. 2: a mistake in what was asked for. 130: Ctrl-C; 143: SIGTERM.
"""

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mtl_cli.beneath import CONF
from mtl_cli.cli import away, jobs, starts, sweep
from mtl_cli.cli.arguments import parse
from mtl_cli.cli.errors import MISTAKES, worded
from mtl_cli.cli.folders import searched
from mtl_cli.cli.jobs import Call
from mtl_cli.commands import ls
from mtl_cli.options import ConfigError, Interrupted, JobError, SaidError
from mtl_cli.reporting.wording import quoted


class Outcome(NamedTuple):
    """How one job ended: an exit code, and the line that says why it failed."""

    code: int
    line: str = ""


def run(command: str, words: list[str]) -> int:
    """Runs one command line. Returns the exit code."""
    wordy = os.environ.get("HYDRA_FULL_ERROR") == "1"
    OmegaConf.register_new_resolver("mtl.groups", _groups, replace=True)
    try:
        call = starts.call(command, parse(starts.worded(command, words)))
    except ConfigError as error:
        return _fail(Outcome(2, str(error)))
    outcomes: list[Outcome] = []
    traces = sweep.Traces.of(call.arguments)
    try:
        return _compose(call, traces, outcomes, wordy=wordy)
    except Interrupted as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        return _fail(Outcome(130, "interrupted"))
    finally:
        if call.arguments.sweep:
            traces.tidy()


def _compose(call: Call, traces: sweep.Traces, outcomes: list[Outcome], *, wordy: bool) -> int:
    """Lets Hydra compose and run; words the mistakes that it finds."""
    shown = call.arguments.options.get("--cfg")
    if shown in ("job", "all") and call.command != "ls" and not call.only_check:
        # what is shown is checked too, and after it: whoever looks for a mistake sees the configuration that has it
        return _hydra(call, _unused, traces, wordy=wordy) or _compose(
            starts.to_check(call), traces, outcomes, wordy=wordy
        )
    try:
        with away.stoppable(traces.answers) if call.arguments.sweep else nullcontext():
            refused = _hydra(call, _job(call, outcomes, traces, wordy=wordy), traces, wordy=wordy)
    finally:
        outcomes += _from_away(traces)
    return refused or sweep.code([o.code for o in outcomes])


def _unused(_cfg: DictConfig) -> None:
    """The job of a call that shows something: none."""


def _hydra(call: Call, job: Callable[[DictConfig], None], traces: sweep.Traces, *, wordy: bool) -> int:
    """Calls Hydra once. Returns 2 where the configuration cannot be composed or shown, 1 where a launcher failed."""
    try:
        with _command_line([f"mtl {call.command}", *starts.argv(call, traces)]), _quiet(call):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=call.primary)(job)()
    except (*MISTAKES, ValueError) as error:
        return _fail(Outcome(2, worded(error, call)))
    except SystemExit as done:
        return 0 if done.code in (None, 0) else _no_package(call)
    except Exception as error:  # whatever a launcher raises: of the jobs themselves, none raises
        launcher = call.arguments.last("hydra/launcher")
        if launcher is None or not call.arguments.sweep:
            raise
        if wordy:
            traceback.print_exc()
        return _fail(Outcome(1, f"{launcher} failed: {type(error).__name__}: {_first(error)}"))
    return 0


def _no_package(call: Call) -> int:
    """Hydra leaves early over one thing only: a part of the configuration to show that is not there."""
    part = call.arguments.options.get("--package")
    return _fail(Outcome(2, f"--package {part} is not there: --cfg job alone shows all"))


def _job(call: Call, outcomes: list[Outcome], traces: sweep.Traces, *, wordy: bool) -> Callable[[DictConfig], None]:
    """The function that Hydra runs for each job. It raises nothing, so that a failed job stops no other.

    In another process, where a launcher may have put it, it answers by a file.
    """
    home = os.getpid()

    def job(cfg: DictConfig) -> None:
        traces.seen(HydraConfig.get())
        if os.getpid() != home:
            _away(call, cfg, traces, wordy=wordy)
            return
        outcome = _outcome(call, cfg, wordy=wordy)
        outcomes.append(outcome)
        if outcome.code:
            _fail(Outcome(outcome.code, _named(outcome.line, "failed, as said above")))

    return job


def _away(call: Call, cfg: DictConfig, traces: sweep.Traces, *, wordy: bool) -> None:
    """Runs a job in a process that a launcher made, and answers."""
    hydra = HydraConfig.get()
    number, folder = int(hydra.job.num), Path(hydra.runtime.output_dir)
    try:
        away.begin(traces.answers, number)
        with away.speaking(f"job {number}", sys.stdout):
            outcome = _until_stopped(call, cfg, wordy=wordy)
        away.leave(traces.answers, away.Answer(number, _named(""), outcome.code, outcome.line))
    finally:
        sweep.remove_empty(folder)
    if outcome.code == 130:
        raise Interrupted  # no next job in this process


def _until_stopped(call: Call, cfg: DictConfig, *, wordy: bool) -> Outcome:
    """How a job ended, also where a signal ended it."""
    try:
        return _outcome(call, cfg, wordy=wordy)
    except Interrupted as stop:
        folder = quoted(Path(HydraConfig.get().runtime.output_dir))
        way_on = f"; mtl train resume={folder} goes on" if call.command == "train" else ""
        return Outcome(stop.exit_code, f"stopped{way_on}")
    except KeyboardInterrupt:
        return Outcome(130, "interrupted")


def _from_away(traces: sweep.Traces) -> list[Outcome]:
    """What jobs in other processes answered, told here."""
    answers = away.collect(traces.answers)
    for answer in answers:
        if answer.code:
            _fail(Outcome(answer.code, answer.name + answer.line))
        else:
            sys.stdout.write(f"{answer.name}done\n")
    return [Outcome(answer.code, answer.line) for answer in answers]


def _outcome(call: Call, cfg: DictConfig, *, wordy: bool) -> Outcome:
    try:
        with _as_it_was(wordy=wordy):
            jobs.run(call, cfg)
    except BrokenPipeError:  # `mtl predict | head`: the reader has enough
        raise Interrupted(141) from None
    except SaidError as error:
        return Outcome(error.exit_code)
    except JobError as error:
        return Outcome(1, str(error))
    except MISTAKES as error:
        return Outcome(2, worded(error, call))
    except OSError as error:
        if wordy:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        return Outcome(1, f"failed: {where}{error.strerror or error}")
    except Exception as error:  # noqa: BLE001  # whatever a job raises, the next one of a sweep still runs
        if wordy:
            traceback.print_exc()
        return Outcome(1, f"failed: {type(error).__name__}: {_first(error)}")
    return Outcome(0)


def _groups(which: str) -> str:
    """The list of groups in a help page."""
    groups = ls.GROUPS if which == "all" else ls.FOR_THE_RUN
    return "\n".join(ls.overview(list(groups), searched())).replace("$", "$$")


def _named(line: str, instead: str = "") -> str:
    """`line` with the job of a sweep that it is about; there `instead`, where its processes have told the line."""
    here = HydraConfig.get()
    if here.mode != RunMode.MULTIRUN:
        return line
    return f"job {here.job.num} ({' '.join(jobs.told_to_job())}): {line or instead}"


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _fail(outcome: Outcome) -> int:
    """Tells it; what another process tells is not told twice, nor a mistake or Ctrl-C by all on a machine."""
    sys.stdout.flush()
    alike = outcome.code in (2, 130) and os.environ.get("LOCAL_RANK", "0") != "0"
    if not outcome.line or alike:
        return outcome.code
    sys.stderr.write(f"mtl: {' '.join(outcome.line.split())}\n")
    return outcome.code


@contextmanager
def _as_it_was(*, wordy: bool) -> Iterator[None]:
    """What a job starts is as wordy as the user asked for, not as Hydra is told to be here."""
    told = None if wordy else os.environ.pop("HYDRA_FULL_ERROR", None)
    try:
        yield
    finally:
        if told is not None:
            os.environ["HYDRA_FULL_ERROR"] = told


@contextmanager
def _quiet(call: Call) -> Iterator[None]:
    """With --package, what Hydra itself writes to stderr is held back; no job runs then."""
    with redirect_stderr(StringIO() if "--package" in call.arguments.options else sys.stderr):
        yield


@contextmanager
def _command_line(argv: list[str]) -> Iterator[None]:
    """Hydra reads sys.argv, and passes errors on as they are under HYDRA_FULL_ERROR."""
    before, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
