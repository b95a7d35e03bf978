"""The first steps are taken one way and another, none twice, and the clearly faster way stays."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_cli.look import Look
from mtl_cli.processes import Processes
from mtl_cli.training import probing
from mtl_cli.training.engine import Reason, Skipped
from mtl_cli.training.faults import Faults
from mtl_cli.training.probing import MOST, Choice, Probes, Timing, decide, turn
from tests.training.toys import ROWS, Toy, make, make_data

NAMES = ("slow", "fast")


class Clocked:
    """A toy whose steps take as long as the candidate in force says; some look at gradients and take longer.

    taken: the candidate of every step. at_rest: the one in force after each.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], **told: object) -> None:
        self.toy: Toy = make(make_data())
        self.batch = make_data().batch(slice(0, ROWS))
        self.now, self.seconds, self.form = 0.0, seconds, ""
        self.taken: list[str] = []
        self.at_rest: list[str] = []
        self.told: list[str] = []
        monkeypatch.setattr(probing, "now", lambda: self.now)
        self.choice = Choice("form", "the form", NAMES, self.apply, **told)  # type: ignore[arg-type]  # a test's words
        self.probes = Probes([self.choice], self.told.append, Processes())

    def apply(self, candidate: str) -> None:
        """Takes that one from here on."""
        self.form = candidate

    def run(self, steps: int, dear: Callable[[int], bool] = lambda _: False) -> None:
        """So many steps, those of `dear` with four times the time and a look at gradients."""
        for step in range(steps):
            if self.probes.settled:
                return

            def take(step: int = step) -> Look | Skipped:
                self.taken.append(self.form)
                look = self.toy.step([self.batch], step)
                if dear(step):
                    look.hold_at("trunk", look.losses_T.new_ones(3, 2), lambda gramian_TT: gramian_TT)
                self.now += self.seconds[self.form] * (4 if dear(step) else 1)
                return look

            self.probes.timed([self.batch], take)
            self.at_rest.append(self.form)


def test_the_clearly_faster_stays_after_one_warm_up_and_three_steps_each(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.74})
    run.run(20)
    assert run.taken == ["slow", "fast", "fast", "slow", "fast", "slow", "slow", "fast"]
    assert (run.probes.decided, run.form) == ({"form": "fast"}, "fast")
    assert run.told == ["the form: fast, a step takes 0.74 of slow (median of 3)"]


def test_without_a_clear_gain_the_first_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.98})
    run.run(20)
    assert (run.probes.decided, run.form) == ({"form": "slow"}, "slow")
    assert run.told == ["the form: slow, where a step takes 1, and 0.98 with fast (median of 3)"]


def test_between_steps_all_is_as_the_first_has_it_until_it_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.5})
    run.run(20)
    assert run.at_rest == ["slow"] * 7 + ["fast"]


@pytest.mark.parametrize("every", [2, 3, 4, 5, 8])
def test_dear_steps_are_compared_with_dear_ones_alone(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.9})
    run.run(60, dear=lambda step: step % every == 0)
    assert run.probes.decided == {"form": "fast"}
    assert "takes 0.90 of slow" in run.told[0]


def test_steps_that_cannot_be_compared_end_the_probing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.5})
    unlabelled = Skipped(Reason.UNLABELLED, Faults())
    for _ in range(MOST):
        assert not run.probes.settled
        assert run.probes.timed([run.batch], lambda: unlabelled) == unlabelled
    assert (run.probes.decided, run.form) == ({"form": "slow"}, "slow")


def test_what_differs_in_steps_that_look_alone_is_decided_by_those(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.5}, looking=True)
    run.run(MOST, dear=lambda step: step % 40 == 0)
    assert run.probes.decided == {"form": "slow"}
    assert len(run.taken) == MOST
    again = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.5}, looking=True)
    again.run(MOST, dear=lambda step: step % 2 == 0)
    assert again.probes.decided == {"form": "fast"}


def test_a_choice_that_a_checkpoint_does_not_know_is_made_and_the_others_stay_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.5})
    applied: list[str] = []
    known = Choice("known", "what is known", ("a", "b"), applied.append)
    probes = Probes([run.choice, known], run.told.append, Processes())
    probes.load_state_dict({"decided": {"known": "b"}, "probed": "", "taken": 0, "timings": []})
    assert (probes.decided, applied, probes.settled) == ({"known": "b"}, ["b"], False)


@pytest.mark.parametrize("stop", range(1, 8))
def test_an_interrupted_probing_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    seconds = {"slow": 1.0, "fast": 0.74}
    before, after = Clocked(monkeypatch, seconds), Clocked(monkeypatch, seconds)
    whole = Clocked(monkeypatch, seconds)
    whole.run(20)
    monkeypatch.setattr(probing, "now", lambda: before.now)
    before.run(stop)
    after.probes.load_state_dict(before.probes.state_dict())
    monkeypatch.setattr(probing, "now", lambda: after.now)
    after.run(20)
    assert before.taken + after.taken == whole.taken
    assert after.probes.decided == {"form": "fast"}


def test_what_was_decided_is_in_force_after_a_resume_and_not_probed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = (Clocked(monkeypatch, {"slow": 1.0, "fast": 0.74}) for _ in range(2))
    monkeypatch.setattr(probing, "now", lambda: before.now)
    before.run(20)
    after.probes.load_state_dict(before.probes.state_dict())
    assert (after.probes.settled, after.form) == (True, "fast")
    assert after.told == ["the form: fast, as the run's first steps decided"]


def test_what_does_not_pay_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    run = Clocked(monkeypatch, {"slow": 2.0, "fast": 0.1}, opening=3, pays=lambda seconds: bool(asked.append(seconds)))
    run.run(20)
    assert run.taken == ["slow"] * 3
    assert asked == [2.0]
    assert run.probes.decided == {"form": "slow"}


def test_a_candidate_that_fails_leaves_the_first_and_its_step_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.1}, fails=(RuntimeError,))
    taken: list[str] = []

    def take() -> Look | Skipped:
        if run.form == "fast":
            raise RuntimeError("no compiler\nmore")
        taken.append(run.form)
        return run.toy.step([run.batch], len(taken))

    for _ in range(2):
        run.probes.timed([run.batch], take)
    assert taken == ["slow", "slow"]
    assert run.told == ["the form: slow, as fast does not work here (no compiler)"]
    assert run.probes.settled


def test_an_error_of_the_first_candidate_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Clocked(monkeypatch, {"slow": 1.0, "fast": 0.1}, fails=(RuntimeError,))

    def take() -> Look | Skipped:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run.probes.timed([run.batch], take)
    assert not run.probes.settled


@given(st.integers(0, 500), st.integers(0, 9), st.integers(2, 4))
def test_every_so_many_steps_each_candidate_has_had_its_turn(block: int, opening: int, count: int) -> None:
    turns = [turn(opening + block * count + step, opening, count) for step in range(count)]
    assert sorted(turns) == list(range(count))


def test_the_decision_is_a_function_of_the_timings() -> None:
    choice = Choice("form", "the form", NAMES, lambda _: None)

    def timings(*seconds: float) -> Sequence[Timing]:
        return [Timing(NAMES[k % 2], False, its, 10) for k, its in enumerate(seconds)]

    assert decide(choice, 5, timings(1, 0.5, 1, 0.5, 1)) is None
    assert decide(choice, 6, timings(1, 0.5, 1, 0.5, 1, 0.6)) == "fast"
    assert decide(choice, 6, timings(1, 1.5, 1, 1.5, 1, 9)) == "slow"


def test_steps_that_take_now_more_and_now_less_are_compared_for_longer() -> None:
    choice = Choice("form", "the form", NAMES, lambda _: None)
    uneven = [Timing(NAMES[k % 2], False, 1 + k % 2 * (-0.1 if k % 3 else 0.3), 10) for k in range(18)]
    for taken in range(2, 18):
        assert decide(choice, taken, uneven[:taken]) is None
    assert decide(choice, 18, uneven) == "fast"
