"""Stop rules: when a method is left, which images stop, and what a budget allows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from restyle_cli.inversion import Inversion, Method, State, invert
from restyle_cli.stopping import ALL_STEPS, OUT_OF_TIME, PLATEAUED, Patience, Plateau, Stop

SIDE = 4


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Falling(Method):
    """Every step multiplies each image's difference from the target by its `factor`, and takes so many `seconds`.

    Images are all of one value, the first guess is 1 away, and `w` says how often this method has been called.
    """

    generator = torch.nn.Identity()
    size = (SIDE, SIDE)
    max_steps = 100

    def __init__(self, name: str, clock: Clock, *factors: float, seconds: float = 1.0) -> None:
        self.name, self.clock, self.factors, self.seconds = name, clock, factors, seconds
        self.calls = 0
        self.saw: list[list[float]] = []  # how far away the images were when a step began

    def start(self, x: Tensor) -> State:
        return State(torch.zeros(len(x), 1, 1), x - x.sign())

    def step(self, x: Tensor, state: State) -> State:
        self.clock.now += self.seconds
        self.saw.append([round(abs(float(away)), 6) for away in (state.image - x)[:, 0, 0, 0]])
        factor = self.factors[min(self.calls, len(self.factors) - 1)]
        self.calls += 1
        return State(torch.full((len(x), 1, 1), float(self.calls)), x + (state.image - x) * factor)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def plain(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE)


def run(
    clock: Clock, links: Sequence[tuple[Method, Patience]], budget: float | None = None, x: Tensor | None = None
) -> Inversion:
    x = plain(0.5) if x is None else x
    methods = [method for method, patience in links for _ in range(patience.steps)]
    return invert(x, methods, stop=Plateau([patience for _, patience in links], budget, clock), keep_w=True)


def names(inversion: Inversion) -> list[str]:
    return [step.method for step in inversion.steps]


def test_a_method_runs_while_the_l2_falls(clock: Clock) -> None:
    # L2: 1, .25, .0625, then by 2 % less: too little.
    method = Falling("a", clock, 0.5, 0.5, 0.99)
    result = run(clock, [(method, Patience(steps=9, window=1, least=0.03))])
    assert method.calls == 3
    assert result.stops == ((Stop(3, PLATEAUED),),)
    assert int(result.kept_step) == 3  # the last step was the best all the same


def test_a_window_tolerates_single_steps(clock: Clock) -> None:
    factors = [0.5, 1.2, 0.5, 1.0, 1.0, 1.0]
    one = Falling("a", clock, *factors)
    run(clock, [(one, Patience(steps=6, window=1, least=0.03))])
    three = Falling("a", clock, *factors)
    result = run(clock, [(three, Patience(steps=6, window=3, least=0.03))])
    assert (one.calls, three.calls) == (2, 6)
    assert result.stops == ((Stop(6, PLATEAUED),),)


def test_the_next_method_continues_from_the_best_state(clock: Clock) -> None:
    first, second = Falling("a", clock, 0.5, 1.5), Falling("b", clock, 0.1)
    result = run(clock, [(first, Patience(9, 1, 0.03)), (second, Patience(2, 1, 0.03))])
    assert names(result) == ["start", "a", "a", "b", "b"]
    assert first.saw == [[1.0], [0.5]]
    assert second.saw == [[0.5], [0.05]]  # and not from the 0.75 that the worse step came to
    assert result.stops == ((Stop(2, PLATEAUED), Stop(4, ALL_STEPS)),)


def test_all_its_steps(clock: Clock) -> None:
    first, second = Falling("a", clock, 0.5), Falling("b", clock, 1.0)
    result = run(clock, [(first, Patience(2, 1, 0.03)), (second, Patience(9, 2, 0.03))])
    assert names(result) == ["start", "a", "a", "b", "b"]
    assert result.stops == ((Stop(2, ALL_STEPS), Stop(4, PLATEAUED)),)
    assert int(result.kept_step) == 2


def test_an_image_with_l2_0_has_plateaued(clock: Clock) -> None:
    result = run(clock, [(Falling("a", clock, 0.0), Patience(9, 1, 0.03))])
    assert result.stops == ((Stop(2, PLATEAUED),),)


def test_nan_is_no_progress(clock: Clock) -> None:
    result = run(clock, [(Falling("a", clock, 0.5, float("nan")), Patience(9, 1, 0.03))])
    assert result.stops == ((Stop(2, PLATEAUED),),)
    assert int(result.kept_step) == 1


class Uneven(Falling):
    """The image of the value 0.25 improves for twice as long as others."""

    def step(self, x: Tensor, state: State) -> State:
        after = super().step(x, state)
        slow = x[:, :1, :1, :1] == 0.25
        factor = torch.where(slow, 0.5 if self.calls <= 4 else 1.0, 0.5 if self.calls <= 2 else 1.0)
        return State(after.w, x + (state.image - x) * factor)


def test_images_of_a_batch_leave_a_method_together_and_the_last_one_by_one(clock: Clock) -> None:
    first, last = Uneven("a", clock, 1.0), Uneven("b", clock, 1.0)
    patience = Patience(steps=20, window=1, least=0.03)
    result = run(clock, [(first, patience), (last, patience)], x=plain(0.5, 0.25))
    assert result.stops == (
        (Stop(5, PLATEAUED), Stop(8, PLATEAUED)),
        (Stop(5, PLATEAUED), Stop(10, PLATEAUED)),
    )
    assert result.last_step.tolist() == [8, 10]
    assert [len(saw) for saw in last.saw] == [2, 2, 2, 1, 1]
    assert result.one(0).stops == result.stops[:1]
    assert names(result.one(0)) == ["start", *["a"] * 5, *["b"] * 3]


# --- budget


class Resting(Falling):
    """The dark image's second step brings nothing, the bright one's third; all others bring half of the way."""

    def step(self, x: Tensor, state: State) -> State:
        self.clock.now += self.seconds
        made, dark = state.w[:, 0, 0] + 1, x[:, 0, 0, 0] < 0
        idle = torch.where(dark, made == 2, made == 3).view(-1, 1, 1, 1)
        return State(made.view(-1, 1, 1), x + (state.image - x) * torch.where(idle, 1.0, 0.5))


def test_the_other_images_of_the_batch_change_nothing(clock: Clock) -> None:
    """The dark image waits; steps that it makes meanwhile would have brought it nearer."""

    def links() -> list[tuple[Method, Patience]]:
        return [(Resting("a", clock), Patience(9, 1, 0.1)), (Falling("b", clock, 0.5, 1.0), Patience(9, 1, 0.1))]

    together = run(clock, links(), x=plain(-0.5, 0.5))
    for index, colour in enumerate((-0.5, 0.5)):
        alone, one = run(clock, links(), x=plain(colour)), together.one(index)
        assert torch.equal(one.w, alone.w) and torch.equal(one.images, alone.images)
        assert float(one.steps[-1].l2) == float(alone.steps[-1].l2)
    assert [float(step.l2[0]) for step in together.steps[1:4]] == [0.25] * 3


def test_no_step_starts_that_would_end_too_late(clock: Clock) -> None:
    method = Falling("a", clock, 0.5, seconds=3.0)
    result = run(clock, [(method, Patience(99, 1, 0.03))], budget=10.0)
    assert method.calls == 3  # 9 seconds; a fourth step would end after 12
    assert result.stops == ((Stop(3, OUT_OF_TIME),),)
    assert int(result.kept_step) == 3


def test_a_step_that_just_fits_runs(clock: Clock) -> None:
    method = Falling("a", clock, 0.5, seconds=3.0)
    assert int(run(clock, [(method, Patience(99, 1, 0.03))], budget=12.0).last_step) == 4


def test_the_first_step_always_runs(clock: Clock) -> None:
    method = Falling("a", clock, 0.5, seconds=3.0)
    result = run(clock, [(method, Patience(99, 1, 0.03))], budget=0.1)
    assert method.calls == 1
    assert result.stops == ((Stop(1, OUT_OF_TIME),),)


def test_the_best_step_is_selected_when_time_is_up(clock: Clock) -> None:
    result = run(clock, [(Falling("a", clock, 0.5, 1.5), Patience(99, 5, 0.03))], budget=3.0)
    assert (int(result.last_step), int(result.kept_step)) == (3, 1)


def test_the_next_method_does_not_start_without_time_for_it(clock: Clock) -> None:
    first, second = Falling("a", clock, 0.5, 1.0, seconds=3.0), Falling("b", clock, 0.5)
    result = run(clock, [(first, Patience(9, 1, 0.03)), (second, Patience(9, 1, 0.03))], budget=8.0)
    assert second.calls == 0
    assert result.stops == ((Stop(2, OUT_OF_TIME),),)


def test_a_slower_first_step_is_taken_into_account(clock: Clock) -> None:
    links = [
        (Falling("a", clock, 0.5, 1.0), Patience(9, 1, 0.1)),
        (Falling("b", clock, 0.5, seconds=5.0), Patience(9, 1, 0.1, first=5.0)),
    ]
    assert names(run(clock, links, budget=6.5)) == ["start", "a", "a"]
    links = [(Falling("a", clock, 0.5, 1.0), links[0][1]), links[1]]
    assert names(run(clock, links, budget=7.5)) == ["start", "a", "a", "b"]


def test_time_for_each_image(clock: Clock) -> None:
    # Two images have twice the time. One of them stops, and the other may use all.
    method = Uneven("b", clock, 1.0, seconds=2.0)
    links = [(Falling("a", clock, 0.5, seconds=2.0), Patience(1, 1, 0.03)), (method, Patience(99, 1, 0.03))]
    result = run(clock, links, budget=5.0, x=plain(0.5, 0.25))
    assert result.last_step.tolist() == [4, 5]
    assert result.stops[0][-1] == Stop(4, PLATEAUED)
    assert result.stops[1][-1] == Stop(5, OUT_OF_TIME)
