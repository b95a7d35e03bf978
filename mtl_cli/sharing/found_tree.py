"""A tree that was learned: how it runs, ships and is said."""

import json
import re
import shlex
from collections.abc import Sequence
from textwrap import wrap
from typing import cast

from torch import Tensor, nn

from mtl_cli.backbones.base import Backbone, Features, Spec
from mtl_cli.sharing.base import Sharing

Paths = dict[str, tuple[int, ...]]
"""Each task's node at every stage."""


class FoundTree(Sharing):
    """What a learned tree ships as: each task's path through networks, nothing else.

    paths:  each task's node at every stage.
    Shapes: inputs (B, ...) -> Features of (B, ...)
    """

    def __init__(self, networks: nn.ModuleList, paths: Paths, spec: Spec) -> None:
        super().__init__()
        self.networks = networks
        self.paths = paths
        self._spec = spec

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """The paths to those tasks."""
        return along(self.networks, self.paths, inputs, tasks)

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's own."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """None: it is not trained."""
        return []


def along(networks: nn.ModuleList, paths: Paths, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
    """Runs each task's path; a node that several pass runs once."""
    made: dict[tuple[int, ...], Tensor] = {}
    found: dict[str, Features] = {}
    for task in tasks:
        path, stages, tensor = paths[task], {}, inputs
        for i, node in enumerate(path):
            network, passed = cast(Backbone, networks[node]), path[: i + 1]
            name = list(network.stages)[i]
            if passed not in made:
                made[passed] = network.stages[name](tensor)
            tensor = stages[name] = made[passed]
        found[task] = Features(cast(Backbone, networks[path[-1]]).neck(tensor), stages, None, {})
    return found


def branches(stages: Sequence[str], paths: Paths) -> dict[str, list[list[str]]]:
    """The tree in the words of sharing=tree: at each stage where tasks part, their groups."""
    found: dict[str, list[list[str]]] = {}
    before = [list(paths)]
    for i, stage in enumerate(stages):
        groups: dict[tuple[int, ...], list[str]] = {}
        for task, path in paths.items():
            groups.setdefault(path[: i + 1], []).append(task)
        now = list(groups.values())
        if now != before:
            found[stage] = before = now
    return found


def in_words(stages: Sequence[str], paths: Paths) -> list[str]:
    """Lines on the tree that was found, and the words that train it anew."""
    found = branches(stages, paths)
    if not found:
        return ["sharing=ltb found no branching: all tasks share all, as sharing=hard has it"]
    told = [f"  {stage}: {' | '.join(', '.join(group) for group in groups)}" for stage, groups in found.items()]
    lines = [part for line in told for part in wrap(line, 80, subsequent_indent="    ", break_on_hyphens=False)]
    said = ", ".join(f"{stage}: {_listed(groups)}" for stage, groups in found.items())
    words = shlex.quote(f"sharing.branches={{{said}}}")
    return [
        "sharing=ltb found a tree; tasks part at",
        *lines,
        "what trains it anew as it is:",
        f"  sharing=tree {words}",
    ]


def _listed(groups: Sequence[Sequence[str]]) -> str:
    """Groups as Hydra reads them."""
    return "[" + ", ".join("[" + ", ".join(map(_word, group)) + "]" for group in groups) + "]"


def _word(task: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z_0-9]*", task) and task.lower() not in (
        "null",
        "true",
        "false",
        "nan",
        "inf",
    )
    return task if plain else json.dumps(task, ensure_ascii=False)
