"""A backbone for each task."""

from collections.abc import Mapping

from mtl_cli.backbones.base import BackboneFactory
from mtl_cli.sharing.network_a_task import NetworkATask
from mtl_cli.sharing.options import Independent


class IndependentSharing(NetworkATask):
    """No task shares a parameter with another: single-task learning, all tasks in one run.

    f_t(x) = f(x; theta_t), all theta_t equal at the start

    Shapes: inputs (B, ...) -> Features of (B, ...)
    """

    def __init__(self, option: Independent, factory: BackboneFactory, tasks: Mapping[str, int]) -> None:
        super().__init__(factory, tasks)
