"""Running statistics of batch norm, held apart from the network that they are lent to."""

from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Statistics(nn.Module):
    """A copy of every running statistic of a network: for one part, or for one task where a trunk runs once a task.

    Those that a network holds apart already, for its tasks, are among them. They take the place of the network's own
    for the length of a call: `functional_call(network, by_name(), ...)`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        norms = {name for name, module in network.named_modules() if isinstance(module, (*NORMS, Statistics))}
        self._names = [name for name, _ in network.named_buffers() if name.rpartition(".")[0] in norms]
        for name in self._names:
            self.register_buffer(_flat(name), network.get_buffer(name).clone())

    def by_name(self) -> dict[str, Tensor]:
        """The buffers under their names in the network."""
        return {name: self.get_buffer(_flat(name)) for name in self._names}


def _flat(name: str) -> str:
    return name.replace(".", "/")
