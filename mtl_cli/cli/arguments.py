"""A command line as Hydra's grammar needs it: options first, paths quoted, entries of dictionaries addable."""

import difflib
import re
from pathlib import Path
from typing import NamedTuple

from mtl_cli.options import ConfigError, nearest

PATHS = (
    "checkpoint", "resume", "init_from", "run_dir", "runs_dir", "data_dir", "cache_dir", "input", "output",
)  # fmt: skip
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
CFG = ("job", "hydra", "all")
FLAGS = {
    "--help": "the command's page",
    "--hydra-help": "more, for users of Hydra",
    "--resolve": "with --cfg: values filled in",
    "--run": "one job, as without it",
    "--multirun": "one job for each combination of values between commas",
}
VALUED = {
    "--cfg": "show the configuration and run nothing",
    "--package": "with --cfg: only this part",
    "--config-path": "a folder of primaries in place of the packaged ones",
    "--config-name": "a primary of your own",
    "--config-dir": "a folder with YAMLs of your own",
}
SHORT = {
    "-h": "--help", "-r": "--run", "-m": "--multirun", "-c": "--cfg", "-p": "--package",
    "-cp": "--config-path", "-cn": "--config-name", "-cd": "--config-dir", "-i": "--info",
}  # fmt: skip
INSTEAD = ("--cfg", "--info", "--run", "--multirun")
"""Options that say what to do; Hydra takes one of them."""
ADDABLE = re.compile(r"tasks\.|data\.parts\.[^.]+\.|data\.sampling\.|(weighting|aggregation)\.inner\.|sharing\.[^.]+\.")
"""Below these a YAML may leave out what is there."""


class Override(NamedTuple):
    """One `key=value` as the user typed it; `prefix` is +, ++ or ~; `value` is None where there is no `=`."""

    prefix: str
    key: str
    value: str | None

    def __str__(self) -> str:
        return f"{self.prefix}{self.key}" + ("" if self.value is None else f"={self.value}")

    @property
    def plain(self) -> str | None:
        """The value without quotes, or None for no value and for null."""
        if self.value in (None, "", "null"):
            return None
        quoted = re.fullmatch(r"""(['"])(.*)\1""", str(self.value), re.DOTALL)
        return quoted.group(2).replace(rf"\{quoted.group(1)}", quoted.group(1)) if quoted else self.value


class Arguments(NamedTuple):
    """A command line, taken apart: options by their long names, and overrides."""

    options: dict[str, str | None]
    overrides: list[Override]

    @property
    def sweep(self) -> bool:
        """Whether Hydra is asked for one job for each combination."""
        return "--multirun" in self.options

    @property
    def typed(self) -> list[str]:
        """The overrides as the user wrote them."""
        return [str(override) for override in self.overrides]

    def last(self, key: str) -> Override | None:
        """The override of that key which counts."""
        return next((override for override in reversed(self.overrides) if override.key == key), None)

    def argv(self) -> list[str]:
        """The command line for Hydra."""
        options = [word for name, value in self.options.items() for word in (name, value) if word is not None]
        return [*options, *(str(adapted(override, sweep=self.sweep)) for override in self.overrides)]


def parse(words: list[str]) -> Arguments:
    """Takes a command line apart. Raises: ConfigError: an option that is unknown or lacks its value."""
    options: dict[str, str | None] = {}
    overrides: list[Override] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and word != "-":
            name, value = _option(word, rest)
            options[name] = value
        else:
            overrides.append(override(word))
    told = [name for name in INSTEAD if name in options]
    if len(told) > 1:
        raise ConfigError(f"{' '.join(told)} do not go together: choose one")
    if "--resolve" in options and not {"--cfg", "--help"} & set(options):
        raise ConfigError("--resolve goes with --cfg: mtl train --cfg job --resolve")
    return Arguments(options, overrides)


def override(word: str) -> Override:
    """One word of the command line. Raises: ConfigError: it is no override."""
    key, equals, value = word.partition("=")
    prefix = key[: len(key) - len(key.lstrip("+~"))]
    if not equals and prefix != "~" and ("/" in word or (Path(word) / "checkpoints").is_dir()):
        raise ConfigError(f"{word} is not an override: a path has a key before it, as in checkpoint={word}")
    if not re.match(r"[\w$][\w./@:$-]*$", key[len(prefix) :]):
        raise ConfigError(f"{word or repr(word)} is not an override: write KEY=VALUE")
    if not equals and prefix != "~":
        raise ConfigError(f"{word} is not an override: write {word}=VALUE")
    return Override(prefix, key[len(prefix) :], value if equals else None)


def adapted(override: Override, *, sweep: bool) -> Override:
    """`override` as Hydra's grammar needs it.

    A path may hold `=`, spaces and anything else, so it is quoted. Below `tasks`, `data.parts` and a wrapped method a
    YAML may leave out what the YAML of a name says, and an option's dictionary may be empty; so such a key is added
    where it is not there, and the typed check finds wrong ones. An entry that is null is left out, as `~` says, which
    finds that there is none of that name.
    """
    prefix, key, value = override
    if value is None or prefix == "~":
        return override
    if value == "null" and not prefix and re.fullmatch(r"(tasks|data\.parts|regularizer)\.[^.]+", key):
        return Override("~", key, None)
    if _addable(key, value) and not prefix:
        prefix = "++"
    return Override(prefix, key, _quoted(value, sweep=sweep) if _as_typed(key) else value)


def is_path(key: str) -> bool:
    """Whether the value of `key` may be a file or a folder."""
    return key in PATHS or key.endswith((".path", ".weights"))


def typed(line: str) -> str:
    """A job's override, as Hydra hands it on, as the user would type it: `adapted` undone."""
    prefix, key, value = override(line)
    if prefix == "++" and (_addable(key, value or "") or key.startswith("data.parts.")):
        prefix = ""
    return str(Override(prefix, key, Override("", key, value).plain or value if _as_typed(key) else value))


def _addable(key: str, value: str) -> bool:
    return bool(ADDABLE.match(key)) or (value.startswith("{") and "." in key)


def _as_typed(key: str) -> bool:
    return is_path(key) or key == "name"


def _quoted(value: str, *, sweep: bool) -> str:
    if value in ("", "null") or value[0] in "'\"" or "\\" in value or "${" in value:
        return value
    if sweep and re.match(r"(choice|glob|sort|shuffle)\(", value):
        return value
    parts = value.split(",") if sweep else [value]
    return ",".join("'" + part.replace("'", r"\'") + "'" for part in parts)


def _option(word: str, rest: list[str]) -> tuple[str, str | None]:
    """The long name and the value of one option; takes the value from `rest`."""
    name, equals, value = word.partition("=")
    name = SHORT.get(name, name)
    if name == "--info":
        if not equals and rest and rest[0] in INFO:
            value = rest.pop(0)
        return name, _one_of(name, value or "all", INFO)
    if name in FLAGS:
        return name, None
    if name not in VALUED:
        raise ConfigError(f"{word} is not an option: {_instead(name, value)}")
    if not equals:
        if not rest:
            raise ConfigError(f"{word} is missing its value: {word} {'job' if name == '--cfg' else 'VALUE'}")
        value = rest.pop(0)
    return name, _one_of(name, value, CFG) if name == "--cfg" else value


def _instead(name: str, value: str) -> str:
    """The way out of an unknown option: one that is spelled much like it, or the key that it most likely is."""
    known = [*FLAGS, *VALUED, "--info", "--version"]
    if not name.startswith("--") or difflib.get_close_matches(name, known, n=1, cutoff=0.7):
        return nearest(name, known)
    return f"keys have no dashes: {name.lstrip('-')}={value or 'VALUE'}"


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ConfigError(f"{name} {value} is not known: {nearest(value, list(known))}")
    return value
