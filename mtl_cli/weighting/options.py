"""Options of the weighting room."""

from typing import Annotated

from msgspec import Meta

from mtl_cli.options import Option, Positive, Table


class Fixed(Option, tag="fixed"):
    """The plain sum of the losses, each with its `tasks.*.weight`."""


class Uw(Option, tag="uw"):
    """Homoscedastic uncertainty, learned with the network (Kendall 2018)."""

    init: Annotated[float, Meta(description="log variance at the start")]
    lr_factor: Annotated[Positive, Meta(description="learning rate of the log variances, relative to the network's")]


class Dwa(Option, tag="dwa"):
    """More weight to losses that fell less in the last epoch (Liu 2019)."""

    temperature: Annotated[Positive, Meta(description="higher: more even weights")]


WEIGHTINGS = Table(
    "weighting",
    (Fixed, "mtl_cli.weighting.fixed:FixedWeighting"),
    (Uw, "mtl_cli.weighting.uw:UncertaintyWeighting"),
    (Dwa, "mtl_cli.weighting.dwa:DynamicWeightAverage"),
)
