"""`mtl completion`: prints the script of a shell, or answers the question that such a script asks at a TAB."""

import sys
from pathlib import Path

from mtl_cli.options import nearest

SHELLS = ("bash", "zsh")

PAGE = """\
mtl completion bash|zsh

Prints a script that makes TAB complete commands, groups and their options,
keys, values, runs and files. It asks mtl itself, so it never goes out of date.

bash: now, and for good by the same line in ~/.bashrc
  eval "$(mtl completion bash)"
or, where the package bash-completion is installed:
  mkdir -p ~/.local/share/bash-completion/completions
  mtl completion bash > ~/.local/share/bash-completion/completions/mtl

zsh: now, and for good by the same line in ~/.zshrc, below compinit
  eval "$(mtl completion zsh)"
or, with a folder of $fpath in place of ~/.zfunc:
  mtl completion zsh > ~/.zfunc/_mtl

Examples:
  mtl train sha<TAB>              sharing=
  mtl train sharing=<TAB>         hard, independent, ...
  mtl train tasks.<TAB>           the tasks of the task set
  mtl eval checkpoint=<TAB>       the runs in runs/
"""


def run(words: list[str]) -> int:
    """Runs `mtl completion` with these words. Returns the exit code."""
    if words[:1] == ["query"]:
        return _query(words[1:])
    if {"-h", "--help"} & set(words):
        sys.stdout.write(PAGE)
        return 0
    if len(words) != 1:
        told = "is missing its shell" if not words else f"{' '.join(words)} is not one shell"
        return _refuse(f"completion {told}: mtl completion bash, or mtl completion zsh")
    if words[0] not in SHELLS:
        return _refuse(f"completion {words[0]} is not known: {nearest(words[0], list(SHELLS))}")
    sys.stdout.write(Path(__file__).with_name(f"mtl.{words[0]}").read_text(encoding="utf-8"))
    return 0


def _query(words: list[str]) -> int:
    """Answers a script; an error would be shown in the middle of the line that is being typed, so there is none."""
    from mtl_cli.cli.completion import shells  # not at the top: a script is printed without the tables

    try:
        lines = shells.bash(*words[1:3]) if words[:1] == ["bash"] else shells.zsh(words[1:])
    except Exception:  # noqa: BLE001  # whatever a half-typed line or a broken YAML leads to, a shell hears nothing
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _refuse(line: str) -> int:
    sys.stderr.write(f"mtl: {line}\n")
    return 2
