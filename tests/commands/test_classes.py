"""Data that a checkpoint was not trained on is coded as it knows its classes."""

import torch

from mtl_cli.commands.classes import recoded
from mtl_cli.data.base import MISSING

NAN = torch.nan


def test_classes_of_other_data_get_the_codes_that_the_checkpoint_has() -> None:
    target, strange = recoded(torch.tensor([0, MISSING, 1, 0]), ("bee", "cat"), ("ant", "bee", "cat"))
    assert target.tolist() == [1, MISSING, 2, 1]
    assert strange.shape == (0, 2)


def test_a_binary_target_turns_round_and_keeps_what_is_missing() -> None:
    target, _ = recoded(torch.tensor([0.0, NAN, 1.0]), ("yes", "no"), ("no", "yes"))
    torch.testing.assert_close(target, torch.tensor([1.0, NAN, 0.0]), equal_nan=True)


def test_tags_move_to_their_columns_and_one_that_is_not_there_is_nowhere() -> None:
    given = torch.tensor([[1.0, 0.0], [NAN, NAN], [0.0, 1.0]])
    target, strange = recoded(given, ("red", "blue"), ("blue", "green", "red"))
    wanted = torch.tensor([[0.0, 0.0, 1.0], [NAN, NAN, NAN], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(target, wanted, equal_nan=True)
    assert strange.shape == (0, 2)


def test_classes_and_tags_that_the_checkpoint_does_not_know_are_found_with_their_rows() -> None:
    assert recoded(torch.tensor([0, MISSING, 1]), ("a", "z"), ("a", "b"))[1].tolist() == [[2, 1]]
    tags = torch.tensor([[1.0, 0.0], [NAN, NAN], [0.0, 1.0]])
    assert recoded(tags, ("a", "z"), ("a", "b"))[1].tolist() == [[2, 1]]
