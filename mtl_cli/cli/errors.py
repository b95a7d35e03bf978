"""What Hydra and OmegaConf say about a mistake, in one line that names the key, the value and the way out."""

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from mtl_cli.beneath import CONF
from mtl_cli.cli import folders
from mtl_cli.cli.arguments import Override, typed
from mtl_cli.cli.away import EXTRAS
from mtl_cli.cli.jobs import Call
from mtl_cli.commands import ls
from mtl_cli.config import ASKED, BELOW
from mtl_cli.options import ConfigError, nearest, shown, text
from mtl_cli.schema import unknown

MISTAKES = (ConfigError, HydraException, OmegaConfBaseException, yaml.YAMLError)
"""What a composition raises over something that the user wrote. Hydra also raises a bare ValueError."""


def worded(error: BaseException, call: Call) -> str:
    """The line for a mistake that composing a configuration ran into."""
    match error:
        case ConfigError():
            return str(error)
        case OverrideParseException():
            return _unread(error.override)
        case MissingConfigException():
            return _no_such_option(error, call)
        case yaml.MarkedYAMLError():
            return _broken_yaml(error)
        case OmegaConfBaseException():
            return _omegaconf(error, call)
    return _composition(error, call)


def _unread(line: str) -> str:
    key, _, value = typed(line).partition("=")
    return (
        f"{key}={text(value)} cannot be read: put what holds = , ( ) [ ] {{ }} : or a space in quotes: \"{key}='...'\""
    )


def _no_such_option(error: MissingConfigException, call: Call) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    if not group:
        return f"--config-name {name} is not there: name a YAML in --config-dir, or leave it out"
    if group == "hydra/launcher" and name in EXTRAS:
        return (
            f"{call.arguments.last(group) or f'{group}={name}'} needs an extra: pip install 'mtl-cli[{EXTRAS[name]}]'"
        )
    if group.startswith("hydra"):
        return f"{group}={name} is not known: {nearest(name, list(error.options or []))}"
    told = call.arguments.last(group)
    by = "" if told is None or told.value == name else f" ({told})"
    return f"{group}={name} is not known{by}: {nearest(name, list(error.options or []))}"


def _broken_yaml(error: Any) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{_file(mark.name)}, line {mark.line + 1}" if mark else "a YAML"
    return f"{where} is not YAML: {error.problem or error.context}"


def _file(name: str) -> str:
    path = Path(name)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else name


def _omegaconf(error: OmegaConfBaseException, call: Call) -> str:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    key = error.full_key or "the configuration"
    if isinstance(error, InterpolationKeyError):
        return f"{_typed_or(key, call)}: {first[0].lower()}{first[1:]}: name a key that is there"
    rule = first.partition("resolving interpolation: ")[2].strip('"') or f"{first[0].lower()}{first[1:]}"
    return f"{_typed_or(key, call)} is not valid: {rule}"


def _typed_or(key: str, call: Call) -> str:
    told = call.arguments.last(key)
    return str(told) if told else key


def _composition(error: BaseException, call: Call) -> str:
    """A HydraException or ValueError: of the overrides, the one that it is about, else its first line."""
    cause = error.__cause__
    said = str(error).partition("\nTo append")[0]
    for override in call.arguments.overrides:
        line = _guilty(override, said, cause, call)
        if line:
            return line
    if isinstance(cause, OmegaConfBaseException) and not str(error):
        return _omegaconf(cause, call)
    return " ".join(said.split()) or type(error).__name__


def _guilty(override: Override, said: str, cause: BaseException | None, call: Call) -> str | None:
    """The line about this override, if `said` is about it."""
    key, value = override.key, override.value
    if "Config group override" in said:
        bad = key in ls.FOR_THE_RUN and re.fullmatch(r"null|[\d.+-].*|true|false|", value or "", re.IGNORECASE)
        return f"{override} is not known: {nearest(text(value), _names(key, call))}" if bad else None
    if not re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", said):
        return None
    for words, line in (
        ("Could not delete", f"{override} is not there: nothing to leave out"),
        ("Ambiguous value", f"{override} names several: add -m for one run each, or write {key}=[{value}] for a list"),
        ("requires --multirun", f"{override} names several: add -m for one run each"),
        ("Multiple values", f"{override} chooses what has a choice already: write {key}={value}"),
        ("force-add", f"{override} chooses what has a choice already: write {key}={value}"),
        ("No match in the defaults list", _not_chosen_here(override, call)),
    ):
        if words in said:
            return line
    if isinstance(cause, OmegaConfBaseException):
        return _wrong_key(override, cause)
    return f"{override} is not valid: {' '.join(said.split()[:30])}"


def _names(group: str, call: Call) -> list[str]:
    added = folders.added(call.arguments.options.get("--config-dir"))
    return ls.names(group, [CONF, *([added] if added else [])])


def _not_chosen_here(override: Override, call: Call) -> str:
    if call.command in ASKED and override.key not in BELOW:
        return f"{override} cannot be chosen here: mtl {call.command} takes it from the checkpoint"
    return unknown(override.key, override.value, {})


def _wrong_key(override: Override, cause: OmegaConfBaseException) -> str:
    """A key that is not in the composed configuration, or a value that does not fit there."""
    parent = cause.parent_node
    if not isinstance(parent, DictConfig) or cause.key is None or cause.key in parent:
        return f"{override} is not valid: {str(cause).splitlines()[0]}"
    if not override.key.rpartition(".")[0] or "." not in str(cause.full_key):
        top, _, below = override.key.partition(".")
        raw = {str(key): parent._get_node(key) for key in parent}  # noqa: SLF001  # its keys, nothing resolved
        return unknown(top, {below: override.value} if below else override.value, raw)
    known = [str(key) for key in parent if key != "name"]
    of = f"of {parent['name']}" if "name" in parent else "here"
    line = f"{shown(override.key, override.value)} is not a key {of}"
    if override.key.startswith("regularizer."):
        return f"{line}: choose it first: regularizer=[{cause.key}]"
    if not known:
        return f"{line}: {str(cause.full_key).rpartition('.')[0]} has no keys of its own"
    return f"{line}: {nearest(str(cause.key), known)}"
