"""Options of the regularizer room: penalties on parameters, added after balancing."""

from typing import Annotated, Literal

from msgspec import Meta

from mtl_cli.options import NonNegative, Option, Table


class RegularizerOption(Option):
    """What every regularizer has."""

    weight: Annotated[NonNegative, Meta(description="multiplies the penalty")]
    parameters: Annotated[Literal["shared", "task", "all"], Meta(description="which parameters it holds down")]


class L1(RegularizerOption, tag="l1"):
    """Sum of absolute values (Tibshirani 1996)."""


class L2(RegularizerOption, tag="l2"):
    """Half the sum of squares (Hoerl and Kennard 1970)."""


REGULARIZERS = Table(
    "regularizer",
    (L1, "mtl_cli.regularizers.l1:L1Regularizer"),
    (L2, "mtl_cli.regularizers.l2:L2Regularizer"),
)
