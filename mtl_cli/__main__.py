"""`mtl COMMAND`: help, version and the way to a command. Imports sys only, so that help is there at once."""

import sys

COMMANDS = {
    "train": "train one model for several tasks; resume a run",
    "init": "look at a table or a folder of images and write a task set for it",
    "data": "check a data set without training: counts, missing labels, doubles",
    "eval": "evaluate a run or a checkpoint on a split",
    "export": "write a trained model, or some tasks of it, as a file that runs without mtl",
    "predict": "say what a trained model makes of images: CSV or JSON lines",
    "ls": "list what can be chosen, with defaults and ranges",
    "completion": "print a script that makes TAB complete all of this: bash, zsh",
}

HELP = """\
mtl: one model for several prediction tasks, from a YAML configuration.

usage: mtl COMMAND [KEY=VALUE ...] [OPTION ...]

commands:
{commands}

examples:
  mtl train                                    the bundled digits, in a minute
  mtl train task=cifar_multi sharing=cross_stitch trainer.epochs=5
  mtl train -m aggregation=sum,pcgrad seed=0,1 one run for each combination
  mtl train resume=runs/digits/RUN             go on where a run stopped
  mtl init people.csv --targets wage,moved     a task set for a table of your own
  mtl data task=mine --config-dir conf         what is in a data set, and what is odd
  mtl eval checkpoint=runs/digits/RUN          its best checkpoint, on test
  mtl export checkpoint=runs/digits/RUN export.format=onnx
  mtl predict checkpoint=runs/digits/RUN input=photos > rows.csv
  mtl ls sharing                               the strategies and their options

options:
  -h, --help     this page; `mtl COMMAND --help` has one for each command
  --version      the version
"""


def main(argv: list[str] | None = None) -> int:
    """Runs one command line. Returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["help"] and len(words) == 2:
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return 0
    if "--version" in words[:2]:
        from mtl_cli import __version__  # not at the top: this file imports sys only

        sys.stdout.write(f"mtl {__version__}\n")
        return 0
    if words[0] not in COMMANDS:
        return _unknown(words[0])
    try:
        code = _run(words[0], words[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `mtl ls | head`: the reader has enough
        sys.stdout = None  # nothing to flush at the end
        return 141
    return code


def _run(command: str, words: list[str]) -> int:
    """Runs one command. Imports are not at the top: this file imports sys only."""
    if command == "completion":
        from mtl_cli.cli.completion.command import run as complete  # without hydra: a TAB waits for it

        return complete(words)
    if command == "init":
        from mtl_cli.cli.init import run as init

        return init(words)
    from mtl_cli.cli.call import run

    return run(command, words)


def _help() -> str:
    width = max(map(len, COMMANDS))
    return HELP.format(commands="\n".join(f"  {name:{width}} {line}" for name, line in COMMANDS.items()))


def _unknown(word: str) -> int:
    import difflib  # not at the top: this file imports sys only

    near = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    if "=" in word:
        way_out = f"the command comes first: mtl train {word}"
    else:
        way_out = f"did you mean {near[0]}?" if near else f"choose from {', '.join(COMMANDS)}"
    sys.stderr.write(f"mtl: {word} is not a command: {way_out}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
