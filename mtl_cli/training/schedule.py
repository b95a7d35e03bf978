"""The learning rate as a function of the step: no state, so that a resume cannot lose any."""

import bisect
import math
from collections.abc import Callable

from mtl_cli.training.options import Constant, Cosine, Multistep, OneCycle, SchedulerOption, Step

Course = Callable[[float, float], float]
"""(epochs done, epochs in all) -> factor of the full rate."""


def constant(option: Constant) -> Course:  # noqa: ARG001  # every course is built so
    """Always one."""
    return lambda done, total: 1.0  # noqa: ARG005  # the signature of a course


def step(option: Step) -> Course:
    """gamma^floor(epoch / every_epochs)."""
    return lambda done, total: option.gamma ** math.floor(done / option.every_epochs)  # noqa: ARG005  # as above


def multistep(option: Multistep) -> Course:
    """gamma^(milestones passed)."""
    milestones = sorted(option.milestones)
    return lambda done, total: option.gamma ** bisect.bisect_right(milestones, done)  # noqa: ARG005  # as above


def cosine(option: Cosine) -> Course:
    """f + (1 - f) (1 + cos(pi epoch / total)) / 2, f the final factor.

    Source: Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts, ICLR 2017, eq. 5.
    """
    return lambda done, total: _cosine(1.0, option.final_factor, done / total)


def one_cycle(option: OneCycle) -> Course:
    """A cosine from 1 / start_div to 1 over the rise, then one from 1 to 1 / end_div.

    Source: Smith and Topin, Super-convergence: very fast training of neural networks using large learning rates,
            arXiv 1708.07120, 2018.
    Note:   cosines for the paper's straight lines, as is usual since; the momentum stays.
    """

    def factor(done: float, total: float) -> float:
        turn = option.rise * total
        if done < turn:
            return _cosine(1 / option.start_div, 1.0, done / turn)
        return _cosine(1.0, 1 / option.end_div, (done - turn) / (total - turn))

    return factor


class Schedule:
    """A course with a linear warm-up before it; after its end the last rate stays.

    Args: steps_per_epoch: optimizer steps in one epoch; total_epochs: the length of warm-up and course together.
    """

    def __init__(self, option: SchedulerOption, course: Course, steps_per_epoch: int, total_epochs: int) -> None:
        self._warmup = min(option.warmup_epochs, float(total_epochs))
        self._course = course
        self._steps_per_epoch = steps_per_epoch
        self.total_epochs = total_epochs

    def factor(self, step: int) -> float:
        """The factor of the full rate at a step, counted from 0."""
        last = self.total_epochs * self._steps_per_epoch - 1
        done = min(step, last) / self._steps_per_epoch
        if done < self._warmup:
            return (min(step, last) + 1) / (self._warmup * self._steps_per_epoch + 1)
        return self._course(done - self._warmup, self.total_epochs - self._warmup)


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
