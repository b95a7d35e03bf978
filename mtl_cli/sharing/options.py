"""Options of the sharing room."""

from typing import Annotated, Literal

from msgspec import Meta

from mtl_cli.options import Count, NonNegative, Option, Positive, Share, Table

Places = Annotated[list[str], Meta(min_length=1)]
"""Names of stages."""


class Hard(Option, tag="hard"):
    """One backbone for all tasks, a head for each (Caruana 1997)."""

    split_at: Annotated[str | None, Meta(description="stage where the trunk ends; null: the whole backbone")]


class Independent(Option, tag="independent"):
    """A backbone for each task, nothing shared: the single-task reference in one run."""


class Soft(Option, tag="soft"):
    """A backbone for each task, held close to the others by a penalty on their distance (Duong 2015, Yang 2017)."""

    distance: Annotated[
        Literal["l2", "l1", "group", "trace_norm"], Meta(description="between corresponding parameters")
    ]
    strength: Annotated[NonNegative, Meta(description="lambda of the stages that have none of their own")]
    stages: Annotated[dict[str, NonNegative], Meta(description="a lambda of its own for each stage that is named")]


class Adversarial(Option, tag="adversarial"):
    """A shared backbone that cannot tell tasks apart, beside one a task; a data set for each task (Liu 2017)."""

    strength: Annotated[NonNegative, Meta(description="lambda of the reversed guess which task a sample is of")]
    orthogonality: Annotated[NonNegative, Meta(description="gamma of the penalty on own features that repeat shared")]


class Lora(Option, tag="lora"):
    """A backbone that runs once a task, its weights changed by the task's own matrices of low rank (Hu 2022)."""

    rank: Annotated[Count, Meta(description="of each task's change of a weight")]
    alpha: Annotated[
        Positive, Meta(description="the change is multiplied by alpha / rank, of a smaller weight / its own")
    ]
    shared_rank: Annotated[int, Meta(ge=0, description="of a change that all tasks have; 0: none")]
    at: Annotated[Places | None, Meta(description="stages whose weights are changed; null: all")]


class Adapters(Option, tag="adapters"):
    """A backbone that runs once a task, with a residual bottleneck of the task's own after stages (Houlsby 2019)."""

    width: Annotated[Count, Meta(description="of the bottleneck")]
    at: Annotated[Places | None, Meta(description="stages after which there is one; null: all")]


class Film(Option, tag="film"):
    """A backbone that runs once a task, scaled and shifted as the task's embedding says (Perez 2018)."""

    embedding: Annotated[Count, Meta(description="numbers in a task's embedding")]
    at: Annotated[Places | None, Meta(description="stages after which it conditions; null: all")]


class CrossStitch(Option, tag="cross_stitch"):
    """A backbone for each task; learned linear mixtures of their features after every stage (Misra 2016)."""

    same: Annotated[float, Meta(ge=0, le=1, description="a network's own share at the start; the others get the rest")]
    per_channel: Annotated[bool, Meta(description="a mixture for each channel; false: one a stage")]
    lr_factor: Annotated[Positive, Meta(description="learning rate of the mixtures, relative to the network's")]


class Nddr(Option, tag="nddr"):
    """A backbone for each task; after every stage their features are joined and reduced for each (Gao 2019)."""

    same: Annotated[float, Meta(ge=0, le=1, description="a network's own share at the start; the others get the rest")]
    lr_factor: Annotated[Positive, Meta(description="learning rate of the reductions, relative to the network's")]


class Sluice(Option, tag="sluice"):
    """A backbone for each task; subspaces of stages are mixed, and heads read all stages (Ruder 2019)."""

    subspaces: Annotated[Count, Meta(description="of each network's channels")]
    same: Annotated[float, Meta(ge=0, le=1, description="a subspace's own share at the start; the others get the rest")]
    last: Annotated[float, Meta(ge=0, le=1, description="the last stage's share of what heads read at the start")]
    orthogonality: Annotated[NonNegative, Meta(description="weight of the penalty on subspaces that overlap")]
    lr_factor: Annotated[Positive, Meta(description="learning rate of the mixtures, relative to the network's")]


class Mmoe(Option, tag="mmoe"):
    """A backbone for all tasks, experts on its vector, and a gate a task that mixes them (Ma 2018)."""

    experts: Annotated[Count, Meta(description="how many")]
    hidden: Annotated[list[Count], Meta(min_length=1, description="widths of each expert's layers")]
    gate_at: Annotated[str | None, Meta(description="a stage that gates read, pooled; null: what experts read")]


class Cgc(Option, tag="cgc"):
    """A backbone for all tasks, shared experts and own ones on its vector, and a gate a task (Tang 2020)."""

    shared_experts: Annotated[Count, Meta(description="that all tasks mix")]
    task_experts: Annotated[Count, Meta(description="of each task's own")]
    hidden: Annotated[list[Count], Meta(min_length=1, description="widths of each expert's layers")]
    gate_at: Annotated[str | None, Meta(description="a stage that gates read, pooled; null: what experts read")]


class Ple(Option, tag="ple"):
    """Levels of cgc, with a shared gate between them: progressive layered extraction (Tang 2020)."""

    levels: Annotated[Count, Meta(description="of extraction; 1 is cgc")]
    shared_experts: Annotated[Count, Meta(description="that all tasks mix, on each level")]
    task_experts: Annotated[Count, Meta(description="of each task's own, on each level")]
    hidden: Annotated[list[Count], Meta(min_length=1, description="widths of each expert's layers")]
    gate_at: Annotated[str | None, Meta(description="a stage that the first gates read, pooled; null: the vector")]


class DselectK(Option, tag="dselect_k"):
    """A backbone for all tasks, experts on its vector, and a sparse mixture of k of them a task (Hazimeh 2021)."""

    experts: Annotated[int, Meta(ge=2, description="how many")]
    k: Annotated[Count, Meta(description="experts that each task selects")]
    gamma: Annotated[Positive, Meta(description="temperature: the width in which a selector is undecided")]
    entropy: Annotated[NonNegative, Meta(description="weight of the penalty on undecided selectors")]
    by_sample: Annotated[bool, Meta(description="weights depend on the sample; false: on the task alone")]
    hidden: Annotated[list[Count], Meta(min_length=1, description="widths of each expert's layers")]
    gate_at: Annotated[str | None, Meta(description="a stage that gates read by sample, pooled; null: the vector")]


class LowRank(Option, tag="low_rank"):
    """A backbone for all tasks; linear heads' weights are made of few shared directions (Ando and Zhang 2005)."""

    rank: Annotated[Count, Meta(description="of all tasks' weights together")]


class TaskRelation(Option, tag="task_relation"):
    """A backbone for all tasks, and a small network over all heads' outputs that corrects each."""

    hidden: Annotated[Count, Meta(description="width of that network")]


class Tree(Option, tag="tree"):
    """A backbone that branches at given stages: tasks of a group share them, groups have copies of their own."""

    branches: Annotated[dict[str, list[list[str]]], Meta(description="stage -> the groups that tasks part into there")]


class Ltb(Option, tag="ltb"):
    """A tree over the backbone's stages that is learned by drawing, and shipped as a fixed one (Guo 2020)."""

    nodes: Annotated[Count | None, Meta(description="copies of each stage to draw from; null: one a task")]
    temperature: Annotated[Positive, Meta(description="of the draws at the start: the higher, the more alike")]
    last_temperature: Annotated[Positive, Meta(description="of the draws at the end")]
    warmup: Annotated[Share, Meta(description="share of the steps in which branching does not learn yet")]
    lr_factor: Annotated[Positive, Meta(description="learning rate of the branching, relative to the network's")]


class Mtan(Option, tag="mtan"):
    """A backbone for all tasks, and attention a task that picks from each of its stages (Liu 2019)."""

    width: Annotated[
        Positive, Meta(description="of the attention's middle layer, in multiples of the stage's channels")
    ]


SHARINGS = Table(
    "sharing",
    (Hard, "mtl_cli.sharing.hard:HardSharing"),
    (Independent, "mtl_cli.sharing.independent:IndependentSharing"),
    (Soft, "mtl_cli.sharing.soft:SoftSharing"),
    (Adversarial, "mtl_cli.sharing.adversarial:AdversarialSharing"),
    (Lora, "mtl_cli.sharing.lora:LoraSharing"),
    (Adapters, "mtl_cli.sharing.adapters:AdaptersSharing"),
    (Film, "mtl_cli.sharing.film:FilmSharing"),
    (CrossStitch, "mtl_cli.sharing.cross_stitch:CrossStitchSharing"),
    (Nddr, "mtl_cli.sharing.nddr:NddrSharing"),
    (Sluice, "mtl_cli.sharing.sluice:SluiceSharing"),
    (Mmoe, "mtl_cli.sharing.mmoe:MmoeSharing"),
    (Cgc, "mtl_cli.sharing.cgc:CgcSharing"),
    (Ple, "mtl_cli.sharing.ple:PleSharing"),
    (DselectK, "mtl_cli.sharing.dselect_k:DselectKSharing"),
    (LowRank, "mtl_cli.sharing.low_rank:LowRankSharing"),
    (TaskRelation, "mtl_cli.sharing.task_relation:TaskRelationSharing"),
    (Tree, "mtl_cli.sharing.tree:TreeSharing"),
    (Ltb, "mtl_cli.sharing.ltb:LtbSharing"),
    (Mtan, "mtl_cli.sharing.mtan:MtanSharing"),
)
