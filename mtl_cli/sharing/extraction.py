"""One level of extraction: shared experts and own ones, mixed by gates."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mtl_cli.contracts import slot
from mtl_cli.sharing.experts import experts, mixed


class Extraction(nn.Module):
    """Each task's mixture of its own experts' and the shared ones' outputs.

        y_t = sum_e g_te S_te,  S_t = [E_t(x_t), E_s(x_s)],  g_t = softmax(W_t u_t)

    E_t, E_s: the task's own experts and the shared ones. u_t: what its gate reads.

    Shapes: {task: (B, D)}, {task: (B, read)} and (B, D) -> {task: (B, hidden[-1])}
    Source: Tang, Liu, Zhao, Gong, Progressive layered extraction (PLE), RecSys 2020, equations 1 to 3.
    """

    def __init__(
        self, tasks: Sequence[str], shared: int, own: int, width: int, hidden: Sequence[int], read: int
    ) -> None:
        super().__init__()
        self.shared = experts(shared, width, hidden)
        self.own = nn.ModuleDict({slot(task): experts(own, width, hidden) for task in tasks})
        self.gates = nn.ModuleDict({slot(task): nn.Linear(read, own + shared, bias=False) for task in tasks})

    def forward(self, vectors: Mapping[str, Tensor], read: Mapping[str, Tensor], common: Tensor) -> dict[str, Tensor]:
        """The mixtures of the tasks whose vectors are given."""
        shared, own = self.made(vectors, common)
        return self.mixtures(shared, own, read)

    def made(self, vectors: Mapping[str, Tensor], common: Tensor) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
        """What the shared experts make, and those of each task."""
        own = {task: made_by(self.own[slot(task)], vector) for task, vector in vectors.items()}
        return made_by(self.shared, common), own

    def mixtures(
        self, shared: list[Tensor], own: Mapping[str, list[Tensor]], read: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Each task's, by its gate."""
        gates = {task: self.gates[slot(task)](read[task]).softmax(dim=1) for task in own}
        return {task: mixed([*made, *shared], gates[task]) for task, made in own.items()}


class Passing(Extraction):
    """A level with another behind it, whose shared experts read a mixture of all experts of this one.

        y_s = sum_e g_se [E_1(x_1), ..., E_T(x_T), E_s(x_s)]_e,  g_s = softmax(W_s u_s)

    Shapes: as Extraction, of all tasks, and u_s (B, read) -> also y_s (B, hidden[-1])
    Source: Tang et al., RecSys 2020, section 4.2, figure 5.
    """

    def __init__(
        self, tasks: Sequence[str], shared: int, own: int, width: int, hidden: Sequence[int], read: int
    ) -> None:
        super().__init__(tasks, shared, own, width, hidden, read)
        self.shared_gate = nn.Linear(read, shared + own * len(tasks), bias=False)

    def onward(
        self,
        vectors: Mapping[str, Tensor],
        read: Mapping[str, Tensor],
        common: Tensor,
        common_read: Tensor,
        wanted: Sequence[str],
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The mixtures of the wanted tasks, and that of all experts."""
        shared, own = self.made(vectors, common)
        every = [*(made for experts_of in own.values() for made in experts_of), *shared]
        passed = mixed(every, self.shared_gate(common_read).softmax(dim=1))
        return self.mixtures(shared, {task: own[task] for task in wanted}, read), passed


def made_by(its_experts: nn.Module, vector: Tensor) -> list[Tensor]:
    """What each of them makes of a vector."""
    return [expert(vector) for expert in its_experts.children()]
