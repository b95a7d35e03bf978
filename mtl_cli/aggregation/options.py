"""Options of the aggregation room."""

from typing import Annotated

from msgspec import Meta

from mtl_cli.options import NonNegative, Option, Share, Table


class Sum(Option, tag="sum"):
    """The plain sum of the tasks' gradients: one backward pass."""


class Pcgrad(Option, tag="pcgrad"):
    """Each gradient loses what points against another's (Yu 2020)."""


class Db(Option, tag="db"):
    """Smoothed gradients, all scaled to the largest norm: the gradient half of DB-MTL (Lin 2023)."""

    beta: Annotated[Share, Meta(description="share of the past in the running mean")]
    sigma: Annotated[NonNegative, Meta(description="decay of that share with the step k: beta / k^sigma")]


AGGREGATIONS = Table(
    "aggregation",
    (Sum, "mtl_cli.aggregation.sum:Sum"),
    (Pcgrad, "mtl_cli.aggregation.pcgrad:Pcgrad"),
    (Db, "mtl_cli.aggregation.db:DualBalancing"),
)
