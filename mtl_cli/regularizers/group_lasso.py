"""The group lasso over tasks."""

from collections.abc import Iterable

import torch
from torch import Tensor

from mtl_cli.regularizers.base import Held, Regularizer, total


class GroupLassoRegularizer(Regularizer):
    """weight * sum_j |[W_1[:, j]; ...; W_T[:, j]]|_2: an input that no task needs is let go by all together.

    W_t: task t's own matrix (out, in ...) in a layer that tasks have, as many outputs as it has; those with equal
    inputs are one group for each input j. Of a shared matrix each input is a group. Of a convolution an input is a
    channel. Vectors, such as biases, are left alone.

    Source: Obozinski, Taskar, Jordan, Joint covariate selection and joint subspace selection for multiple
            classification problems, Statistics and Computing 20, 2010, section 2. Liu, Ji, Ye, Multi-task feature
            learning via efficient l2,1-norm minimization, UAI 2009, section 2.
    """

    def penalty(self, held: Held) -> Tensor:
        """Adds the norms of the groups."""
        layers: list[list[Tensor]] = [[parameter] for parameter in held.shared.values() if parameter.dim() > 1]
        for of_tasks in held.corresponding().values():
            by_inputs: dict[int, list[Tensor]] = {}
            for parameter in of_tasks.values():
                if parameter.dim() > 1:
                    by_inputs.setdefault(parameter.shape[1], []).append(parameter)
            layers += by_inputs.values()
        return self.option.weight * total([_norms(layer) for layer in layers])


def _norms(matrices: Iterable[Tensor]) -> Tensor:
    """Shapes: (out, in, ...) each -> ()"""
    by_input = torch.cat([matrix.movedim(1, 0).flatten(1) for matrix in matrices], dim=1)
    norms: Tensor = torch.linalg.vector_norm(by_input, dim=1).sum()  # zero at zero, where a root would be none
    return norms
