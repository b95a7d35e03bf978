"""`mtl init DATA [--out FILE] [--targets a,b]`: its words, without Hydra."""

import csv
import sys
from pathlib import Path

from mtl_cli.options import ConfigError, nearest

OUT = "conf/task/mine.yaml"
OPTIONS = {
    "--out": f"the YAML to write; else {OUT}",
    "--targets": "the columns to predict, with commas between them",
    "--help": "this page",
}
PAGE = f"""\
mtl init DATA [--out {OUT}] [--targets a,b,c]

Looks at a table (CSV, TSV, JSON lines or Parquet, .gz too) or at a folder of
images (train/<class>/* and test/<class>/*, <class>/* alone, or with a table
beside them that has a column of their paths) and writes a task set for it:
which columns are to be predicted, which are inputs, which are left out. Beside
each stands what was seen in it and why it was taken so. It asks nothing and
overwrites nothing; mend by hand what it guessed wrong.

Without --targets, the columns with empty cells are the targets, else whole
numbers and words of few values; the others are listed as comments.

Options:
  --out FILE          the YAML to write, in a folder named task; its name is
                      what task= takes. Without it: {OUT}
  --targets a,b,c     the columns to predict
  -h, --help          this page

Examples:
  mtl init people.csv
  mtl init photos
  mtl init people.csv --targets wage,moved --out conf/task/people.yaml
  mtl data --config-dir conf task=people
  mtl train --config-dir conf task=people
"""


def run(words: list[str]) -> int:
    """Runs `mtl init` with these words. Returns the exit code."""
    if {"-h", "--help"} & set(words):
        sys.stdout.write(PAGE)
        return 0
    try:
        data, told = parse(words)
        from mtl_cli.commands import init  # not at the top: it imports pyarrow

        targets = None if "--targets" not in told else _names(told["--targets"])
        init.run(init.Asked(Path(data), Path(told.get("--out", OUT)), targets))
    except ConfigError as error:
        sys.stdout.flush()
        sys.stderr.write(f"mtl: {' '.join(str(error).split())}\n")
        return 2
    return 0


def parse(words: list[str]) -> tuple[str, dict[str, str]]:
    """The data, and the options with their values. Raises: ConfigError."""
    told: dict[str, str] = {}
    data: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            data.append(word)
            continue
        name, equals, value = word.partition("=")
        if name not in OPTIONS:
            raise ConfigError(f"{word} is not an option of mtl init: {nearest(name, list(OPTIONS))}")
        if not equals and not rest:
            raise ConfigError(f"{name} is missing its value: {OPTIONS[name]}")
        told[name] = value if equals else rest.pop(0)
        if not told[name].strip(" ,"):
            raise ConfigError(f"{name} is empty: {OPTIONS[name]}")
    if not data:
        raise ConfigError("init is missing its data: mtl init people.csv")
    if len(data) > 1:
        raise ConfigError(f"{' '.join(data)} are several: name one file (targets: --targets a,b)")
    return data[0], told


def _names(told: str) -> tuple[str, ...]:
    """Names between commas; one that holds a comma itself stands in double quotes."""
    row = next(csv.reader([told], skipinitialspace=True))
    return tuple(name.strip() for name in row if name.strip())
