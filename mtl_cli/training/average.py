"""The weights that are evaluated and shipped: those that are trained, or a moving average of them."""

from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtl_cli.model import MultiTaskModel
from mtl_cli.training.spans import within

Tensors = tuple[Tensor, ...] | list[Tensor]


class Average:
    """An exponential moving average of weights and buffers, moved once a step that was taken.

        a = d a + (1 - d) w,  d = min(decay, (1 + t) / (10 + t)),  a = w after the first step

    t: steps taken before; the smaller d of the first steps keeps the random start out of a short run's average.

    Args:
        model: what is trained.
        decay: in (0, 1); None: the weights themselves, and nothing is moved.
    Note:   whole numbers among the buffers, which count batches, are averaged and rounded down.
    Source: Polyak and Juditsky, Acceleration of stochastic approximation by averaging, SIAM J. Control Optim. 30, 1992;
            the growing d is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: MultiTaskModel, decay: float | None) -> None:
        self._model = model
        self._decay = decay
        self.steps = 0
        self._averaged = None if decay is None else AveragedModel(model, multi_avg_fn=self._mix, use_buffers=True)

    @property
    def model(self) -> MultiTaskModel:
        """What is evaluated and shipped."""
        if self._averaged is None:
            return self._model
        averaged = self._averaged.module
        assert isinstance(averaged, MultiTaskModel)
        return averaged

    @within("optimizer")
    def move(self) -> None:
        """One step was taken."""
        if self._averaged is not None:
            self._averaged.update_parameters(self._model)
            self.steps += 1

    def goes_on(self, steps: int) -> None:
        """The average has been moved so many times: after its weights were loaded."""
        self.steps = steps
        if self._averaged is not None:
            self._averaged.n_averaged.fill_(steps)

    def _mix(self, averages: Tensors, values: Tensors, _: Tensor | int) -> None:
        assert self._decay is not None
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(averages, values, self.steps)
