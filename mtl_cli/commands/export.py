"""mtl export: a checkpoint, or what some of its tasks need, as one verified file."""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mtl_cli import __version__
from mtl_cli.commands.rebuild import recipe
from mtl_cli.commands.restore import Restored, restore, run_of
from mtl_cli.config import Config
from mtl_cli.data.options import ImageFiles, TableFile
from mtl_cli.data.table.frame import empty
from mtl_cli.options import tag
from mtl_cli.reporting.atomic import write_atomic
from mtl_cli.reporting.terminal import open_screen
from mtl_cli.reporting.wording import quoted
from mtl_cli.session import Session
from mtl_cli.shipping.base import Format
from mtl_cli.shipping.columns import Said
from mtl_cli.shipping.metadata import metadata
from mtl_cli.shipping.needed import needed
from mtl_cli.shipping.options import FORMATS, ExportOptions
from mtl_cli.shipping.place import aside
from mtl_cli.shipping.quiet import quiet
from mtl_cli.shipping.shipped import Shipped
from mtl_cli.shipping.verify import BATCHES, Live, compare, judge
from mtl_cli.training.checkpoint import digest
from mtl_cli.training.options import DEVICES


def run(config: Config, options: ExportOptions, given: Path, session: Session) -> None:
    """Writes the file and, beside it, verify.json; says how large it is, and how far off.

    A sweep's jobs differ in format or tasks, so that each has its place in the run already.

    Raises: ConfigError: the checkpoint is damaged. JobError: it cannot be exported, or the file answers otherwise.
    """
    DEVICES.target(config.device)(config.device)
    restored = restore(config, given)
    tasks = [name for name in restored.tasks if options.tasks is None or name in options.tasks]
    model = needed(restored.model, tasks, restored.given.shape)
    shipped = Shipped(model, restored.tasks, restored.known.preparations, restored.given.shape).eval()
    made: Format = FORMATS.target(options.format)(options.format, recipe(config, restored))
    name = tag(options.format)
    final = _home(given) / "-".join([name, *(tasks if options.tasks else [])])
    screen = open_screen(sys.stdout)
    try:
        screen.command(f"{given}: epoch {restored.meta['epoch']}, step {restored.meta['step']}")
        left_out = [task for task in restored.tasks if task not in tasks]
        screen.note(f"{name}: {', '.join(tasks)}" + (f"; without {', '.join(left_out)}" if left_out else ""))
        if left_out and restored.model.sharing.mixes_all:
            screen.note(f"sharing={tag(config.sharing)} mixes all networks: the file keeps all {len(restored.tasks)}")
        with aside(final) as folder:
            said = Said(made.words, _empty(config), _resize(config))
            verdict = _write(made, shipped, restored, said, folder / f"model{made.suffix}", session)
        for line in _sizes(verdict):
            screen.command(line)
        screen.note(_accuracy(verdict))
        screen.command(f"written: {quoted(final / verdict['file'])}")
    finally:
        screen.close()


def _home(folder: Path) -> Path:
    """The run's `export`, or one beside a checkpoint that was copied away."""
    run_dir = run_of(folder)
    return folder.parent / f"{folder.name}-export" if run_dir is None else run_dir / "export"


def _empty(config: Config) -> dict[str, frozenset[str]]:
    """What is written in the empty cells of a table's categories."""
    tables = [option for option in config.data.parts.values() if isinstance(option, TableFile)]
    return {column: empty(option, column) for option in tables for column in option.categories}


def _resize(config: Config) -> str:
    """In which way images are brought to their size."""
    ways = {str(option.resize) for option in config.data.parts.values() if isinstance(option, ImageFiles)}
    return " or ".join(sorted(ways)) or "stretch"


def _write(
    made: Format, shipped: Shipped, restored: Restored, said: Said, file: Path, session: Session
) -> dict[str, Any]:
    """Writes the file and the verdict on it. Raises: JobError: it differs from the live model."""
    source = {"checkpoint": restored.folder.name, "epoch": restored.meta["epoch"], "step": restored.meta["step"]}
    live = Live(restored.model, restored.tasks, restored.known.preparations)
    with quiet():
        made.write(shipped, metadata(shipped, source, said), file)
        errors = compare(live, shipped, made.load(file))
    judge(errors, made.tolerance)
    verdict = {
        "file": file.name,
        "command": ["mtl", session.command, *session.overrides],
        "tasks": list(shipped.tasks),
        **source,
        "bytes": file.stat().st_size,
        "parameters": shipped.parameter_count(),
        "joint": {
            "bytes": (restored.folder / "model.safetensors").stat().st_size,
            "parameters": sum(parameter.numel() for parameter in restored.model.parameters()),
        },
        "sha256": digest(file),
        "tolerance": made.tolerance,
        "errors": errors,
        "versions": {"mtl": __version__, **{package: version(package) for package in made.packages}},
    }
    write_atomic(file.with_name("verify.json"), json.dumps(verdict, indent=2) + "\n")
    return verdict


def _sizes(verdict: dict[str, Any]) -> list[str]:
    """Of the file, beside the joint model's."""
    rows = (("exported", verdict), ("joint checkpoint", verdict["joint"]))
    return [
        f"{'':16} {'parameters':>14} {'bytes':>14}",
        *(f"{name:16} {size['parameters']:>14,} {size['bytes']:>14,}" for name, size in rows),
    ]


def _accuracy(verdict: dict[str, Any]) -> str:
    """The largest error of all outputs and batches."""
    error, name = max((error, name) for name, by_rows in verdict["errors"].items() for error in by_rows.values())
    batches = f"{', '.join(map(str, BATCHES[:-1]))} and {BATCHES[-1]}"
    return f"verified at batch {batches}: {name} is off by {error:.1e}, {verdict['tolerance']:.0e} is allowed"
