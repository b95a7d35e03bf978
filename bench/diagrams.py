"""Draws the pictures of docs/sharing.md, one a sharing strategy: python -m bench.diagrams."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.drawing import Owner, Picture, Place
from mtl_cli.sharing.options import SHARINGS

FOLDER = Path(__file__).parents[1] / "docs" / "images" / "sharing"
A: Owner = "A"
B: Owner = "B"
AB: tuple[Owner, Owner] = (A, B)
PICTURES: dict[str, Callable[[], Picture]] = {}


def picture(draw: Callable[[], Picture]) -> Callable[[], Picture]:
    """Lists a function as the strategy of its name."""
    PICTURES[draw.__name__] = draw
    return draw


def start(p: Picture, row: float) -> Place:
    """The input."""
    return p.box(0, row, "input", "plain", wide=0.7)


def chain(p: Picture, *places: Place) -> None:
    """Arrows from each to the next."""
    for first, second in itertools.pairwise(places):
        p.arrow(first, second)


def stages(p: Picture, row: float, owner: Owner, columns: Sequence[float] = (1.1, 2.1, 3.1)) -> list[Place]:
    """Stages one after the other, without arrows."""
    return [p.box(column, row, f"stage {i + 1}", owner) for i, column in enumerate(columns)]


def heads(p: Picture, column: float, rows: Mapping[Owner, float], *sources: Place) -> None:
    """A head for each task, read from the one source or from each task's."""
    for i, (task, row) in enumerate(rows.items()):
        p.arrow(sources[i % len(sources)], p.box(column, row, f"head {task}", task))


@picture
def hard() -> Picture:
    """The default, and below it a trunk that ends at a stage."""
    p = Picture("hard: one trunk, a head for each task; below with split_at")
    trunk = stages(p, 0.5, "shared", (1.0, 2.0, 3.0))
    chain(p, start(p, 0.5), *trunk)
    heads(p, 4.2, {A: 0, B: 1}, trunk[-1])
    p.note(4.8, 0.5, "split_at=null", "start")
    trunk = stages(p, 2.9, "shared", (1.0, 2.0))
    chain(p, start(p, 2.9), *trunk)
    branches = [p.box(3.1, row, "stage 3", task) for task, row in ((A, 2.4), (B, 3.4))]
    for branch in branches:
        p.arrow(trunk[-1], branch)
    heads(p, 4.2, {A: 2.4, B: 3.4}, *branches)
    p.note(4.8, 2.9, "split_at=stage2", "start")
    return p


@picture
def independent() -> Picture:
    """A network a task."""
    p = Picture("independent: a network for each task, nothing shared")
    x = start(p, 0.5)
    for task, row in zip(AB, (0, 1), strict=True):
        network = stages(p, row, task)
        chain(p, x, *network, p.box(4.4, row, f"head {task}", task))
    return p


@picture
def tree() -> Picture:
    """Three tasks, two of which go on together."""
    p = Picture("tree: tasks part from one another where the tree says")
    first = p.box(1.1, 1.25, "stage 1")
    p.arrow(start(p, 1.25), first)
    both = p.box(2.1, 0.5, "stage 2")
    p.arrow(first, both)
    ends = [p.box(3.2, row, "stage 3", task) for task, row in ((A, 0), (B, 1))]
    for end in ends:
        p.arrow(both, end)
    own = [p.box(column, 2, f"stage {i}", "C") for i, column in ((2, 2.1), (3, 3.2))]
    chain(p, first, *own)
    heads(p, 4.4, {A: 0, B: 1, "C": 2}, *ends, own[-1])
    return p


@picture
def ltb() -> Picture:
    """Each node of a stage draws the node of the stage before that it reads."""
    p = Picture("ltb: which node each stage and each task reads is drawn, and learned")
    x = start(p, 0.5)
    before = [x]
    for i, column in enumerate((1.1, 2.3, 3.5)):
        nodes = [p.box(column, row, f"stage {i + 1}") for row in (0, 1)]
        for j, node in enumerate(nodes):
            for k, source in enumerate(before):
                p.arrow(source, node, faint=len(before) > 1 and k != min(j, i - 1))
        before = nodes
    for j, (task, row) in enumerate(((A, 0.0), (B, 1.0))):
        head = p.box(4.7, row, f"head {task}", task)
        for k, source in enumerate(before):
            p.arrow(source, head, task if k == j else "plain", faint=k != j)
    p.note(0.75, 2.1, "dark: the likeliest way, grey: others that are still drawn", "start")
    return p


@picture
def soft() -> Picture:
    """Two networks, tied stage by stage."""
    p = Picture("soft: a network for each task, and a penalty on how far they are apart")
    x = start(p, 0.8)
    networks = []
    for task, row in zip(AB, (0, 1.6), strict=True):
        networks.append(stages(p, row, task))
        chain(p, x, *networks[-1], p.box(4.4, row, f"head {task}", task))
    for first, second in zip(*networks, strict=True):
        p.tie(first, second)
    p.note(1.25, 0.8, "penalty", "start")
    return p


@picture
def cross_stitch() -> Picture:
    """After each stage a mixture."""
    p = Picture("cross_stitch: a network for each task, their features mixed after every stage")
    x = start(p, 0.8)
    before: list[Place] = [x, x]
    for i in range(2):
        found = [p.box(1.1 + 2.1 * i, 1.6 * j, f"stage {i + 1}", task) for j, task in enumerate(AB)]
        for source, stage in zip(before, found, strict=True):
            p.arrow(source, stage)
        before = [p.dot(2.2 + 2.1 * i, 1.6 * j, "Σ") for j in range(2)]
        for j, source in enumerate(found):
            p.arrow(source, before[j], AB[j])
            p.arrow(source, before[1 - j], AB[j])
    heads(p, 5.3, {A: 0, B: 1.6}, *before)
    p.note(5.3, 0.8, "Σ: learned factors")
    return p


@picture
def sluice() -> Picture:
    """Halves of each network's channels, mixed after each stage; heads read a mixture of all stages."""
    p = Picture("sluice: halves of each network's channels are mixed; a head reads all stages")
    x = start(p, 1.2)
    before: list[Place] = [x, x]
    shallow: list[Place] = []
    for i in range(2):
        halves: list[list[Place]] = []
        for j, task in enumerate(AB):
            stage = p.box(1.05 + 2.35 * i, 2.4 * j, f"stage {i + 1}", task, wide=0.85)
            p.arrow(before[j], stage)
            halves.append(
                [p.box(1.85 + 2.35 * i, 2.4 * j + d, h, task, wide=0.3) for d, h in ((-0.4, "a"), (0.4, "b"))]
            )
            for half in halves[j]:
                p.arrow(stage, half)
        before = [p.dot(2.7 + 2.35 * i, 2.4 * j, "α") for j in range(2)]
        for j, task in enumerate(AB):
            for half in halves[j]:
                p.arrow(half, before[j], task)
                p.arrow(half, before[1 - j], task)
        shallow = shallow or before
    ends = [p.dot(5.6, 2.4 * j, "β", task) for j, task in enumerate(AB)]
    for j, end in enumerate(ends):
        p.around(shallow[j], end, -0.9 if j == 0 else 3.3)
        p.arrow(before[j], end)
    heads(p, 6.5, {A: 0, B: 2.4}, *ends)
    return p


@picture
def nddr() -> Picture:
    """After each stage a 1x1 convolution of all networks' features."""
    p = Picture("nddr: after every stage all networks' features are joined and reduced for each")
    x = start(p, 0.8)
    before: list[Place] = [x, x]
    for i in range(2):
        found = [p.box(1.0 + 2.25 * i, 1.6 * j, f"stage {i + 1}", task, wide=0.85) for j, task in enumerate(AB)]
        for source, stage in zip(before, found, strict=True):
            p.arrow(source, stage)
        before = [p.box(2.2 + 2.25 * i, 1.6 * j, "1x1, norm", "shared") for j in range(2)]
        for j, source in enumerate(found):
            p.arrow(source, before[j], AB[j])
            p.arrow(source, before[1 - j], AB[j])
    heads(p, 5.6, {A: 0, B: 1.6}, *before)
    return p


@picture
def mtan() -> Picture:
    """Attention of each task beside a shared network."""
    p = Picture("mtan: one network, and an attention for each task at every stage")
    trunk = stages(p, 1, "shared", (1.1, 2.3, 3.5))
    chain(p, start(p, 1), *trunk)
    for task, row in ((A, 0), (B, 2)):
        masks = [p.box(1.1 + 1.2 * i, row, "attention", task) for i in range(3)]
        for stage, mask in zip(trunk, masks, strict=True):
            p.arrow(stage, mask, task)
        heads(p, 4.6, {task: row}, masks[-1])
        chain(p, *masks)
    return p


def experts(p: Picture) -> tuple[Place, list[Place]]:
    """A trunk, and three experts on it."""
    trunk = p.box(1.1, 2, "trunk")
    p.arrow(start(p, 2), trunk)
    made = [p.box(2.4, 1 + i, f"expert {i + 1}") for i in range(3)]
    for expert in made:
        p.arrow(trunk, expert)
    return trunk, made


def gated(
    p: Picture, trunk: Place | None, reads: Mapping[Owner, Sequence[Place]], gate: str = "gate", faint: int = 99
) -> None:
    """A mixture a task of the experts that it reads, by a gate on the trunk, or one that reads nothing."""
    for task, row, gate_row in ((A, 1.5, 0), (B, 2.5, 4)):
        mixture = p.dot(3.7, row, "Σ", task)
        for i, expert in enumerate(reads[task]):
            p.arrow(expert, mixture, task, faint=abs(i - (0 if task == A else 2)) > faint)
        its = p.box(2.4, gate_row, f"{gate} {task}", task)
        if trunk is not None:
            p.rise(trunk, its)
        p.bend(its, mixture, task, dashed=True)
        heads(p, 4.7, {task: row}, mixture)


@picture
def mmoe() -> Picture:
    """Experts, and a gate a task."""
    p = Picture("mmoe: experts on the trunk's vector, mixed by a gate for each task")
    trunk, made = experts(p)
    gated(p, trunk, {A: made, B: made})
    return p


@picture
def dselect_k() -> Picture:
    """Selectors that let k experts through."""
    p = Picture("dselect_k: each task comes to select k of the experts on the trunk's vector")
    _, made = experts(p)
    gated(p, None, {A: made, B: made}, gate="selectors", faint=1)
    p.note(4.0, 0, "k=2 of 3; grey: weight 0", "start")
    return p


@picture
def cgc() -> Picture:
    """Shared experts and own ones."""
    p = Picture("cgc: shared experts and each task's own, mixed by a gate for each task")
    trunk = p.box(1.1, 2, "trunk")
    p.arrow(start(p, 2), trunk)
    a, shared, b = (
        p.box(2.4, 1 + i, "experts" + (f" {o}" if o != "shared" else ""), o) for i, o in enumerate((A, "shared", B))
    )
    for expert in (a, shared, b):
        p.arrow(trunk, expert)
    gated(p, trunk, {A: (a, shared), B: (shared, b)})
    return p


@picture
def ple() -> Picture:
    """Two levels of experts, and the shared mixture between them."""
    p = Picture("ple: levels of shared and own experts; between them a shared mixture of all")
    trunk = p.box(1.0, 1, "trunk", wide=0.8)
    p.arrow(start(p, 1), trunk)
    owners: tuple[Owner, Owner, Owner] = (A, "shared", B)
    first = [p.box(2.1, i, "experts", o) for i, o in enumerate(owners)]
    for place in first:
        p.arrow(trunk, place)
    middle = [p.dot(3.15, i, "Σ", o) for i, o in enumerate(owners)]
    second = [p.box(4.15, i, "experts", o) for i, o in enumerate(owners)]
    for i, task in ((0, A), (2, B)):
        p.arrow(first[i], middle[i], task)
        p.arrow(first[1], middle[i], task)
        p.arrow(first[i], middle[1], "shared")
    p.arrow(first[1], middle[1], "shared")
    for place, behind in zip(middle, second, strict=True):
        p.arrow(place, behind)
    ends = [p.dot(5.2, i, "Σ", task) for i, task in ((0, A), (2, B))]
    for end, i, task in zip(ends, (0, 2), AB, strict=True):
        p.arrow(second[i], end, task)
        p.arrow(second[1], end, task)
    heads(p, 6.2, {A: 0, B: 2}, *ends)
    return p


@picture
def low_rank() -> Picture:
    """Factors of each task over one basis."""
    p = Picture("low_rank: every task's weights lie in a shared basis of a few directions")
    trunk, basis = p.box(1.1, 0.5, "trunk"), p.box(2.2, 0.5, "basis B", wide=0.9, high=0.8)
    chain(p, start(p, 0.5), trunk, basis)
    for task, row in ((A, 0), (B, 1)):
        p.arrow(basis, p.box(3.45, row, f"head {task}: V", task))
    p.note(4.0, 0.5, "weights V B", "start")
    return p


@picture
def task_relation() -> Picture:
    """Outputs corrected by a network over all outputs."""
    p = Picture("task_relation: a small network over all outputs corrects each of them")
    trunk = p.box(1.1, 0.6, "trunk")
    p.arrow(start(p, 0.6), trunk)
    first = [p.box(2.2, row, f"head {task}", task) for task, row in ((A, 0), (B, 1.2))]
    for head in first:
        p.arrow(trunk, head)
    network = p.box(3.35, 0.6, "R", wide=0.6)
    for head, task, row in zip(first, AB, (0, 1.2), strict=True):
        p.arrow(head, network, task)
        total = p.dot(4.3, row, "+", task)
        p.arrow(head, total, task)
        p.arrow(network, total)
        p.arrow(total, p.box(5.3, row, f"output {task}", task))
    return p


@picture
def adversarial() -> Picture:
    """Private encoders beside a shared one that cannot tell the data sets apart."""
    p = Picture("adversarial: what is shared must not tell whose data it is")
    shared = p.box(1.2, 1.3, "shared")
    for task, row in ((A, 0.0), (B, 2.6)):
        data = p.box(0, row, f"data {task}", task, wide=0.7)
        own, join = p.box(1.2, row, f"private {task}", task), p.dot(2.4, row, "⊕", task)
        p.arrow(data, own)
        p.arrow(data, shared, task)
        p.arrow(own, join)
        p.arrow(shared, join)
        p.tie(own, shared, task)
        heads(p, 3.4, {task: row}, join)
    reversal, guess = p.box(2.65, 1.3, "reversal", "plain"), p.box(3.85, 1.3, "whose data?", wide=1.1)
    chain(p, shared, reversal, guess)
    p.note(3.95, 0, "⊕: joined", "start")
    p.note(3.95, 0.4, "broken line: kept orthogonal", "start")
    return p


@picture
def film() -> Picture:
    """The trunk runs once a task, conditioned on it."""
    p = Picture("film: one trunk that runs once for each task, scaled and shifted by its embedding")
    x = start(p, 1)
    for task, row, edge in ((A, 0.5, -0.5), (B, 1.5, 2.5)):
        trunk = stages(p, row, "shared", (1.1, 2.3, 3.5))
        chain(p, x, *trunk)
        embedding = p.box(0, edge, f"task {task}", task, wide=0.7)
        for stage in trunk:
            p.bend(embedding, stage, task)
        heads(p, 4.7, {task: row}, trunk[-1])
    p.note(2.3, 1, "the same weights in both rows")
    return p


@picture
def lora() -> Picture:
    """Beside each layer a task's own product of two thin matrices."""
    p = Picture("lora: the layers of one trunk, each with a thin correction of each task's own")
    x = start(p, 1)
    for task, row, edge in ((A, 0.5, -0.4), (B, 1.5, 2.4)):
        before = x
        for i in range(2):
            layer = p.box(1.3 + 1.9 * i, row, f"layer {i + 1}: W", "shared")
            thin = p.box(1.3 + 1.9 * i, edge, f"B{'₁₂'[i]}A{'₁₂'[i]}", task, wide=0.7, high=0.7)
            total = p.dot(2.15 + 1.9 * i, row, "+", task)
            p.arrow(before, layer)
            p.arrow(layer, total)
            p.bend(thin, total, task)
            p.arrow(before, thin, task)
            before = total
        heads(p, 5.1, {task: row}, before)
    return p


@picture
def adapters() -> Picture:
    """Behind each stage a small residual of each task."""
    p = Picture("adapters: a shared trunk, and a small residual of each task behind every stage")
    x = start(p, 1)
    for task, row, edge in ((A, 0.5, -0.4), (B, 1.5, 2.4)):
        before = x
        for i in range(2):
            stage = p.box(1.1 + 1.9 * i, row, f"stage {i + 1}", "frozen")
            total = p.dot(2.15 + 1.9 * i, row, "+", task)
            small = p.box(1.6 + 1.9 * i, edge, "adapter", task, wide=0.8, high=0.8)
            p.arrow(before, stage)
            p.arrow(stage, total)
            p.rise(stage, small, task)
            p.bend(small, total, task)
            before = total
        heads(p, 4.9, {task: row}, before)
    p.note(2.4, 1, "the same weights; here frozen, by backbone.freeze")
    return p


def main() -> None:
    """Writes all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in SHARINGS:
        (FOLDER / f"{name}.svg").write_text(PICTURES[name]().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
