"""Options of the training room: optimizer, schedule, trainer and device."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mtl_cli.options import Count, Index, NonNegative, Option, Positive, Share, Table


class OptimizerOption(Option):
    """What every optimizer has."""

    lr: Annotated[Positive, Meta(description="highest learning rate")]
    weight_decay: Annotated[NonNegative, Meta(description="decay of weights of two or more dimensions")]


class Sgd(OptimizerOption, tag="sgd"):
    """Stochastic gradient descent with momentum."""

    momentum: Annotated[Share, Meta(description="share of the past step")]
    nesterov: Annotated[bool, Meta(description="look ahead by the momentum")]


class Adam(OptimizerOption, tag="adam"):
    """Adam (Kingma and Ba 2015); weight decay goes into the gradient."""

    betas: Annotated[tuple[Share, Share], Meta(description="decay of the two running means")]
    eps: Annotated[Positive, Meta(description="added to the denominator")]


class Adamw(OptimizerOption, tag="adamw"):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    betas: Annotated[tuple[Share, Share], Meta(description="decay of the two running means")]
    eps: Annotated[Positive, Meta(description="added to the denominator")]


OPTIMIZERS = Table("optimizer", (Sgd, "torch.optim:SGD"), (Adam, "torch.optim:Adam"), (Adamw, "torch.optim:AdamW"))


class SchedulerOption(Option):
    """What every schedule has: its length and a linear warm-up before it."""

    total_epochs: Annotated[Count | None, Meta(description="length of the schedule; null: trainer.epochs at the start")]
    warmup_epochs: Annotated[NonNegative, Meta(description="epochs of linear rise from zero to the full rate")]


class Constant(SchedulerOption, tag="none"):
    """A constant learning rate."""


class Step(SchedulerOption, tag="step"):
    """Multiplied by gamma every so many epochs."""

    every_epochs: Annotated[Positive, Meta(description="epochs between two steps")]
    gamma: Annotated[Positive, Meta(description="factor at each step")]


class Multistep(SchedulerOption, tag="multistep"):
    """Multiplied by gamma at given epochs."""

    milestones: Annotated[list[Positive], Meta(min_length=1, description="epochs of the steps")]
    gamma: Annotated[Positive, Meta(description="factor at each step")]


class Cosine(SchedulerOption, tag="cosine"):
    """Half a cosine from the full rate to the final one (Loshchilov and Hutter 2017)."""

    final_factor: Annotated[float, Meta(ge=0, le=1, description="last rate, relative to the full one")]


class OneCycle(SchedulerOption, tag="one_cycle"):
    """Cosine rise from lr / start_div, then cosine fall to lr / end_div (Smith and Topin 2018)."""

    rise: Annotated[Share, Meta(description="share of the schedule that rises")]
    start_div: Annotated[Positive, Meta(description="full rate over first rate")]
    end_div: Annotated[Positive, Meta(description="full rate over last rate")]


SCHEDULERS = Table(
    "scheduler",
    (Constant, "mtl_cli.training.schedule:constant"),
    (Step, "mtl_cli.training.schedule:step"),
    (Multistep, "mtl_cli.training.schedule:multistep"),
    (Cosine, "mtl_cli.training.schedule:cosine"),
    (OneCycle, "mtl_cli.training.schedule:one_cycle"),
)


class TrainerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long and how to train."""

    epochs: Annotated[Count, Meta(description="passes over the training data")]
    max_steps: Annotated[Count | None, Meta(description="stop after so many steps; null: no such limit")]
    processes: Annotated[
        Count | None, Meta(description="that train together on this machine; null: one, or those of torchrun")
    ]
    sync_batchnorm: Annotated[
        bool, Meta(description="batch norm over the rows of all processes, as one has them; else over each one's own")
    ]
    batch_size: Annotated[Count, Meta(description="samples of each part in one forward pass, of all processes")]
    eval_batch_size: Annotated[Count, Meta(description="samples of each part in one evaluation pass")]
    accumulate: Annotated[Count, Meta(description="forward passes for one step of the optimizer")]
    clip_norm: Annotated[Positive | None, Meta(description="largest norm of the whole gradient; null: no clipping")]
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "auto"],
        Meta(description="bf16, fp16: forward passes under autocast; fp16 on CUDA; auto: bf16 on GPUs that have it"),
    ]
    ema: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(
            description="evaluate and ship a moving average of the weights, with this decay a step; null: the weights"
        ),
    ]
    memory_format: Annotated[
        Literal["auto", "contiguous", "channels_last"],
        Meta(description="how maps lie in memory; auto tries both in the first steps and keeps the faster"),
    ]
    on_nonfinite: Annotated[
        Literal["stop", "skip_task", "skip_step"],
        Meta(description="what ends, or is left out, where a loss or gradient is not finite"),
    ]
    compile: Annotated[
        bool | Literal["auto"],
        Meta(description="compile the training passes with torch.compile; auto: where first steps show that it pays"),
    ]
    deterministic: Annotated[bool, Meta(description="only algorithms that give the same bits each time; may be slower")]
    profile: Annotated[bool, Meta(description="write where the time of a step goes, and a trace of torch's profiler")]
    select: Annotated[str, Meta(description="best epoch by mean or worst skill, or by one task's primary metric")]
    patience: Annotated[Count | None, Meta(description="epochs without a better one before stopping; null: never")]
    save_every: Annotated[Count | None, Meta(description="steps between checkpoints within an epoch; null: at its end")]
    log_every: Annotated[Count, Meta(description="steps between two lines in metrics.jsonl")]


class DeviceOption(Option):
    """What every device has."""

    index: Annotated[Index | None, Meta(description="which one of several; null: the first")]
    threads: Annotated[Count | None, Meta(description="CPU threads; null: one a core")]


class Auto(DeviceOption, tag="auto"):
    """The first that is there of cuda, mps, cpu."""


class Cpu(DeviceOption, tag="cpu"):
    """The processor."""


class Cuda(DeviceOption, tag="cuda"):
    """An NVIDIA or AMD GPU."""


class Mps(DeviceOption, tag="mps"):
    """Apple's GPU."""


DEVICES = Table(
    "device",
    (Auto, "mtl_cli.training.device:auto"),
    (Cpu, "mtl_cli.training.device:cpu"),
    (Cuda, "mtl_cli.training.device:cuda"),
    (Mps, "mtl_cli.training.device:mps"),
)
