"""Methods without an encoder of their own, by name: the generator, encoder and perceptual network that they get."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.inversion import invert, iterate
from restyle_cli.methods import METHODS
from restyle_cli.methods.pti import Locality
from restyle_cli.models import installed, load_method, plan
from restyle_cli.perceptual.lpips import LPIPS
from restyle_cli.perceptual.structure import Structure
from restyle_cli.perceptual.vgg16 import VGG16, VGG16Config
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import write_module


@pytest.fixture
def x() -> Tensor:
    return tiny.images()


def test_alone_a_method_uses_the_generator_of_its_domain(tiny_store: Path) -> None:
    default = plan("image2stylegan", 3)
    assert default.chain == "image2stylegan-portrait:3"
    assert any("stylegan2-ffhq" in notice for notice in default.notices)
    assert any("'lpips-alex', which stands in for vgg16" in notice for notice in default.notices)
    assert default.perceptual == "lpips-alex"
    named = plan("image2stylegan-toon", 3)
    assert named.models[0].generator_name == "toon"
    assert len(named.notices) == 1, "only about the perceptual network"
    assert set(named.networks()) == {"toon", "lpips-alex"}
    assert plan("image2stylegan").steps == (1000,)


def test_in_a_chain_a_method_uses_the_previous_generator(tiny_store: Path) -> None:
    chain = plan("", via="restyle-psp-toon:1,image2stylegan:2")
    assert [model.generator_name for model in chain.models] == ["toon", "toon"]
    assert chain.chain == "restyle-psp-toon:1,image2stylegan:2"
    schedule = chain.load()
    assert schedule[0].generator is schedule[1].generator
    assert plan("", via=chain.chain).networks() == chain.networks()
    named = plan("", via="restyle-psp-portrait:1,image2stylegan-toon:2")
    assert [model.generator_name for model in named.models] == ["portrait", "toon"]


def test_generator_option(tiny_store: Path, tmp_path: Path) -> None:
    write_module(tmp_path / "mine.safetensors", tiny.generator(seed=5), "stylegan2")
    schedule = plan("image2stylegan", 2, generator=str(tmp_path / "mine.safetensors")).load()
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


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("image2stylegan-portait", "image2stylegan-portrait"),
        ("hybird", "hybrid"),
        ("hybrid-portait", "hybrid-portrait"),
    ],
)
def test_similar_names_are_suggested(tiny_store: Path, wrong: str, right: str) -> None:
    with pytest.raises(RestyleError) as caught:
        plan(wrong)
    assert f"did you mean '{right}'?" in (caught.value.hint or "")


def test_pti_local_has_locality_regularization(tiny_store: Path) -> None:
    plain, local = (plan("", via=f"psp-portrait,{name}:3").load()[-1] for name in ("pti", "pti-local"))
    assert plain.locality is None and local.locality == Locality()
    assert local.name == "pti-local"


# --- IDInvert


def test_idinvert_borrows_an_encoder(tiny_store: Path, x: Tensor) -> None:
    found = plan("idinvert-portrait")
    assert found.chain == "idinvert-portrait:100"
    assert set(found.networks()) == {"idinvert-portrait", "portrait", "lpips-alex"}
    (loaded,) = plan("idinvert-portrait", 1).load()
    assert torch.equal(loaded.start(x).w, tiny.generator().w_avg + tiny.encoder(channels=3)(x))
    assert "idinvert-portrait" in installed("idinvert")
    assert plan("idinvert").models[0].name == "idinvert-portrait", "the bundled one stands in"


def test_in_a_chain_idinvert_uses_the_previous_encoder(tiny_store: Path, x: Tensor) -> None:
    found = plan("-", via="psp-portrait,idinvert:2")
    assert found.chain == "psp-portrait:1,idinvert:2"
    assert found.models[1].encoder == found.models[0].encoder
    assert plan("-", via="restyle-psp-portrait:2,idinvert-portrait:3,image2stylegan:2").steps == (2, 3, 2)
    states = list(iterate(x, found.load()))
    assert torch.equal(states[1].w, tiny.generator().w_avg + tiny.encoder(channels=3)(x))
    assert (states[3].w - states[1].w).abs().max() > 0


# --- perceptual networks

OWN = {
    "pti": "lpips-alex",
    "projector": "lpips-vgg",
    "pti-pivot": "lpips-vgg",
    "image2stylegan": "vgg16",
    "idinvert": "vgg16",
}
"""The perceptual network of the original of each method."""


@pytest.mark.parametrize("name", OWN)
def test_lpips_replaces_networks_that_are_not_installed(tiny_store: Path, name: str) -> None:
    own, found = OWN[name], plan(f"{name}-portrait")
    assert (METHODS.load(name).own_perceptual, found.perceptual) == (own, "lpips-alex")
    notices = [line for line in found.notices if "stands in" in line]
    assert len(notices) == (own != "lpips-alex")
    assert all(f"'lpips-alex', which stands in for {own}" in notice for notice in notices)
    assert all(f"`restyle weights get {own}`" in notice for notice in notices)


@pytest.mark.parametrize(("name", "own"), OWN.items())
def test_structure_replaces_lpips_if_its_file_is_missing(without_lpips: None, name: str, own: str) -> None:
    found = plan(f"{name}-portrait")
    assert found.perceptual == "structure"
    (notice,) = (line for line in found.notices if "stands in" in line)
    assert f"'structure', which stands in for {own}" in notice
    assert ("install restyle again" if own == "lpips-alex" else f"`restyle weights get {own}`") in notice
    assert isinstance(load_method(f"{name}-portrait").perceptual, Structure)


def test_the_perceptual_network_is_loaded(tiny_store: Path) -> None:
    loaded, x = load_method("image2stylegan-portrait"), torch.rand(1, 3, 256, 256)
    assert isinstance(loaded.perceptual, LPIPS)
    assert loaded.step(x, loaded.start(x)).w.isfinite().all()
    path = fetch.path_of(catalog.find("vgg16"))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    write_module(path, VGG16(VGG16Config((4,) * 10)), "vgg16")
    assert plan("idinvert-portrait").perceptual == "vgg16"
    assert plan("image2stylegan-portrait").perceptual == "vgg16", "the paper compares by its layers"
    assert plan("pti-portrait").perceptual == "lpips-alex"
    assert load_method("idinvert-portrait").weight == 5e-5


# --- hybrid


def test_hybrid_is_the_encoder_of_the_domain_and_image2stylegan(tiny_store: Path, x: Tensor) -> None:
    named = plan("hybrid-toon", 7)
    assert named.chain == "restyle-psp-toon:5,image2stylegan:7"
    assert named.name == "hybrid-toon"
    assert [model.generator_name for model in named.models] == ["toon", "toon"]
    assert plan("", via=named.chain).name is None
    default = plan("hybrid", 7)
    assert default.chain == "restyle-psp-portrait:5,image2stylegan:7"
    assert any("restyle-psp-ffhq" in notice for notice in default.notices)
    assert plan("", via="hybrid-portrait:7,image2stylegan:2").chain == f"{default.chain},image2stylegan:2"
    assert plan("hybrid").steps == (5, 1000)

    result = invert(x, plan("hybrid", 4).load(), keep_w=True)
    encoded = invert(x, load_method("restyle-psp-portrait"), 5, keep_w=True)
    torch.testing.assert_close(result.w_steps[:, :6], encoded.w_steps)
    assert float((result.w_steps[:, 6] - result.w_steps[:, 5]).abs().max()) == pytest.approx(0.01, rel=0.01)
