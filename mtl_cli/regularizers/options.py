"""Options of the regularizer room: penalties on parameters, added after balancing."""

from typing import Annotated, Literal

from msgspec import Meta

from mtl_cli.options import Count, NonNegative, Option, Table


class RegularizerOption(Option):
    """What every regularizer has."""

    weight: Annotated[NonNegative, Meta(description="multiplies the penalty")]
    parameters: Annotated[Literal["shared", "task", "all"], Meta(description="which parameters it holds down")]


class L1(RegularizerOption, tag="l1"):
    """Sum of absolute values (Tibshirani 1996)."""


class L2(RegularizerOption, tag="l2"):
    """Half the sum of squares (Hoerl and Kennard 1970)."""


class GroupLasso(RegularizerOption, tag="group_lasso"):
    """Sum of the norms of each input's weights over all tasks: L2,1 (Obozinski 2010)."""


class Orthogonality(RegularizerOption, tag="orthogonality"):
    """How far matrices are from orthonormal rows or columns (Bansal 2018)."""


class Mtrl(RegularizerOption, tag="mtrl"):
    """Learns how tasks relate from a layer that each has in one shape, and draws related ones together (Zhang 2010)."""

    parameters: Annotated[Literal["task"], Meta(description="a layer of each task's own")]
    every: Annotated[Count, Meta(description="steps between two renewals of the tasks' covariance")]
    ridge: Annotated[
        float, Meta(gt=0, le=1, description="share of independent tasks in the covariance, so that it has an inverse")
    ]


REGULARIZERS = Table(
    "regularizer",
    (L1, "mtl_cli.regularizers.l1:L1Regularizer"),
    (L2, "mtl_cli.regularizers.l2:L2Regularizer"),
    (GroupLasso, "mtl_cli.regularizers.group_lasso:GroupLassoRegularizer"),
    (Orthogonality, "mtl_cli.regularizers.orthogonality:OrthogonalityRegularizer"),
    (Mtrl, "mtl_cli.regularizers.mtrl:MtrlRegularizer"),
)
