"""Which methods do not go together, said before any data is read."""

from collections.abc import Iterator, Sequence

from msgspec.structs import asdict

from mtl_cli.aggregation.base import Aggregation
from mtl_cli.aggregation.options import GramianOption, RenewedOption
from mtl_cli.commands.divide import parts_of
from mtl_cli.config import Config
from mtl_cli.data.options import RoundRobin
from mtl_cli.options import ConfigError, Option, tag, wrapped
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import SHARINGS
from mtl_cli.tasks.options import LOSSES
from mtl_cli.weighting.base import Weighting


def check(config: Config, weighting: Weighting, aggregation: Aggregation) -> None:
    """Raises ConfigError: one line that says why two choices do not go together, and what would do."""
    sharing: type[Sharing] = SHARINGS.target(config.sharing)
    _one_owner(config, weighting, aggregation)
    _something_shared(config, weighting, aggregation, sharing)
    _a_data_set_a_task(config, sharing)
    _a_trunk(config, aggregation, sharing)
    _losses(config, weighting, aggregation)
    if weighting.needs.heldout and config.data.held_out == 0:
        name = tag(config.weighting)
        raise ConfigError(f"weighting={name} looks at held-out data, and data.held_out=0 leaves none: take 0.1")


def one_part_a_step(config: Config, methods: Sequence[Weighting | Aggregation]) -> list[str]:
    """The line that says so where methods on gradients see the tasks of one part alone in a step."""
    parts = len(config.data.parts)
    looks = any(method.needs.level != "losses" for method in methods)
    if not looks or not isinstance(config.data.sampling, RoundRobin) or config.trainer.accumulate % parts == 0:
        return []
    seen = "1 part" if config.trainer.accumulate == 1 else f"{config.trainer.accumulate} parts"
    return [
        f"data.sampling=round_robin: a step balances the tasks of {seen}; trainer.accumulate={parts} lets it see all"
    ]


def approximations(config: Config) -> list[str]:
    """The lines that call by their name the switches that make an aggregation cheaper and not exact."""
    lines = []
    for key, option in _wrapping("aggregation", config.aggregation):
        if isinstance(option, GramianOption) and option.gradients != "shared":
            where = {"bottleneck": "the trunk's output", "last_stage": "the last shared stage"}[option.gradients]
            lines.append(
                f"{key}.gradients={option.gradients}: an approximation, the weights come of the gradients at {where}"
            )
        if isinstance(option, RenewedOption) and option.every > 1:
            lines.append(
                f"{key}.every={option.every}: an approximation, the weights are renewed every {option.every} steps"
            )
    return lines


def _wrapping(key: str, option: Option) -> Iterator[tuple[str, Option]]:
    """An option, and what it wraps, each with the key that it stands under."""
    yield key, option
    for field in wrapped(type(option)):
        yield from _wrapping(f"{key}.{field}", asdict(option)[field])


def _one_owner(config: Config, weighting: Weighting, aggregation: Aggregation) -> None:
    if weighting.needs.plain_step and aggregation.needs.level != "losses":
        mine, its = tag(config.weighting), tag(config.aggregation)
        raise ConfigError(
            f"weighting={mine} is derived for the step of the plain sum, and aggregation={its} takes another: take "
            f"aggregation=sum, or another weighting"
        )


def _something_shared(config: Config, weighting: Weighting, aggregation: Aggregation, sharing: type[Sharing]) -> None:
    if sharing.shares or len(config.tasks) == 1:
        return
    name = tag(config.sharing)
    for group, method, option in (
        ("aggregation", aggregation, config.aggregation),
        ("weighting", weighting, config.weighting),
    ):
        if method.needs.level != "losses":
            plain = {"aggregation": "sum", "weighting": "fixed"}[group]
            raise ConfigError(
                f"{group}={tag(option)} looks at gradients of shared parameters, and with sharing={name} no parameter "
                f"is reached by two tasks: take {group}={plain}, or sharing=hard"
            )


def _a_data_set_a_task(config: Config, sharing: type[Sharing]) -> None:
    by_part: dict[str, str] = {}
    for task, part in parts_of(config).items():
        if sharing.data_set_a_task and part in by_part:
            raise ConfigError(
                f"sharing={tag(config.sharing)} needs a data set of its own for each task, and "
                f"tasks.{by_part[part]} and tasks.{task} share data.parts.{part}: take another sharing, such as hard"
            )
        by_part[part] = task


def _a_trunk(config: Config, aggregation: Aggregation, sharing: type[Sharing]) -> None:
    if aggregation.needs.at != "trunk" or len(config.tasks) == 1:
        return
    *_, (key, option) = _wrapping("aggregation", config.aggregation)
    switch = isinstance(option, GramianOption)
    asked = f"{key}.gradients=bottleneck of {tag(option)}" if switch else f"{key}={tag(option)}"
    way_out = f"{key}.gradients=shared" if switch else "another aggregation"
    reads = [f"tasks.{task}.head.at={option.head.at}" for task, option in config.tasks.items() if option.head.at]
    if not sharing.trunk or reads:
        found = reads[0] if sharing.trunk else f"sharing={tag(config.sharing)}"
        raise ConfigError(
            f"{asked} needs one tensor that all tasks read and no shared parameter lies behind, and {found} has none: "
            f"take sharing=hard with heads on its vector, or {way_out}"
        )


def _losses(config: Config, weighting: Weighting, aggregation: Aggregation) -> None:
    asked = [f"weighting={tag(config.weighting)}"] if weighting.needs.positive else []
    if aggregation.needs.positive:
        asked.append(f"aggregation={tag(config.aggregation)} as it is set")
    for task, option in config.tasks.items():
        if asked and not LOSSES.target(option.loss).nonnegative:
            raise ConfigError(
                f"{asked[0]} needs losses that are never below zero, and "
                f"tasks.{task}.loss.name={tag(option.loss)} may be: take another loss or {asked[0].partition('=')[0]}"
            )
