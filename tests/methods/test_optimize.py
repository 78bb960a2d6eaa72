"""Adam as a function of the state, and Image2StyleGAN upon it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from restyle_cli.errors import RestyleError
from restyle_cli.inversion import State, invert, iterate
from restyle_cli.methods.image2stylegan import Image2StyleGAN
from restyle_cli.methods.optimize import Adam
from restyle_cli.models import load_method, plan
from restyle_cli.perceptual.lpips import LPIPS
from restyle_cli.perceptual.structure import Structure
from restyle_cli.store.files import write_module


@pytest.fixture
def x() -> torch.Tensor:
    """Pictures that the tiny generator can draw, as photos come."""
    draws = tiny.generator()
    codes = draws.w_avg + torch.randn(2, 8, tiny.W_DIM, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(draws(codes), (256, 256), mode="bilinear")


def method() -> Image2StyleGAN:
    return Image2StyleGAN("image2stylegan", tiny.generator(), Structure())


# --- Adam


def test_adam_equals_torchs() -> None:
    torch.manual_seed(0)
    values = {"w": torch.randn(2, 3, 4), "bias": torch.randn(2, 5)}
    theirs = {name: value.clone().requires_grad_(True) for name, value in values.items()}
    optimiser = torch.optim.Adam(list(theirs.values()), lr=0.03, betas=(0.8, 0.99), eps=1e-6)
    memory: dict[str, torch.Tensor] = {}
    adam = Adam(0.03, (0.8, 0.99), 1e-6)
    for _ in range(5):
        gradients = {name: torch.randn_like(value) for name, value in values.items()}
        for name, value in theirs.items():
            value.grad = gradients[name].clone()
        optimiser.step()
        values, memory = adam.step(values, gradients, memory)
    for name, value in values.items():
        torch.testing.assert_close(value, theirs[name].detach(), rtol=1e-5, atol=1e-6)
    assert memory["count"].tolist() == [5, 5]
    assert all(len(kept) == 2 for kept in memory.values()), "a row for each image"


def test_pictures_have_counts_and_rates_of_their_own() -> None:
    """A picture that joins later goes its own way: as if it were alone."""
    adam, gradient = Adam(0.1), {"w": torch.ones(1, 2, 2)}
    first = adam.step({"w": torch.zeros(1, 2, 2)}, gradient, {})
    alone, _ = adam.step(first[0], {"w": 2 * torch.ones(1, 2, 2)}, first[1])
    fresh, _ = adam.step({"w": torch.zeros(1, 2, 2)}, {"w": 3 * torch.ones(1, 2, 2)}, {})
    joined = {name: torch.cat([kept, torch.zeros_like(kept)]) for name, kept in first[1].items()}
    both, _ = adam.step(
        {"w": torch.cat([first[0]["w"], torch.zeros(1, 2, 2)])},
        {"w": torch.cat([2 * torch.ones(1, 2, 2), 3 * torch.ones(1, 2, 2)])},
        joined,
    )
    torch.testing.assert_close(both["w"], torch.cat([alone["w"], fresh["w"]]))
    halved, _ = adam.step({"w": torch.zeros(2, 1)}, {"w": torch.ones(2, 1)}, {}, torch.tensor([1.0, 0.5]))
    assert halved["w"].flatten().tolist() == pytest.approx([-0.1, -0.05])


def test_a_value_without_gradient_stays_where_it_is() -> None:
    moved, _ = Adam().step({"w": torch.ones(1, 2)}, {"w": torch.zeros(1, 2)}, {})
    assert torch.equal(moved["w"], torch.ones(1, 2))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad])
def test_a_step_works_in_either_gradient_mode_and_leaves_no_graph(
    x: torch.Tensor, mode: type[torch.no_grad] | type[torch.enable_grad]
) -> None:
    with mode():
        start = method().start(x)
        state = method().step(x, start)
    assert not any(values.requires_grad for values in (state.w, state.image, *state.memory.values()))
    assert (state.w - start.w).abs().max() > 0


# --- Image2StyleGAN


def test_it_equals_a_loop_written_by_hand(x: torch.Tensor) -> None:
    draws, compare = tiny.generator(), Structure()
    w = draws.start(2).clone().requires_grad_(True)
    adam = torch.optim.Adam([w], lr=0.01)
    target = torch.nn.functional.adaptive_avg_pool2d(x, 32)  # the generator's size, the smaller one
    for _ in range(4):
        image = draws(w)
        loss = compare(image, target) + (image - target).square().mean(dim=(1, 2, 3))
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
    *_, state = iterate(x, [method()] * 4)
    torch.testing.assert_close(state.w, w.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.image, draws(w).detach(), rtol=1e-3, atol=1e-3)


def test_it_finds_pictures_of_the_generator(x: torch.Tensor) -> None:
    quick = method()
    quick.adam = Adam(rate=0.05)
    result = invert(x, quick, 80)
    assert (result.steps[80].l2 < 0.1 * result.steps[0].l2).all()
    assert (result.steps[80].l2 < result.steps[20].l2).all()


def test_pictures_of_a_batch_are_optimised_as_if_alone(x: torch.Tensor) -> None:
    both, alone = invert(x, method(), 10, keep="last"), invert(x[1:], method(), 10, keep="last")
    torch.testing.assert_close(both.w[1:], alone.w, rtol=1e-3, atol=1e-4)  # batches are summed in another order


def test_it_goes_on_from_the_code_and_the_weights_before(x: torch.Tensor) -> None:
    patch = {"convs.1": torch.full((2, 8, 8, 1, 1), 0.1)}
    w = tiny.generator().start(2) + 0.3
    state = State(w, tiny.generator()(w, patch=patch), patch)
    after = method().step(x, state)
    assert float((after.w - w).abs().max()) == pytest.approx(0.01, rel=0.01)  # Adam's first step
    assert list(after.patch) == ["convs.1"] and torch.equal(after.patch["convs.1"], patch["convs.1"])
    torch.testing.assert_close(after.image, tiny.generator()(after.w, patch=patch))


def test_the_generators_weights_are_left_alone(x: torch.Tensor) -> None:
    one = method()
    for parameter in one.generator.parameters():
        parameter.requires_grad_(True)
    invert(x, one, 2)
    assert all(parameter.grad is None for parameter in one.generator.parameters())


# --- methods without an encoder, by name


def test_names(tiny_store: Path) -> None:
    alone = plan("image2stylegan", 3)
    assert alone.chain == "image2stylegan-portrait:3"
    assert any("stylegan2-ffhq" in notice for notice in alone.notices)
    assert any("'lpips-alex', which stands in for vgg16" in notice for notice in alone.notices)
    assert alone.perceptual == "lpips-alex"
    outright = plan("image2stylegan-toon", 3)
    assert outright.models[0].generator_name == "toon"
    assert len(outright.notices) == 1  # only what compares is not what was asked for
    assert set(outright.networks()) == {"toon", "lpips-alex"}
    assert plan("image2stylegan").steps == (1000,)


def test_in_a_chain_the_generator_is_the_one_before(tiny_store: Path) -> None:
    chain = plan("", via="restyle-psp-toon:1,image2stylegan:2")
    assert [model.generator_name for model in chain.models] == ["toon", "toon"]
    assert chain.chain == "restyle-psp-toon:1,image2stylegan:2"
    schedule = chain.load()
    assert schedule[0].generator is schedule[1].generator
    assert plan("", via=chain.chain).networks() == chain.networks()
    tuned = plan("", via="restyle-psp-portrait:1,image2stylegan-toon:2")
    assert [model.generator_name for model in tuned.models] == ["portrait", "toon"]


def test_a_generator_of_ones_own(tiny_store: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    write_module(file, tiny.generator(seed=5), "stylegan2")
    schedule = plan("image2stylegan", 2, generator=str(file)).load()
    assert torch.equal(schedule[0].generator.w_avg, tiny.generator(seed=5).w_avg)
    with pytest.raises(RestyleError, match="no generator 'nowhere'"):
        plan("image2stylegan", generator="nowhere")
    tiny.write_encoder(tmp_path / "e.safetensors", "psp")
    with pytest.raises(RestyleError, match="contains no generator"):
        plan("image2stylegan", generator=str(tmp_path / "e.safetensors"))


def test_without_any_generator_there_is_an_error(empty_store: Path) -> None:
    with pytest.raises(RestyleError, match="no generator for 'image2stylegan' is installed"):
        plan("image2stylegan")
    with pytest.raises(RestyleError, match="stylegan2-cars"):
        plan("image2stylegan-cars")


def test_a_near_name_is_offered(tiny_store: Path) -> None:
    with pytest.raises(RestyleError) as caught:
        plan("image2stylegan-portait")
    assert "did you mean 'image2stylegan-portrait'?" in (caught.value.hint or "")


def test_lpips_compares(tiny_store: Path) -> None:
    found = plan("image2stylegan", 1)
    assert "lpips-alex" in found.networks()
    (loaded,) = found.load()
    assert isinstance(loaded.perceptual, LPIPS)
    torch.manual_seed(0)
    x = torch.rand(1, 3, 256, 256)
    assert load_method("image2stylegan-portrait").step(x, loaded.start(x)).w.isfinite().all()


def test_structure_compares_where_the_file_of_lpips_is_missing(without_lpips: None) -> None:
    assert isinstance(load_method("image2stylegan-portrait").perceptual, Structure)


# --- hybrid


def test_hybrid_is_the_domains_encoder_and_then_optimisation(tiny_store: Path) -> None:
    outright = plan("hybrid-toon", 7)
    assert outright.chain == "restyle-psp-toon:5,image2stylegan:7"
    assert outright.name == "hybrid-toon"
    assert [model.generator_name for model in outright.models] == ["toon", "toon"]
    assert plan("", via=outright.chain).name is None
    alone = plan("hybrid", 7)
    assert alone.chain == "restyle-psp-portrait:5,image2stylegan:7"
    assert any("restyle-psp-ffhq" in notice for notice in alone.notices)
    assert plan("", via="hybrid-portrait:7,image2stylegan:2").chain == f"{alone.chain},image2stylegan:2"
    assert plan("hybrid").steps == (5, 1000)


def test_hybrid_goes_on_from_the_encoders_code(tiny_store: Path, x: torch.Tensor) -> None:
    result = invert(x, plan("hybrid", 4).load(), keep_w=True)
    encoded = invert(x, load_method("restyle-psp-portrait"), 5, keep_w=True)
    torch.testing.assert_close(result.w_steps[:, :6], encoded.w_steps)
    assert float((result.w_steps[:, 6] - result.w_steps[:, 5]).abs().max()) == pytest.approx(0.01, rel=0.01)


def test_names_near_hybrid_are_offered(tiny_store: Path) -> None:
    for wrong, right in (("hybird", "hybrid"), ("hybrid-portait", "hybrid-portrait")):
        with pytest.raises(RestyleError) as caught:
            plan(wrong)
        assert f"did you mean '{right}'?" in (caught.value.hint or "")
