"""An epoch of `mtl train task=cifar_multi` beside hand-written ones, a part of it at a time, by turns.

mtl's side is the loop's own code with its logs: input, step, totals, metrics.jsonl. By hand: the usual DataLoader with
two workers and torchvision's v2 transforms on each sample; and a loop that keeps images in memory and augments batches.
"""

import copy
import io
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from bench.sides import Side, keeping, leave_the_heap_alone, standing
from bench.step import modules
from bench.turns import Found, Step, Told, by_turns, row
from mtl_cli import schema
from mtl_cli.beneath import CONF
from mtl_cli.commands import train
from mtl_cli.commands.assemble import Built, assemble
from mtl_cli.config import Config
from mtl_cli.data.base import PartData, Preparation
from mtl_cli.processes import Processes
from mtl_cli.reporting.log import RunLog
from mtl_cli.reporting.status import StatusFile
from mtl_cli.reporting.terminal import open_screen
from mtl_cli.session import Session
from mtl_cli.training import fit
from mtl_cli.training.progress import Progress
from mtl_cli.training.stop import Stop
from mtl_cli.training.watch import Watch

ABOUT = (
    "Training of `task=cifar_multi` as it stands (cnn with batch norm, batch 128, AdamW on one cycle), some steps of\n"
    "its epoch a turn, without evaluation and checkpoint; by hand the same network, loss, optimizer and augmentation."
)
STEPS, FEWEST = 40, 10
"""In a turn, and where the machine has time for less."""
TURNS, SPARE = 10, 10
"""How many there are, and how many at most before they count."""
Batches = Iterator[tuple[Tensor, dict[str, Tensor]]]


def configured(told: Told) -> Config:
    """As a user would write it."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        words = ["task=cifar_multi", f"device={told.device.type}", "plots=false", "tensorboard=false"]
        composed = compose("train", words, return_hydra_config=True)
    raw = cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=False))
    del raw["hydra"], raw["task"]
    plain = OmegaConf.to_container(OmegaConf.create(raw), resolve=True)
    return schema.check({**cast("dict[str, Any]", plain), "task": "cifar_multi"}, [CONF])


def by_mtl(config: Config, built: Built, folder: Path, steps: int) -> Step:
    """The loop's own code, in a run directory."""
    job = train.Job(config, Session("train", [], {}, None), built, None, folder, Processes())
    progress = Progress(list(built.data.tasks), config.trainer.epochs)
    primary = {name: task.option.primary for name, task in built.data.tasks.items()}
    screen, status = open_screen(io.StringIO(), RunLog(folder)), StatusFile(folder, "")
    watch = Watch(screen, status, primary, config.trainer)
    records = train._records(job)  # noqa: SLF001  # the loop as the command has it, a part of it at a time
    run = train._loop(job, progress, watch, records)  # noqa: SLF001  # as above
    stop = Stop()

    def turn(number: int) -> None:  # noqa: ARG001  # all sides take the same
        limit = msgspec.structs.replace(run.options, max_steps=progress.step + steps)
        fit._train(run._replace(options=limit), progress, stop)  # noqa: SLF001  # as above
        if progress.batch == run.loaders.train.steps:
            progress.epoch, progress.batch = progress.epoch + 1, 0

    return turn


class Given(NamedTuple):
    """What a loop by hand is made for: train, batches of so many samples, and so many of them in a turn."""

    data: PartData
    preparation: Preparation
    batch: int
    steps: int
    device: torch.device


class Images(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images in memory, each transformed when it is asked for."""

    def __init__(self, data: PartData, preparation: Preparation) -> None:
        assert isinstance(data.inputs, Tensor)
        self._inputs = data.inputs.cpu()
        self._targets = {task: target.cpu() for task, target in data.targets.items()}
        mean, std = ([value / 255 for value in values] for values in (preparation.mean, preparation.std))
        crop = v2.RandomCrop(self._inputs.shape[-2:], padding=preparation.crop)
        scaled = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
        self._transform = v2.Compose([crop, v2.RandomHorizontalFlip(), *scaled])

    def __len__(self) -> int:
        return len(self._inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self._transform(self._inputs[index]), {task: target[index] for task, target in self._targets.items()}


class Turns(Sampler[int]):
    """A turn's samples, drawn without replacement."""

    def __init__(self, count: int, taken: int) -> None:
        self._count, self._taken = count, taken

    def __len__(self) -> int:
        return self._taken

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self._count)[: self._taken].tolist())


def from_loader(given: Given) -> Callable[[], Batches]:
    """The usual loader; its workers stay from turn to turn."""
    data, preparation, batch, steps, device = given
    images = Images(data, preparation)
    loader: DataLoader[tuple[Tensor, dict[str, Tensor]]] = DataLoader(
        images, batch, sampler=Turns(len(images), steps * batch), num_workers=2, persistent_workers=True,
        pin_memory=device.type == "cuda",
    )  # fmt: skip

    def batches() -> Batches:
        for inputs, targets in loader:
            there = {task: target.to(device, non_blocking=True) for task, target in targets.items()}
            yield inputs.to(device, non_blocking=True), there

    return batches


def from_memory(given: Given) -> Callable[[], Batches]:
    """Bytes in memory, on the device; a batch is cropped by one gather, flipped and scaled at once."""
    data, preparation, batch, steps, device = given
    assert isinstance(data.inputs, Tensor)
    border, side = preparation.crop, data.inputs.shape[-1]
    padded = functional.pad(data.inputs.to(device), (border,) * 4)
    targets = {task: target.to(device) for task, target in data.targets.items()}
    mean, std = (torch.tensor(v, device=device).view(-1, 1, 1) for v in (preparation.mean, preparation.std))
    span = torch.arange(side, device=device)

    def augmented(rows: Tensor) -> Tensor:
        down, right = torch.randint(0, 2 * border + 1, (2, len(rows)), device=device)
        across = right[:, None] + torch.where(torch.rand(len(rows), 1, device=device) < 0.5, span.flip(0), span)
        places = (down[:, None] + span)[:, :, None] * padded.shape[-1] + across[:, None, :]
        index = places.flatten(1)[:, None].expand(-1, padded.shape[1], -1)
        cut = padded[rows].flatten(2).gather(2, index).view(len(rows), -1, side, side)
        return (cut.float() - mean) / std

    def batches() -> Batches:
        order = torch.randperm(len(padded), device=device)
        for rows in order[: steps * batch].split(batch):
            yield augmented(rows), {task: target[rows] for task, target in targets.items()}

    return batches


def by_hand(config: Config, built: Built, batches: Callable[[], Batches], steps: int) -> Step:
    """The loop that one would write around those batches; it adds up its losses, and reads them once a turn."""
    model = copy.deepcopy(built.model).train()
    backbone, heads = modules(model)
    many, one = ([p for p in model.parameters() if (p.dim() > 1) == more] for more in (True, False))
    settings = msgspec.structs.asdict(config.optimizer)
    lr, decay = settings.pop("lr"), settings.pop("weight_decay")
    groups = [{"params": many, "weight_decay": decay}, {"params": one, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, **settings)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)

    def loss_of(head: nn.Module, vector: Tensor, target: Tensor) -> Tensor:
        output = head(vector)
        if target.is_floating_point():
            return functional.binary_cross_entropy_with_logits(output[:, 0], target)
        return functional.cross_entropy(output, target)

    def turn(number: int) -> None:  # noqa: ARG001  # all sides take the same
        total = torch.zeros(len(heads), device=built.device)
        for inputs, targets in batches():
            vector = backbone(inputs).vector
            losses = torch.stack([loss_of(heads[task], vector, target) for task, target in targets.items()])
            optimizer.zero_grad(set_to_none=True)
            losses.sum().backward()
            optimizer.step()
            schedule.step()
            total += losses.detach()
        total.tolist()

    return turn


def mtl_side(told: Told, folder: str, steps: int) -> Step:
    """By mtl."""
    config = configured(told)
    return by_mtl(config, assemble(config, None, Processes()), Path(folder), steps)


def hand_side(told: Told, batches: Callable[[Given], Callable[[], Batches]], schedule: int, steps: int) -> Step:
    """By hand."""
    leave_the_heap_alone()
    config = configured(told)
    built = assemble(config, None, Processes())
    images, preparation = built.data.splits["train"]["images"], built.data.known.preparations["images"]
    given = Given(images, preparation, config.trainer.batch_size, steps, built.device)
    return by_hand(config, built, batches(given), schedule)


def measure(told: Told) -> Found:
    """Sides that take turns; nothing without CIFAR-10."""
    turns, steps = told.turns(TURNS), max(FEWEST, round(told.share * STEPS))
    schedule = (SPARE + turns) * steps + 1
    loader, memory = (partial(hand_side, told, source, schedule, steps) for source in (from_loader, from_memory))
    hands: dict[str, tuple[Side, float | None]] = {
        "a DataLoader, 2 workers": (loader, 0.6),
        "data in memory": (memory, 1.03),
        "data and freed memory kept": (partial(keeping, memory), None),
    }
    with tempfile.TemporaryDirectory() as folder:
        sides = [partial(mtl_side, told, folder, steps), *(side for side, _ in hands.values())]
        with standing(sides, told) as ready:
            found = by_turns(ready, TURNS, told)
    mine, *others = [[ms / steps for ms in times] for times in found]
    for (name, (_, bar)), its in zip(hands.items(), others, strict=True):
        yield row(f"epoch of cifar_multi, {steps} steps a turn", f"by hand, {name}", mine, its, bar)
