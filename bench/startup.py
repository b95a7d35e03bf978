"""The rows of bench/start.py in the table: seconds, or ratios to the bare import."""

from importlib import import_module

from bench.turns import Found, Row, Told

ABOUT = "How soon `mtl` is there: command lines in processes of their own, by turns with `import torch, torchvision`."
ROUNDS = 9


def measure(told: Told) -> Found:
    """What it measures; its own names say what is seconds."""
    rounds = told.turns(ROUNDS)
    for its in import_module("bench.start").rows(rounds):
        yield Row(its.what, "", [its.low, its.median, its.high], its.bar, None, "s", rounds)
