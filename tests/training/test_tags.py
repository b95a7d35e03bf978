"""A task of tags, whose targets are a matrix, goes through the step as any other: with every method."""

import pytest
import torch

from mtl_cli.tasks.base import Task
from tests.options import make_task
from tests.training.toys import AGGREGATION, ROWS, WEIGHTING, Data, Toy, furthest, make, make_data, make_tasks

ALL = slice(0, ROWS)
CUTS = (slice(0, 5), slice(5, ROWS))
METHODS = [*((name, "sum") for name in WEIGHTING), *(("fixed", name) for name in AGGREGATION if name != "sum")]
UNLABELLED = torch.full((ROWS, 3), torch.nan, dtype=torch.float64)


def data_of(tags: bool = True, labelled: bool = True) -> Data:
    """Two tasks of a number for each row, and one of three tags, which half of the first rows and all others have."""
    data = make_data()
    targets = {name: data.targets[name] for name in ("digit", "size")}
    drawn = (torch.rand(ROWS, 3, generator=torch.Generator().manual_seed(3)) < 0.4).double()
    drawn[:5:2] = torch.nan
    if tags:
        targets["tags"] = drawn if labelled else UNLABELLED
    return data._replace(targets=targets)


def toy(data: Data, weighting: str, aggregation: str) -> Toy:
    its: dict[str, Task] = {name: task for name, task in make_tasks(make_data()).items() if name in data.targets}
    if "tags" in data.targets:
        its["tags"] = make_task("tags", "multilabel", data_of().targets["tags"], ("a", "b", "c"))
    return make(data, weighting=weighting, aggregation=aggregation, tasks=its)


@pytest.mark.parametrize(("weighting", "aggregation"), METHODS)
def test_micro_batches_with_uneven_labels_take_the_step_of_the_whole_batch(weighting: str, aggregation: str) -> None:
    data = data_of()
    whole, parts = (toy(data, weighting, aggregation) for _ in range(2))
    start = whole.parameters()
    looks = [whole.step([data.batch(ALL)], 0, data), parts.step([data.batch(cut) for cut in CUTS], 0, data)]
    for look in looks:
        assert look.tasks == ("digit", "size", "tags")
        assert look.counts_T.tolist() == [16, 14, 21]
    assert furthest(start, whole.parameters()) > 1e-3
    if whole.engine.methods.needs[1].batches == 1:  # else the independent parts are others
        assert furthest(whole.parameters(), parts.parameters()) < 1e-9


@pytest.mark.parametrize("aggregation", ["sum", "pcgrad", "mgda"])
def test_without_a_label_in_the_step_it_is_as_if_it_were_not_there(aggregation: str) -> None:
    inactive, absent = data_of(labelled=False), data_of(tags=False)
    whole, alone = toy(inactive, "fixed", aggregation), toy(absent, "fixed", aggregation)
    alone.model.load_state_dict({k: v for k, v in whole.model.state_dict().items() if "tags" not in k})
    look, other = whole.step([inactive.batch(ALL)], 0), alone.step([absent.batch(ALL)], 0)
    assert look.tasks == other.tasks == ("digit", "size")
    for name, parameter in whole.model.named_parameters():
        assert (parameter.grad is None) == ("tags" in name), name
    kept = {name: tensor for name, tensor in whole.parameters().items() if "tags" not in name}
    assert furthest(kept, alone.parameters()) < 1e-12
