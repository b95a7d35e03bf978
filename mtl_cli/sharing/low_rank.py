"""One backbone, and task weights forced through a basis that all tasks share."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.backbones.base import BackboneFactory, Features, Spec
from mtl_cli.options import ConfigError
from mtl_cli.sharing.base import Sharing
from mtl_cli.sharing.options import LowRank


class LowRankSharing(Sharing):
    """Every task reads the same few directions of one backbone's vector, so the weights of linear heads have low rank.

        y_t = W_t h(x) + b_t,  W_t = V_t B,  the stack of all W_t = V B of rank r

    h: the backbone's vector (D). B (r, D): the basis that tasks share. V_t: the weights of task t's linear head.

    Shapes: inputs (B, ...) -> Features of (B, ...), their vector (B, rank)
    Raises: ConfigError: the rank is larger than the backbone's vector is wide.
    Note:   another head than a linear one reads the r directions in its own way; one that reads a stage (`head.at`)
            reads it whole. In the paper W_t also has a part outside of the basis, held down by a penalty; not here.
    Source: Ando, Zhang, A framework for learning predictive structures from multiple tasks and unlabeled data, JMLR 6,
            2005, section 3.1, equation 3 without its full-rank part.
    """

    trunk = True

    def __init__(self, option: LowRank, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__()
        width = factory.spec.width
        if option.rank > width:
            raise ConfigError(
                f"sharing.rank={option.rank} is more than the backbone's vector is wide: take at most {width}"
            )
        self.backbone = factory()
        self.basis = nn.Linear(width, option.rank, bias=False)
        self._spec = Spec(option.rank, factory.spec.stages, factory.spec.opaque)

    def forward(self, inputs: Tensor, tasks: Sequence[str]) -> dict[str, Features]:
        """One pass, given to each task."""
        whole = self.backbone(inputs)
        vector = self.basis(whole.vector)
        return dict.fromkeys(tasks, Features(vector, whole.stages, vector, {}))

    def spec(self, task: str) -> Spec:  # the same for every task
        """The backbone's stages, and a vector of the rank."""
        return self._spec

    def last_stage(self) -> list[nn.Parameter]:
        """The basis."""
        return list(self.basis.parameters())
