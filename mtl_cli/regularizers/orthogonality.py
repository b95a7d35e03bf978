"""Soft orthogonality."""

import torch
from torch import Tensor

from mtl_cli.regularizers.base import Held, Regularizer, total


class OrthogonalityRegularizer(Regularizer):
    """weight * sum |W W^T - I|_F^2 over matrices, with the smaller of W W^T and W^T W.

    A convolution is a matrix (out, in k k). Vectors, such as biases, are left alone.

    Source: Bansal, Chen, Wang, Can we gain more from orthogonality regularizations in training deep networks?, NeurIPS
            2018, section 3.1 (SO).
    """

    def penalty(self, held: Held) -> Tensor:
        """Adds how far each matrix is from orthonormal rows, or columns."""
        return self.option.weight * total([_distance(matrix) for matrix in held.matrices()])


def _distance(matrix: Tensor) -> Tensor:
    gramian = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    distance: Tensor = (gramian - torch.eye(len(gramian), dtype=matrix.dtype, device=matrix.device)).square().sum()
    return distance
