"""Which words may come next: commands, then options, keys and values."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from mtl_cli.__main__ import COMMANDS
from mtl_cli.beneath import CONF
from mtl_cli.cli import init
from mtl_cli.cli.arguments import CFG, FLAGS, INFO, SHORT, VALUED, Arguments, Override, is_path, override
from mtl_cli.cli.completion.candidates import Answer, Candidate, beginning
from mtl_cli.cli.completion.command import SHELLS
from mtl_cli.cli.completion.composed import Composed, composed
from mtl_cli.cli.completion.keys import Key, keys
from mtl_cli.cli.completion.paths import paths
from mtl_cli.cli.completion.values import values
from mtl_cli.commands import ls
from mtl_cli.config import Config
from mtl_cli.options import ConfigError, description
from mtl_cli.words import words as in_words

INFO_FLAG = "--info"


def answer(before: list[str], word: str) -> Answer:
    """What `word` may become, after the words before it, which begin with the command."""
    if not before:
        told = {**COMMANDS, "help": "the page of a command"}
        flags = {"--help": "this page", "--version": "the version"} if word.startswith("-") else {}
        return Answer(beginning(word, _whole({**told, **flags})))
    command, *rest = before
    if command == "help" and not rest:
        return Answer(beginning(word, _whole(COMMANDS)))
    if command in WITHOUT_HYDRA:
        return Answer(beginning(word, WITHOUT_HYDRA[command](rest, word)))
    if not (CONF / f"{command}.yaml").is_file() or command not in COMMANDS:
        return Answer([])
    arguments, pending = _understood(rest)
    if pending or word.startswith("-"):
        return Answer(beginning(word, _options(command, arguments, pending, word)))
    return _override(composed(command, arguments), arguments, rest, word)


def _init(before: list[str], word: str) -> list[Candidate]:
    """`mtl init` has two options and one file."""
    if before[-1:] == ["--targets"]:
        return []
    if word.startswith("-"):
        return [candidate for candidate in _whole(init.OPTIONS) if candidate.text not in before]
    return paths("input", word, "", "")


def _completion(before: list[str], _word: str) -> list[Candidate]:
    return [] if before else _whole(dict.fromkeys((*SHELLS, "--help"), ""))


WITHOUT_HYDRA = {"init": _init, "completion": _completion}
"""Commands that take neither keys nor Hydra's options."""


def _understood(words: list[str]) -> tuple[Arguments, str]:
    """What can be understood of a half-typed line, and the option that the next word is the value of."""
    options: dict[str, str | None] = {}
    overrides: list[Override] = []
    pending = ""
    for word in words:
        name, equals, value = word.partition("=")
        name = SHORT.get(name, name)
        if pending:
            options[pending], pending = word, ""
        elif not word.startswith("-"):
            overrides.extend(_one(word))
        elif name in VALUED and not equals:
            pending = name
        else:
            options[name] = value if equals else None
    return Arguments(options, overrides), pending


def _one(word: str) -> list[Override]:
    try:
        return [override(word)]
    except ConfigError:
        return []


def _options(command: str, arguments: Arguments, pending: str, word: str) -> Iterator[Candidate]:
    """Options, or where one is `pending` or typed with a `=`, its value."""
    name, equals, value = word.partition("=")
    if pending or equals:
        start = "" if pending else f"{name}="
        option = pending or SHORT.get(name, name)
        found = _option_values(command, option, arguments, word if pending else value)
        yield from (c._replace(text=f"{start}{c.text}") for c in found)
        return
    lines = {**FLAGS, INFO_FLAG: "how the configuration came about", **VALUED}
    if command == "ls":
        lines.pop("--multirun")
    for long, line in lines.items():
        if long not in arguments.options:
            yield Candidate(long, whole=True, about=line)
    if SHORT.get(word) in lines:
        yield Candidate(word, whole=True, about=lines[SHORT[word]])


def _option_values(command: str, option: str, arguments: Arguments, word: str) -> Iterable[Candidate]:
    if option in ("--cfg", INFO_FLAG):
        return _whole(dict.fromkeys(CFG if option == "--cfg" else INFO, ""))
    if option in ("--config-dir", "--config-path"):
        return paths(option, word, "", "")
    folder = arguments.options.get("--config-dir")
    if option == "--config-name":
        return _whole(dict.fromkeys((file.stem for file in Path(folder).glob("*.yaml")) if folder else (), ""))
    return _sections(composed(command, arguments), word) if option == "--package" else []


def _sections(all_: Composed, word: str) -> Iterator[Candidate]:
    """Parts of the configuration, one level at a time."""
    stem = word.rpartition(".")[0]
    inner = all_.raw
    for name in filter(None, stem.split(".")):
        inner = inner[name]
    for name in inner if isinstance(inner, dict) else ():
        yield Candidate(f"{stem}.{name}" if stem else name, whole=True)


def _override(all_: Composed, arguments: Arguments, before: list[str], word: str) -> Answer:
    """A key, or after its `=` a value."""
    name, equals, value = word.partition("=")
    prefix = "++" if name.startswith("++") else "~" if name.startswith("~") else ""
    known = {key.name: key for key in keys(all_)}
    if prefix == "~":
        entries = [*_levels(name[1:], (Key(f"tasks.{task}") for task in all_.raw.get("tasks") or ()), whole=True)]
        return Answer(beginning(word, (c._replace(text=f"~{c.text}") for c in entries)))
    if equals:
        key = known.get(name[len(prefix) :])
        return _value(key, f"{name}=", value, all_) if key else Answer([])
    told = {override.key for override in arguments.overrides}
    found = [*_levels(name[len(prefix) :], (key for key in known.values() if key.name not in told), whole=False)]
    found = [c._replace(text=f"{prefix}{c.text}") for c in found]
    if all_.command == "ls" and not told & {"group"}:
        named = any(word in ls.GROUPS for word in before)
        found = [*(_whole(ls.GROUPS) if not named else ()), *(c for c in found if c.text != "group=")]
    if before and SHORT.get(before[-1], before[-1]) == INFO_FLAG:
        found = [*_whole(dict.fromkeys(INFO, "")), *found]
    return Answer(beginning(word, found))


def _levels(typed: str, known: Iterable[Key], *, whole: bool) -> Iterator[Candidate]:
    """The next part of each key, up to its dot or its `=`."""
    stem = typed[: typed.rfind(".") + 1]
    for key in known:
        rest = key.name[len(stem) :]
        if not key.name.startswith(typed):
            continue
        part, dot, _ = rest.partition(".")
        if dot:
            section = f"{stem}{part}"
            line = description(Config, section) if section in Config.__struct_fields__ else ""
            yield Candidate(f"{section}.", whole=False, about=line)
        else:
            yield Candidate(key.name if whole else f"{key.name}=", whole=whole, about=key.about)


def _value(key: Key, start: str, typed: str, all_: Composed) -> Answer:
    if is_path(key.name):
        found = paths(key.name, typed, str(all_.raw.get("runs_dir", "")), str(all_.raw.get("data_dir", "")))
    else:
        found = values(key, typed, all_)
    note = "" if key.hint is None else f"{in_words(key.hint)}{f' ({key.about})' if key.about else ''}"
    return Answer([c._replace(text=f"{start}{c.text}") for c in found], note)


def _whole(lines: dict[str, str]) -> list[Candidate]:
    return [Candidate(name, whole=True, about=line) for name, line in lines.items()]
