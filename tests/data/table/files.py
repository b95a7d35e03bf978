"""Tables as files, and sources that read them."""

import gzip
from pathlib import Path
from typing import Any

from mtl_cli.data.base import Place, Reads
from mtl_cli.data.options import TableFile
from mtl_cli.data.table.source import TableSource

PLAIN: dict[str, Any] = {
    "test_path": None,
    "split": None,
    "test": 0.25,
    "numbers": [],
    "categories": [],
    "dates": [],
    "rare": 1,
    "missing": ["", "NaN"],
    "codes": {},
    "delimiter": None,
    "encoding": "utf-8",
    "columns": None,
}


def put(folder: Path, name: str, content: str | bytes) -> Path:
    """A file, packed where its name ends in .gz."""
    raw = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder / name


def source(folder: Path, labels: dict[str, Reads], path: str = "t.csv", **options: Any) -> TableSource:
    """The source of `path` in a folder, whose tasks read some columns."""
    option = TableFile(path=path, **{**PLAIN, **options})
    return TableSource(option, Place(folder, folder / "cache", 0, download=False, labels=labels))
