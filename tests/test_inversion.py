"""The loop: against loops written by hand, the selected step, stopping, Ctrl-C."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.images import fit
from restyle_cli.inversion import Inversion, Method, State, Target, invert, iterate, l2, target_size
from restyle_cli.methods.encoder import ReStyle, SinglePass

SIDE = 8


class Approach(Method):
    """Moves a plain image towards the target: `ways` of the way in each step, the last again and again.

    `w` is the image's mean, so a test can say which step a result is from.
    """

    generator = torch.nn.Identity()
    size = (SIDE, SIDE)
    default_steps = 4
    max_steps = 10

    def __init__(self, *ways: float, name: str = "approach", patched: bool = False) -> None:
        self.ways, self.name, self.patched, self.calls = ways, name, patched, 0
        self.saw_graph: list[bool] = []

    def start(self, x: Tensor) -> State:
        return State(torch.zeros(len(x), 1, 1), torch.zeros(len(x), 3, SIDE, SIDE))

    def step(self, x: Tensor, state: State) -> State:
        self.saw_graph.append(state.w.requires_grad or state.image.requires_grad)
        way = self.ways[min(self.calls, len(self.ways) - 1)]
        self.calls += 1
        image = state.image + way * (fit(x, (SIDE, SIDE)) - state.image)
        patch = {"change": image.mean(dim=(1, 2, 3))[:, None]} if self.patched else {}
        return State(image.mean(dim=(1, 2, 3)).view(-1, 1, 1), image, patch)


def plain(*values: float) -> Tensor:
    """One image of one colour for each value."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE)


@pytest.fixture
def restyle() -> ReStyle:
    return ReStyle("restyle", tiny.encoder(), tiny.generator())


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_restyle_equals_a_loop_written_by_hand(restyle: ReStyle, x: Tensor) -> None:
    w = restyle.generator.w_avg.expand(3, -1, -1)
    y = restyle.generator(w)
    latents, images = [w], [y]
    for _ in range(4):
        w = w + restyle.encoder(torch.cat([x, fit(y, (256, 256))], dim=1))
        y = restyle.generator(w)
        latents.append(w)
        images.append(y)
    states = list(iterate(x, [restyle] * 4))
    assert len(states) == 5
    for state, latent, image in zip(states, latents, images, strict=True):
        # Batches of one and of three are convolved in another order: float32 rounding.
        torch.testing.assert_close(state.w, latent, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(state.image, image, rtol=1e-4, atol=1e-4)
    assert not torch.equal(states[1].w, states[2].w)


def test_the_reconstruction_is_pooled_to_the_size_of_the_image(x: Tensor) -> None:
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, pair: Tensor) -> Tensor:
            seen.append(pair)
            return torch.zeros(len(pair), 8, tiny.W_DIM)

    method = ReStyle("restyle", Watching(), tiny.generator())
    start, _ = iterate(x, [method])
    assert seen[0].shape == (3, 6, 256, 256)
    assert torch.equal(seen[0][:, :3], x)  # the image first
    assert torch.equal(seen[0][:, 3:], fit(start.image, (256, 256)))
    small = x[..., :16, :16]
    list(iterate(small, [method]))
    pooled = torch.nn.functional.adaptive_avg_pool2d(start.image, 16)
    assert torch.equal(seen[1][:, 3:], pooled)


def test_single_pass_sees_the_image_only(x: Tensor) -> None:
    method = SinglePass("psp", tiny.encoder(channels=3), tiny.generator())
    before = State(torch.full((3, 8, tiny.W_DIM), 7.0), torch.zeros(3, 3, 32, 32))
    state = method.step(x, before)
    expected = method.generator.w_avg + method.encoder(x)
    torch.testing.assert_close(state.w, expected)
    torch.testing.assert_close(state.image, method.generator(expected))


def test_the_average_image_is_rendered_once(restyle: ReStyle, x: Tensor) -> None:
    calls = []
    restyle.generator.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    many, one = restyle.start(x), restyle.start(x[:1])
    assert calls == [1]
    assert many.image.shape == (3, 3, 32, 32)
    assert torch.equal(many.image[2], one.image[0])
    torch.testing.assert_close(one.image, restyle.generator(restyle.generator.start(1)))


def test_a_chain_continues_from_latent_and_image() -> None:
    target = plain(1.0)
    first, second = Approach(0.5, name="first"), Approach(0.2, name="second")
    result = invert(target, [first, second, second], keep_w=True)
    assert [step.method for step in result.steps] == ["start", "first", "second", "second"]
    assert result.w_steps.flatten().tolist() == pytest.approx([0, 0.5, 0.6, 0.68])
    assert (first.calls, second.calls) == (1, 2)


@pytest.mark.parametrize(
    ("size", "expected"), [((1024, 1024), (256, 256)), ((32, 32), (256, 256)), ((384, 512), (192, 256))]
)
def test_target_size_has_the_generators_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    generator = torch.nn.Module()
    generator.size = size
    assert target_size(generator) == expected


# --- gradients


def test_states_carry_the_graph_of_their_own_step_only(x: Tensor) -> None:
    encoder = tiny.encoder().requires_grad_(True)
    method = ReStyle("restyle", encoder, tiny.generator())
    states = iterate(x, [method] * 3)
    assert not next(states).w.requires_grad  # the first guess depends on nothing that is trained
    alone = []
    for state in states:
        encoder.zero_grad()
        l2(x, state.image).mean().backward()
        alone.append(encoder.last.weight.grad.clone())
    # By hand, with everything before the step detached.
    w, y = method.generator.start(3), method.generator(method.generator.start(3))
    for grad in alone:
        encoder.zero_grad()
        w = w.detach() + encoder(torch.cat([x, fit(y.detach(), (256, 256))], dim=1))
        y = method.generator(w)
        l2(x, y).mean().backward()
        torch.testing.assert_close(grad, encoder.last.weight.grad, rtol=1e-3, atol=1e-7)  # float32 sums
        assert grad.abs().max() > 0


def test_invert_builds_no_graph_and_leaves_the_mode_alone(x: Tensor) -> None:
    method = ReStyle("restyle", tiny.encoder().requires_grad_(True), tiny.generator())
    result = invert(x, method, 2)
    assert not result.w.requires_grad
    assert torch.is_grad_enabled()


def test_iterate_leaves_the_callers_mode_alone_between_steps(x: Tensor) -> None:
    method = ReStyle("restyle", tiny.encoder(), tiny.generator())
    for _ in iterate(x[:1], [method] * 2):
        assert torch.is_grad_enabled()
    with torch.no_grad():
        for _ in iterate(x[:1], [method] * 2):
            assert not torch.is_grad_enabled()


def test_a_method_may_switch_gradients_on() -> None:
    class Descent(Approach):
        def step(self, x: Tensor, state: State) -> State:
            with torch.enable_grad():
                image = state.image.clone().requires_grad_(True)
                l2(x, image).sum().backward()
            stepped = image.detach() - 0.5 * image.grad * image[0].numel()
            return State(state.w, stepped)

    method = Descent()
    result = invert(plain(1.0), method, 1)
    assert float(result.steps[1].l2) == pytest.approx(0, abs=1e-9)


# --- the selected step


def test_the_best_step_of_each_image_is_selected() -> None:
    # 1 -> .5, .75; then half the way back and more: step 2 is best.
    result = invert(plain(1.0, -0.5), Approach(0.5, 0.5, -1.0, 0.1, patched=True))
    assert [round(float(s.l2[0]), 4) for s in result.steps] == [1, 0.25, 0.0625, 0.25, 0.2025]
    assert result.best_step.tolist() == result.kept_step.tolist() == [2, 2]
    assert result.w.flatten().tolist() == pytest.approx([0.75, -0.375])
    assert result.images[:, 0, 0, 0].tolist() == pytest.approx([0.75, -0.375])
    assert result.patch["change"].flatten().tolist() == pytest.approx([0.75, -0.375])


def test_keep_last() -> None:
    result = invert(plain(1.0), Approach(0.5, 0.5, -1.0), 3, keep="last")
    assert (int(result.best_step), int(result.kept_step), int(result.last_step)) == (2, 3, 3)
    assert float(result.w) == pytest.approx(0.5)


def test_images_of_a_batch_have_their_own_best_steps() -> None:
    class Fading(Approach):
        """Step k shows 1 / k everywhere."""

        def step(self, x: Tensor, state: State) -> State:
            self.calls += 1
            image = torch.full_like(state.image, 1 / self.calls)
            patch = {"k": torch.full((len(x), 1), float(self.calls))}
            return State(image.mean(dim=(1, 2, 3)).view(-1, 1, 1), image, patch)

    result = invert(plain(1.0, 0.0, 0.5, -3.0), Fading(), 4)
    assert result.best_step.tolist() == [1, 0, 2, 0]
    assert result.w.flatten().tolist() == pytest.approx([1, 0, 0.5, 0])
    # A patch that does not exist yet (the first guess has none) is no change.
    assert result.patch["k"].flatten().tolist() == [1, 0, 2, 0]


def test_a_step_with_nan_is_never_the_best() -> None:
    result = invert(plain(1.0), Approach(0.5, float("nan")), 3)
    assert int(result.best_step) == 1
    assert float(result.w) == pytest.approx(0.5)


def test_steps_are_recorded() -> None:
    seen = []
    result = invert(
        plain(1.0, 0.2), Approach(0.5), keep_w=True, on_step=lambda k, state, errors: seen.append((k, state, errors))
    )
    assert [k for k, _, _ in seen] == [0, 1, 2, 3, 4]  # default_steps
    assert result.w_steps.shape == (2, 5, 1, 1)
    for k, state, errors in seen:
        assert torch.equal(errors, result.steps[k].l2)
        assert torch.equal(state.image, result.image_steps[k])
        assert torch.equal(state.w, result.w_steps[:, k])
        torch.testing.assert_close(errors, l2(plain(1.0, 0.2), state.image))
    assert all(step.seconds > 0 for step in result.steps)


def test_keep_images_and_keep_w() -> None:
    result = invert(plain(1.0), Approach(0.5), 5, keep_images=[0, 3], keep_w=True)
    assert list(result.image_steps) == [0, 3]
    assert result.w_steps.shape[1] == 6
    assert invert(plain(1.0), Approach(0.5), 5).w_steps is None


def test_tolerance_stops_each_image_separately() -> None:
    # L2 of 1: 1 .25 .0625 .0156 .0039; of .4 it is .16 of that. The step that gained too little still counts.
    method = Approach(0.5)
    result = invert(plain(1.0, 0.4), method, 10, tolerance=0.1, keep_w=True)
    assert result.last_step.tolist() == [3, 2]
    assert method.calls == 3  # nothing runs on when all have stopped
    assert [round(float(s.l2[1]), 4) for s in result.steps] == [0.16, 0.04, 0.01, 0.01]
    assert result.w_steps[1].flatten().tolist() == pytest.approx([0, 0.2, 0.3, 0.3])
    assert result.w.flatten().tolist() == pytest.approx([0.875, 0.3])


def test_without_tolerance_no_image_stops() -> None:
    result = invert(plain(1.0), Approach(0.5, 0.0), 6)
    assert len(result.steps) == 7


def test_tolerance_zero_stops_at_the_first_step_that_is_worse() -> None:
    result = invert(plain(1.0), Approach(0.5, -0.5, 0.9), 6, tolerance=0.0)
    assert (int(result.last_step), int(result.best_step)) == (2, 1)


def test_one_image_of_a_batch(x: Tensor, restyle: ReStyle) -> None:
    batch = invert(x, restyle, 3, keep_w=True)
    for index in range(3):
        one, alone = batch.one(index), invert(x[index : index + 1], restyle, 3, keep_w=True)
        assert isinstance(one, Inversion)
        torch.testing.assert_close(one.w, alone.w, rtol=1e-5, atol=1e-5)  # batches round otherwise
        torch.testing.assert_close(one.images, alone.images, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.w_steps, alone.w_steps, rtol=1e-5, atol=1e-5)
        assert int(one.best_step) == int(alone.best_step)
        assert one.steps[2].seconds == pytest.approx(batch.steps[2].seconds / 3)
        assert list(one.image_steps) == [0, 1, 2, 3]


def test_one_image_has_only_its_own_steps() -> None:
    one = invert(plain(1.0, 0.4), Approach(0.5), 10, tolerance=0.1, keep_w=True).one(1)
    assert len(one.steps) == 3
    assert one.w_steps.shape[1] == 3
    assert list(one.image_steps) == [0, 1, 2]


def test_wrong_calls_are_refused() -> None:
    method = Approach(0.5)
    with pytest.raises(ValueError, match="1 to 10"):
        invert(plain(1.0), method, 11)
    with pytest.raises(ValueError, match="1 to 10"):
        invert(plain(1.0), method, 0)
    with pytest.raises(ValueError, match="keep"):
        invert(plain(1.0), method, keep="first")
    with pytest.raises(ValueError, match="schedule"):
        invert(plain(1.0), [method], 2)
    with pytest.raises(ValueError, match="at least one"):
        next(iterate(plain(1.0), []))


# --- L2


def test_l2_is_the_mean_square_on_the_published_range() -> None:
    black, white = -torch.ones(2, 3, 256, 256), torch.ones(2, 3, 32, 32)
    assert l2(black, white).tolist() == [4, 4]
    assert l2(black, -white).tolist() == [0, 0]


def test_l2_with_a_mask() -> None:
    x, image = plain(1.0, 1.0), plain(0.0, 0.0).clone()
    mask = torch.zeros(2, 1, SIDE, SIDE)
    mask[0, :, :2], mask[1, :, :4] = 1, 1
    image[:, :, :2] = 1.0  # right in two of its rows
    assert l2(x, image, mask).tolist() == pytest.approx([0, 0.5])
    assert l2(x, image, torch.zeros_like(mask)).tolist() == [0, 0]  # and not NaN


def test_the_best_step_with_a_mask() -> None:
    class Two(Approach):
        def step(self, x: Tensor, state: State) -> State:
            self.calls += 1
            image = torch.zeros_like(state.image)
            image[:, :, : SIDE // 2 if self.calls == 1 else SIDE] = 0.5 if self.calls > 1 else 1.0
            return State(torch.full_like(state.w, self.calls), image)

    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[:, :, : SIDE // 2] = 1
    assert int(invert(plain(1.0), Two(), 2, target=Target(mask=mask)).best_step) == 1
    assert int(invert(plain(1.0), Two(), 2).best_step) == 2


def test_the_best_step_is_measured_on_clamped_images() -> None:
    """Stripes of 5 and -5 pool to the target's grey, but a file of them is 1 and -1: further away than plain 0.2."""

    class Overshoots(Approach):
        def step(self, x: Tensor, state: State) -> State:
            self.calls += 1
            image = torch.full((1, 3, 2 * SIDE, 2 * SIDE), 0.2)
            if self.calls == 2:
                image[..., ::2], image[..., 1::2] = 5.0, -4.0
            return State(torch.full_like(state.w, self.calls), image)

    result = invert(plain(0.5), Overshoots(), 2)
    assert int(result.best_step) == 1
    assert result.steps[2].l2.tolist() == pytest.approx([0.25])


def test_l2_pools_a_larger_image() -> None:
    x = torch.zeros(1, 3, 8, 8)
    stripes = torch.ones(1, 3, 16, 16)
    stripes[..., ::2] = -1
    assert float(l2(x, stripes)) == 0


def test_l2_of_half_precision_is_computed_in_full() -> None:
    x = torch.full((1, 3, 256, 256), 0.5)
    assert l2(x, x.bfloat16() + 1).dtype == torch.float32


# --- memory, Ctrl-C, methods that know how long they run


class Counting(Approach):
    """Counts its steps; `w` is that number."""

    def step(self, x: Tensor, state: State) -> State:
        count = state.memory.get("counting.count", torch.zeros(len(x))) + 1
        mask = state.target.mask
        shift = torch.zeros(len(x)) if mask is None else mask.mean(dim=(1, 2, 3))
        made = super().step(x, state)
        return State((count + shift).view(-1, 1, 1), made.image, memory={"counting.count": count})


def test_memory_reaches_the_next_step_and_no_other_method() -> None:
    first, second = Counting(0.1, name="first"), Counting(0.1, name="second")
    result = invert(plain(1.0, 0.5), [first, first, second, second, second, first], keep_w=True)
    assert result.w_steps[0].flatten().tolist() == [0, 1, 2, 1, 2, 3, 1]


def test_every_step_of_every_method_gets_the_target() -> None:
    target = Target(mask=torch.tensor([10.0, 20.0]).view(-1, 1, 1, 1))
    chain = [Counting(0.1, name="first")] * 2 + [Counting(0.1, name="second")] * 2
    result = invert(plain(1.0, 0.5), chain, keep_w=True, target=target)
    assert result.w_steps.flatten(1).tolist() == [[0, 11, 12, 11, 12], [0, 21, 22, 21, 22]]


def test_memory_is_detached_as_the_rest_is() -> None:
    state = State(torch.zeros(2, 1, 1), torch.zeros(2, 3, 1, 1), memory={"m": torch.ones(2, requires_grad=True)})
    assert not state.detach().memory["m"].requires_grad


# --- images that leave the batch


class Watched(Counting):
    """Records the number of images of each step; the patch has the count."""

    def __init__(self, *ways: float, name: str = "watched", change: str = "change") -> None:
        super().__init__(*ways, name=name)
        self.change, self.given = change, []

    def step(self, x: Tensor, state: State) -> State:
        self.given.append(len(x))
        made = super().step(x, state)
        return State(made.w, made.image, {**state.patch, self.change: made.w[:, 0]}, made.memory)


def test_images_that_stop_leave_the_batch_and_the_others_are_as_if_alone() -> None:
    colours = (0.5, 1.0, 0.1, -0.8)
    method, other = Watched(0.5), Watched(0.5, name="other", change="another")
    chain = [method] + [other] * 7
    mask = torch.tensor([1.0, 11.0, 21.0, 31.0]).view(-1, 1, 1, 1)
    seen = []
    options = {"tolerance": 0.004, "keep_w": True}
    together = invert(plain(*colours), chain, target=Target(mask=mask),
                      on_step=lambda k, state, errors: seen.append((state, errors)), **options)  # fmt: skip
    assert together.last_step.tolist() == [4, 5, 2, 5]
    assert (method.given, other.given) == ([4], [4, 3, 3, 2])
    for index, colour in enumerate(colours):
        alone = invert(plain(colour), chain, target=Target(mask=mask[index : index + 1]), **options)
        one = together.one(index)
        assert torch.equal(one.w, alone.w) and torch.equal(one.images, alone.images)
        assert torch.equal(one.w_steps, alone.w_steps)
        assert [float(step.l2) for step in one.steps] == [float(step.l2) for step in alone.steps]
        for name, change in one.patch.items():  # where another image has a change, this one has none: zero
            assert torch.equal(change, alone.patch.get(name, torch.zeros_like(change)))
        for k, image in one.image_steps.items():
            assert torch.equal(image, alone.image_steps[k])
    for k, (state, errors) in enumerate(seen):  # whoever watches sees the whole batch
        assert torch.equal(state.image, together.image_steps[k]) and torch.equal(errors, together.steps[k].l2)


def test_steps_of_an_earlier_generator_are_never_the_best() -> None:
    """The photo's own domain is closest to it, but the result is from the last generator."""
    photos, toons = Approach(0.5, 0.5, name="photos"), Approach(-5.0, 0.5, -0.1, name="toons")
    toons.generator = torch.nn.Identity()
    result = invert(plain(1.0), [photos] * 2 + [toons] * 3)
    best = min(range(3, 6), key=lambda k: float(result.steps[k].l2))
    assert float(result.steps[2].l2) < float(result.steps[best].l2)
    assert int(result.best_step) == int(result.kept_step) == best


def test_tolerance_ends_the_last_methods_steps_and_no_others() -> None:
    first, second = Watched(0.5, name="first"), Watched(0.1, name="second")
    result = invert(plain(0.01), [first] * 3 + [second] * 4, tolerance=0.01)
    assert result.last_step.tolist() == [4], "the first method's steps gain less from the start, and are all made"


class Interrupting(Approach):
    """Ctrl-C comes in the middle of its third step."""

    def step(self, x: Tensor, state: State) -> State:
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().step(x, state)


def test_ctrl_c_returns_the_best_states_if_interruptible() -> None:
    result = invert(plain(1.0), Interrupting(0.5, -0.5), 5, keep_w=True, interruptible=True)
    assert result.interrupted
    assert (int(result.best_step), int(result.last_step), len(result.steps)) == (1, 2, 3)
    assert float(result.w) == pytest.approx(0.5)
    assert result.w_steps.shape[1] == 3
    assert result.one(0).interrupted
    with pytest.raises(KeyboardInterrupt):
        invert(plain(1.0), Interrupting(0.5), 5)
    assert not invert(plain(1.0), Interrupting(0.5), 2, interruptible=True).interrupted


def test_after_ctrl_c_finished_images_are_known() -> None:
    """The second image stops at its second step; Ctrl-C comes in the third."""
    result = invert(plain(1.0, 0.1), Interrupting(0.5), 5, tolerance=0.004, interruptible=True)
    assert result.interrupted
    assert result.finished.tolist() == [False, True]
    assert [bool(result.one(k).finished) for k in (0, 1)] == [False, True]


def test_ctrl_c_before_the_first_guess_ends_everything() -> None:
    class Never(Approach):
        def start(self, x: Tensor) -> State:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert(plain(1.0), Never(0.5), 5, interruptible=True)


def test_a_schedule_is_laid_out_over_the_steps() -> None:
    class Laid(Approach):
        total = 0

        has_schedule = True

        def over(self, steps: int) -> Laid:
            laid = Laid(0.5)
            laid.total = steps
            return laid

        def step(self, x: Tensor, state: State) -> State:
            return State(torch.full((len(x), 1, 1), float(self.total)), state.image + 0.1)

    assert float(invert(plain(1.0), Laid(0.5), 3).w) == 3
    assert float(invert(plain(1.0), Laid(0.5)).w) == Laid.default_steps
