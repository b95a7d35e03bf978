"""What is said of the time that a run waits for data."""

from collections.abc import Iterator

import pytest

from mtl_cli.training.waiting import Waiting


@pytest.mark.parametrize(("each", "said"), [(3.0, ["epoch 1: the model waited for data 75% of the time"]), (0.1, [])])
def test_the_share_of_time_in_which_the_next_batch_was_not_there_is_told_from_a_tenth_on(
    each: float, said: list[str]
) -> None:
    now, told = [0.0], list[str]()

    def slow() -> Iterator[int]:
        for number in range(4):
            now[0] += each
            yield number

    waiting = Waiting(told.append, lambda: now[0])
    seen = []
    for number in waiting.batches(slow()):
        seen.append(number)
        now[0] += 1.0
    waiting.over(1)
    assert (seen, told) == ([0, 1, 2, 3], said)
    waiting.over(2)
    assert told == said
