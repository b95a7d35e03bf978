"""A table that names images: where these lie, and how they look."""

from pathlib import Path
from typing import NamedTuple

from mtl_cli.data.guess.folder import Pictures, pictures
from mtl_cli.data.guess.table import Looked
from mtl_cli.data.table.read import LINES, PARQUET, TABS
from mtl_cli.options import ConfigError

TABLES = (".csv", *TABS, *LINES, *PARQUET)
TRIED = 20
"""Paths of a column that are looked for."""


class Manifest(NamedTuple):
    """The folder that the paths of `column` are told from, and how its images look."""

    folder: Path
    column: str
    pictures: Pictures


def tables(folder: Path) -> list[Path]:
    """The tables in a folder."""
    return sorted(f for f in folder.iterdir() if Path(f.name.lower().removesuffix(".gz")).suffix in TABLES)


def manifest(file: Path, looked: Looked) -> Manifest | None:
    """Where the images of a table lie: beside it, or in a folder beside it; None where it names none that are there.

    Raises: ConfigError: none of them can be read, or the table has no header.
    """
    for role in looked.roles:
        cells = list(role.facts.counts) if role.path else []
        folders = [file.parent, *sorted(its for its in file.parent.iterdir() if its.is_dir())] if cells else []
        for folder in folders:
            there = [folder / cell for cell in cells[:TRIED] if (folder / cell).is_file()]
            if len(there) * 2 > min(TRIED, len(cells)):
                if looked.layout.layout.columns:
                    raise ConfigError(f"{looked.name} has no header: write the names of its columns above its rows")
                every = [folder / cell for cell in cells if (folder / cell).is_file()]
                return Manifest(folder, role.facts.name, pictures(every, looked.name))
    return None
