"""What optimisers compare: at the size and by the network of each original; every pixel as much as its mask says."""

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
from restyle_cli.inversion import MASK, TARGET, State, full_size, invert, iterate
from restyle_cli.methods import METHODS
from restyle_cli.methods.encoder import SinglePass
from restyle_cli.methods.idinvert import IDInvert
from restyle_cli.methods.image2stylegan import Image2StyleGAN, Image2StyleGANPlusPlus, PaperLayers
from restyle_cli.methods.optimize import Comparison, Optimization
from restyle_cli.methods.projector import Projector, PTIPivot
from restyle_cli.methods.pti import PTI
from restyle_cli.models import plan
from restyle_cli.perceptual.vgg16 import VGG16, VGG16Config

LARGE = 512


class Watching:
    """A perceptual distance, the mean square of pixels, that remembers the sizes it was shown."""

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
    picture = torch.full((1, 3, side, side), 0.5)
    picture[..., ::2] = -0.5
    return picture


def method(kind: type[Optimization], resolution: int = LARGE) -> Optimization:
    return kind("m", tiny.generator(resolution=resolution), Watching())


def compared(one: Optimization, x: Tensor, mask: Tensor | None = None) -> Comparison:
    return one.comparison(x, State(torch.zeros(1), x, memory={} if mask is None else {MASK: mask}))


@pytest.mark.parametrize(
    ("kind", "seen", "perceptual"),
    [
        (PTI, LARGE, 0.25),
        (Image2StyleGAN, 256, 0.0),
        (Image2StyleGANPlusPlus, 256, 0.0),
        (Projector, 256, 0.0),
        (PTIPivot, 256, 0.0),
    ],
)
def test_detail_finer_than_256_px_is_seen_where_the_original_sees_it(
    kind: type[Optimization], seen: int, perceptual: float
) -> None:
    one = method(kind)
    target, grey = compared(one, stripes()), torch.zeros(1, 3, LARGE, LARGE)
    assert float(target.perceptual_distance(grey)) == pytest.approx(perceptual)
    assert float(target.pixel_distance(grey)) == pytest.approx(0.25)
    assert one.perceptual.sizes == {(seen, seen)}


def test_what_is_given_small_is_compared_small() -> None:
    one = method(PTI)
    compared(one, torch.zeros(1, 3, 256, 256)).perceptual_distance(torch.zeros(1, 3, LARGE, LARGE))
    assert one.perceptual.sizes == {(256, 256)}


def test_generators_that_are_not_square_keep_their_shape() -> None:
    for kind, seen in ((PTI, (384, 512)), (Projector, (192, 256))):
        one = method(kind)
        one.generator.config.__dict__["crop"] = (384, 512)
        compared(one, torch.zeros(1, 3, 384, 512)).perceptual_distance(torch.zeros(1, 3, 384, 512))
        assert one.perceptual.sizes == {seen}


def test_idinvert_shows_its_encoder_the_size_it_knows() -> None:
    shown = []

    class Encoder(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            shown.append(x.shape[-1])
            return torch.zeros(len(x), 16, tiny.W_DIM)

    one = IDInvert("i", Encoder(), tiny.generator(resolution=LARGE), Watching())
    one.step(stripes(256), one.start(stripes(256)))
    assert set(shown) == {256}


# --- the target at full size


def test_steps_find_the_full_size_beside_the_encoders() -> None:
    first = SinglePass("psp", tiny.encoder(channels=3, styles=16), tiny.generator(resolution=LARGE))
    pti = PTI("pti", first.generator, Watching())
    assert first.size == (256, 256)
    assert full_size([first, pti]) == (LARGE, LARGE)
    assert full_size([first]) is None
    assert full_size([method(PTI, 32)]) is None
    list(iterate(fit(stripes(), (256, 256)), [first, pti], {TARGET: stripes()}))
    assert pti.perceptual.sizes == {(LARGE, LARGE)}
    invert(fit(stripes(), (256, 256)), [first, pti, pti], inputs={TARGET: stripes()})
    assert pti.perceptual.sizes == {(LARGE, LARGE)}


@pytest.mark.parametrize("command", ["invert", "eval"])
def test_commands_give_photos_in_full_size(
    restyle: Callable[..., Result],
    tiny_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    from restyle_cli.store.files import write_module

    write_module(tmp_path / "g.safetensors", tiny.generator(resolution=LARGE), "stylegan2")
    save_image(to_image(stripes(2 * LARGE)[0, :, :LARGE, :LARGE]), tmp_path / "a.png", aligned_mark())
    targets = []
    whole = Comparison.pixel_distance
    monkeypatch.setattr(Comparison, "pixel_distance", lambda self, image: targets.append(self.x) or whole(self, image))
    named = "-m" if command == "invert" else "--methods"
    done = restyle(command, tmp_path / "a.png", named, "image2stylegan:1" if command == "eval" else "image2stylegan",
                   *(["-n", 1] if command == "invert" else ["--metrics", "l2"]),
                   "--generator", tmp_path / "g.safetensors", "-o", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert targets[0].shape == (1, 3, LARGE, LARGE)
    assert float(targets[0].std()) == pytest.approx(0.5, abs=0.01), "the stripes are still there"


# --- masks


@pytest.mark.parametrize("kind", [PTI, Image2StyleGAN, Projector])
def test_a_pixel_weighs_exactly_what_its_mask_says(kind: type[Optimization]) -> None:
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


def test_idinvert_leaves_the_domain_out_where_there_is_a_mask() -> None:
    """As the published diffusion: the loss is that of what is known, and no encoder is asked."""
    draws, encoder = tiny.generator(), tiny.encoder(channels=3)
    one = IDInvert("idinvert", encoder, draws, Watching())
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., :128] = 1
    w = one.start(x).w.requires_grad_(True)
    adam, target, known = torch.optim.Adam([w], lr=0.01), fit(x, (32, 32)), fit(mask, (32, 32))
    for _ in range(3):
        squares = (draws(w) - target).square() * known
        adam.zero_grad()
        (squares.sum() / (3 * known.sum()) + 0.8 * squares.mean()).backward()
        adam.step()
    *_, state = iterate(x, [one] * 3, {MASK: mask})
    torch.testing.assert_close(state.w, w.detach(), rtol=1e-3, atol=1e-3)


# --- networks


OWN = {
    "pti": "lpips-alex",
    "projector": "lpips-vgg",
    "pti-pivot": "lpips-vgg",
    "image2stylegan": "vgg16",
    "idinvert": "vgg16",
}
"""The network by which the original of each method compares."""


@pytest.mark.parametrize("name", [name for name, own in OWN.items() if own != "lpips-alex"])
def test_a_stand_in_for_the_originals_network_is_named(tiny_store: Path, name: str) -> None:
    own = OWN[name]
    found = plan(f"{name}-portrait")
    assert (METHODS.load(name).own_perceptual, found.perceptual) == (own, "lpips-alex")
    (notice,) = (line for line in found.notices if "stands in" in line)
    assert f"'lpips-alex', which stands in for {own}" in notice
    assert f"`restyle weights get {own}`" in notice
    assert plan("pti-portrait").notices == []


@pytest.mark.parametrize(("name", "own"), OWN.items())
def test_structure_stands_in_where_the_file_of_lpips_is_missing(without_lpips: None, name: str, own: str) -> None:
    found = plan(f"{name}-portrait")
    assert found.perceptual == "structure"
    (notice,) = (line for line in found.notices if "stands in" in line)
    assert f"'structure', which stands in for {own}" in notice
    assert ("install restyle again" if own == "lpips-alex" else f"`restyle weights get {own}`") in notice


def test_image2stylegan_looks_at_the_papers_layers() -> None:
    torch.manual_seed(0)
    network = VGG16(VGG16Config((2, 3, 4, 4, 5, 6, 5, 7, 8, 7)))
    one = Image2StyleGAN("i", tiny.generator(), network)
    assert isinstance(one.perceptual, PaperLayers)
    x, y = torch.rand(2, 1, 3, 32, 32) * 2 - 1
    maps = one.perceptual.features(x)
    assert [tuple(found.shape[1:]) for found in maps] == [(2, 32, 32), (3, 32, 32), (6, 8, 8), (8, 4, 4)]
    wanted = sum((a - b).square().mean() for a, b in zip(maps, one.perceptual.features(y), strict=True)) / 127.5**2
    torch.testing.assert_close(one.perceptual.distances(maps, one.perceptual.features(y)), wanted[None])
    assert network.features(x)[0].shape == (1, 7, 4, 4), "IDInvert's, conv4_3"


def test_the_protocol_and_the_pages_say_what_is_compared(
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
