"""What the methods that optimize share: Adam, the size and the network they compare at, masks, independent images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor
from typer.testing import Result

from restyle_cli.align import aligned_mark
from restyle_cli.images import fit, save_image, to_image
from restyle_cli.inversion import Method, State, Target, full_size, invert, iterate
from restyle_cli.methods.encoder import SinglePass
from restyle_cli.methods.idinvert import IDInvert
from restyle_cli.methods.image2stylegan import Image2StyleGAN, Image2StyleGANPlusPlus
from restyle_cli.methods.optimize import Adam, Comparison, Optimization
from restyle_cli.methods.projector import Projector, PTIPivot
from restyle_cli.methods.pti import PTI
from restyle_cli.perceptual.structure import Structure
from restyle_cli.store.files import write_module

LARGE = 512


class Watching:
    """A perceptual distance, the mean square of pixels, that records the sizes of its images."""

    name = "watching"

    def __init__(self) -> None:
        self.sizes: set[tuple[int, int]] = set()

    def features(self, x: Tensor) -> list[Tensor]:
        self.sizes.add((x.shape[-2], x.shape[-1]))
        return [x]

    def distances(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        return (x[0] - y[0]).square().mean(dim=(1, 2, 3))


def stripes(side: int = LARGE) -> Tensor:
    """Columns of 0.5 and -0.5: grey at half of the size."""
    image = torch.full((1, 3, side, side), 0.5)
    image[..., ::2] = -0.5
    return image


def method(kind: type[Optimization], resolution: int = LARGE) -> Optimization:
    return kind("m", tiny.generator(resolution=resolution), Watching())


def compared(one: Optimization, x: Tensor, mask: Tensor | None = None) -> Comparison:
    return one.comparison(x, State(torch.zeros(1), x, target=Target(mask=mask)))


# --- Adam


def test_adam_equals_torchs() -> None:
    torch.manual_seed(0)
    values = {"w": torch.randn(2, 3, 4), "bias": torch.randn(2, 5)}
    theirs = {name: value.clone().requires_grad_(True) for name, value in values.items()}
    optimizer = torch.optim.Adam(list(theirs.values()), lr=0.03, betas=(0.8, 0.99), eps=1e-6)
    memory: dict[str, Tensor] = {}
    for _ in range(5):
        gradients = {name: torch.randn_like(value) for name, value in values.items()}
        for name, value in theirs.items():
            value.grad = gradients[name].clone()
        optimizer.step()
        values, memory = Adam(0.03, (0.8, 0.99), 1e-6).step(values, gradients, memory)
    for name, value in values.items():
        torch.testing.assert_close(value, theirs[name].detach(), rtol=1e-5, atol=1e-6)
    assert memory["count"].tolist() == [5, 5]
    assert all(len(kept) == 2 for kept in memory.values()), "a row for each image"


def test_an_image_that_joins_later_is_as_if_alone() -> None:
    adam, zero, one = Adam(0.1), torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    first, memory = adam.step({"w": zero}, {"w": one}, {})
    second, _ = adam.step(first, {"w": 2 * one}, memory)
    alone, _ = adam.step({"w": zero}, {"w": 3 * one}, {})
    joined = {name: torch.cat([kept, torch.zeros_like(kept)]) for name, kept in memory.items()}
    both, _ = adam.step({"w": torch.cat([first["w"], zero])}, {"w": torch.cat([2 * one, 3 * one])}, joined)
    torch.testing.assert_close(both["w"], torch.cat([second["w"], alone["w"]]))


def test_ramp_and_zero_gradient() -> None:
    halved, _ = Adam(0.1).step({"w": torch.zeros(2, 1)}, {"w": torch.ones(2, 1)}, {}, torch.tensor([1.0, 0.5]))
    assert halved["w"].flatten().tolist() == pytest.approx([-0.1, -0.05])
    moved, _ = Adam().step({"w": torch.ones(1, 2)}, {"w": torch.zeros(1, 2)}, {})
    assert torch.equal(moved["w"], torch.ones(1, 2))


# --- batches


def chain(kind: type[Optimization], steps: int) -> list[Method]:
    """`steps` steps of a method on a generator with noise maps, after an encoder if it needs one."""
    generator = tiny.noisy_generator()
    one = kind("m", generator, Structure()).over(steps)
    first = [SinglePass("psp", tiny.encoder(channels=3), generator)] if kind.needs_start else []
    return [*first, *[one] * steps]


@pytest.mark.parametrize(
    ("kind", "steps"), [(Image2StyleGAN, 10), (Image2StyleGANPlusPlus, 20), (Projector, 12), (PTIPivot, 12), (PTI, 4)]
)
def test_images_of_a_batch_do_not_influence_each_other(kind: type[Optimization], steps: int) -> None:
    x = tiny.images(tiny.noisy_generator())
    both, alone = (invert(images, chain(kind, steps), keep="last") for images in (x, x[1:]))
    torch.testing.assert_close(both.w[1:], alone.w, rtol=2e-2, atol=2e-3)  # sums in another order, through Adam
    torch.testing.assert_close(both.images[1:], alone.images, rtol=2e-2, atol=1e-2)
    assert all(not torch.equal(change[0], change[1]) for change in both.patch.values() if change[0].numel() > 100)


# --- sizes


@pytest.mark.parametrize(
    ("kind", "side", "perceptual"),
    [
        (PTI, LARGE, 0.25),
        (Image2StyleGAN, 256, 0.0),
        (Image2StyleGANPlusPlus, 256, 0.0),
        (Projector, 256, 0.0),
        (PTIPivot, 256, 0.0),
    ],
)
def test_the_perceptual_network_sees_the_size_of_the_original(
    kind: type[Optimization], side: int, perceptual: float
) -> None:
    one = method(kind)
    target, grey = compared(one, stripes()), torch.zeros(1, 3, LARGE, LARGE)
    assert float(target.perceptual_distance(grey)) == pytest.approx(perceptual)
    assert float(target.pixel_distance(grey)) == pytest.approx(0.25)
    assert one.perceptual.sizes == {(side, side)}


@pytest.mark.parametrize(
    ("kind", "crop", "given", "seen"),
    [
        (PTI, None, (256, 256), (256, 256)),  # a small target is compared small
        (PTI, (384, 512), (384, 512), (384, 512)),
        (Projector, (384, 512), (384, 512), (192, 256)),
    ],
)
def test_small_targets_and_generators_that_are_not_square(
    kind: type[Optimization], crop: tuple[int, int] | None, given: tuple[int, int], seen: tuple[int, int]
) -> None:
    one = method(kind)
    one.generator.config.__dict__["crop"] = crop
    compared(one, torch.zeros(1, 3, *given)).perceptual_distance(torch.zeros(1, 3, *one.generator.size))
    assert one.perceptual.sizes == {seen}


def test_idinvert_shows_its_encoder_256_px() -> None:
    seen = []

    class Encoder(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.shape[-1])
            return torch.zeros(len(x), 16, tiny.W_DIM)

    one = IDInvert("i", Encoder(), tiny.generator(resolution=LARGE), Watching())
    one.step(stripes(256), one.start(stripes(256)))
    assert set(seen) == {256}


def test_the_target_at_full_size_reaches_the_methods_that_compare_there() -> None:
    first = SinglePass("psp", tiny.encoder(channels=3, styles=16), tiny.generator(resolution=LARGE))
    pti = PTI("pti", first.generator, Watching())
    assert first.size == (256, 256)
    assert full_size([first, pti]) == (LARGE, LARGE)
    assert full_size([first]) is None
    assert full_size([method(PTI, 32)]) is None
    list(iterate(fit(stripes(), (256, 256)), [first, pti], Target(stripes())))
    assert pti.perceptual.sizes == {(LARGE, LARGE)}
    invert(fit(stripes(), (256, 256)), [first, pti, pti], target=Target(stripes()))
    assert pti.perceptual.sizes == {(LARGE, LARGE)}


@pytest.mark.parametrize(
    "command",
    [("invert", "-m", "image2stylegan", "-n", 1), ("eval", "--methods", "image2stylegan:1", "--metrics", "l2")],
)
def test_commands_pass_photos_at_full_size(
    restyle: Callable[..., Result],
    tiny_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str | int, ...],
) -> None:
    write_module(tmp_path / "g.safetensors", tiny.generator(resolution=LARGE), "stylegan2")
    save_image(to_image(stripes(2 * LARGE)[0, :, :LARGE, :LARGE]), tmp_path / "a.png", aligned_mark())
    targets = []
    distance = Comparison.pixel_distance
    monkeypatch.setattr(Comparison, "pixel_distance", lambda self, y: targets.append(self.x) or distance(self, y))
    name, *options = command
    done = restyle(name, tmp_path / "a.png", *options, "--generator", tmp_path / "g.safetensors", "-o", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert targets[0].shape == (1, 3, LARGE, LARGE)
    assert float(targets[0].std()) == pytest.approx(0.5, abs=0.01), "the stripes are still there"


def test_pages_and_reports_state_the_comparison(
    restyle: Callable[..., Result], tiny_store: Path, tmp_path: Path
) -> None:
    page = restyle("methods", "projector", "--json")
    assert "LPIPS (VGG-16)" in json.loads(page.stdout)["compares"]
    assert "256 px" in restyle("methods", "projector").stdout
    save_image(to_image(stripes(64)[0]), tmp_path / "a.png", aligned_mark())
    restyle("eval", tmp_path / "a.png", "--methods", "pti-pivot-portrait:2", "--metrics", "l2", "-o", tmp_path / "out")
    protocol = json.loads((tmp_path / "out" / "report.json").read_text())["protocol"]
    assert "256 px" in protocol["optimising"] and "lpips-alex" in protocol["optimising"]
    assert "optimising" in (tmp_path / "out" / "report.html").read_text()


# --- masks


@pytest.mark.parametrize("kind", [PTI, Image2StyleGAN, Projector])
def test_the_mask_is_the_weight_of_each_pixel(kind: type[Optimization]) -> None:
    one, x = method(kind, 32), torch.zeros(1, 3, 32, 32)
    mask = torch.ones(1, 1, 32, 32)
    mask[..., 16:] = 0.5
    target = compared(one, x, mask)
    for distance in (target.pixel_distance, target.perceptual_distance):
        image = torch.full((1, 3, 32, 32), 0.1, requires_grad=True)
        distance(image).sum().backward()
        assert float(image.grad[..., 16:].mean() / image.grad[..., :16].mean()) == pytest.approx(0.5)
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 1.0
    assert float(target.pixel_distance(image)) == pytest.approx(0.5 / 1.5)
