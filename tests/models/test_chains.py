"""Names, files and chains lead to the right models, and these to methods."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import foreign
import pytest
import tiny
import torch

from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.methods.encoder import ReStyle, SinglePass
from restyle_cli.methods.projector import Projector
from restyle_cli.models import Link, load_method, parse_chain, plan
from restyle_cli.store import adding, catalog, fetch, legacy
from restyle_cli.store.files import sha256, write_module
from restyle_cli.store.legacy.rosinality import to_rosinality

RESTYLE, PSP = "restyle-psp-portrait", "psp-portrait"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Models that the catalog lacks: two generators of one latent space, one of another, and their encoders."""
    tiny.write_store(tmp_path)
    for name, space in (("mine", "mine"), ("tuned", "mine"), ("other", "other")):
        write_module(tmp_path / f"{name}.safetensors", tiny.generator(), "stylegan2", {"latent_space": space})
        tiny.write_encoder(tmp_path / f"restyle-{name}.safetensors", "restyle-psp", of=name)
    return tmp_path


# --- chains


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("a", [Link("a")]),
        ("a:5", [Link("a", 5)]),
        (" a:5 , b ", [Link("a", 5), Link("b")]),
        ("a,b:10,c", [Link("a"), Link("b", 10), Link("c")]),
        ("nets/a.safetensors:2", [Link("nets/a.safetensors", 2)]),
        (r"C:\nets\a.safetensors", [Link(r"C:\nets\a.safetensors")]),
        (r"C:\nets\a.safetensors:3,b", [Link(r"C:\nets\a.safetensors", 3), Link("b")]),
        ("C:/nets/a.safetensors", [Link("C:/nets/a.safetensors")]),
        ("a:0", [Link("a", 0)]),  # refused later, by the method
    ],
)
def test_parse_chain(text: str, links: list[Link]) -> None:
    assert parse_chain(text) == links


@pytest.mark.parametrize("text", ["", ",", "a,", "a:", ":5", "a:x", "a:-1", "a:1.5", "a:²", "a b:c"])
def test_a_malformed_chain_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_chain(text)
    assert "NAME[:STEPS]" in (caught.value.hint or "")


# --- plans


def test_default_steps(tiny_store: Path) -> None:
    assert plan(RESTYLE).chain == f"{RESTYLE}:5"
    assert plan(PSP).chain == f"{PSP}:1"
    assert plan(RESTYLE, 7).chain == f"{RESTYLE}:7"
    assert plan("", via=f"{PSP},{RESTYLE}:2").chain == f"{PSP}:1,{RESTYLE}:2"


@pytest.mark.parametrize(("name", "steps"), [(PSP, 2), (RESTYLE, 0), (RESTYLE, 101), (PSP, 0)])
def test_a_wrong_number_of_steps_is_refused(tiny_store: Path, name: str, steps: int) -> None:
    with pytest.raises(UsageError, match=str(steps)) as alone:
        plan(name, steps)
    with pytest.raises(UsageError) as chained:
        plan("", via=f"{name}:{steps}")
    assert alone.value.message == chained.value.message


def test_steps_and_a_chain_cannot_be_combined(tiny_store: Path) -> None:
    with pytest.raises(UsageError, match="steps"):
        plan(RESTYLE, 5, via=PSP)


def test_networks_are_identified_by_sha256(tiny_store: Path) -> None:
    networks = plan("", via=f"{PSP},{RESTYLE}").networks()
    assert set(networks) == {PSP, RESTYLE, "portrait"}
    assert networks["portrait"] == sha256(tiny_store / "portrait.safetensors")


def test_a_method_uses_the_bundled_model_with_a_notice(tiny_store: Path) -> None:
    found = plan("restyle-psp")
    assert found.models[0].name == RESTYLE
    assert len(found.notices) == 1
    assert RESTYLE in found.notices[0]
    assert plan(RESTYLE).notices == []
    assert len(plan("", via="psp,restyle-psp:2,restyle-psp:1").notices) == 2  # one per name


def test_a_method_uses_the_published_model_if_it_is_installed(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = catalog.entries()
    like = next(entry for entry in known if entry.name == RESTYLE)
    published = type(like)(
        **{**vars(like), "name": "restyle-psp-ffhq", "embedded": False, "file": "published.safetensors"}
    )
    monkeypatch.setattr(
        catalog, "entries", lambda: [*(entry for entry in known if entry.name != published.name), published]
    )
    notice = plan("restyle-psp").notices[0]
    assert RESTYLE in notice
    assert "restyle weights get restyle-psp-ffhq" in notice

    monkeypatch.setenv("RESTYLE_HOME", str(tmp_path))
    shutil.copy(tiny_store / f"{RESTYLE}.safetensors", tmp_path / "published.safetensors")
    found = plan("restyle-psp")
    assert found.models[0].name == "restyle-psp-ffhq"
    assert found.notices == []


def test_only_a_model_named_outright_is_downloaded(tiny_store: Path, tmp_path: Path) -> None:
    fetched: list[str] = []

    def ensure(entry: catalog.Entry) -> Path:
        fetched.append(entry.name)
        return tiny_store / (entry.file if entry.embedded else f"{RESTYLE}.safetensors")

    plan("restyle-psp", ensure=ensure)
    assert fetched == [RESTYLE, "portrait"]
    with pytest.raises(RestyleError, match="no model of 'restyle-e4e' is installed") as caught:
        plan("restyle-e4e", ensure=ensure)
    assert "run `restyle weights get restyle-e4e-ffhq`" in caught.value.hint
    assert len(fetched) == 2
    plan("restyle-psp-ffhq", ensure=ensure)
    assert fetched[2] == "restyle-psp-ffhq"


def test_models_of_one_latent_space_are_chained(folder: Path) -> None:
    chain = f"{folder / 'restyle-mine.safetensors'}:1,{folder / 'restyle-tuned.safetensors'}:2"
    assert [model.generator_name for model in plan("", via=chain).models] == ["mine", "tuned"]


def test_models_of_two_latent_spaces_are_refused(folder: Path) -> None:
    chain = f"{folder / 'restyle-mine.safetensors'}:1,{folder / 'restyle-other.safetensors'}:2"
    with pytest.raises(UsageError, match="do not share a latent space") as caught:
        plan("", via=chain)
    assert "mine" in caught.value.message
    assert "other" in caught.value.message


# --- unknown names and wrong files


def test_an_unknown_name_gets_the_closest_one_as_hint(tiny_store: Path) -> None:
    with pytest.raises(RestyleError, match="no model named 'restyle-psp-potrait'") as caught:
        plan("restyle-psp-potrait")
    assert f"did you mean '{RESTYLE}'?" in caught.value.hint
    assert "restyle weights list" in caught.value.hint
    with pytest.raises(RestyleError, match="no model named 'qwertz'") as caught:
        plan("qwertz")
    assert "did you mean" not in caught.value.hint


def test_a_generator_alone_means_the_projector_on_it(tiny_store: Path, folder: Path) -> None:
    for name in ("portrait", str(folder / "mine.safetensors")):
        found = plan(name, 3)
        (model,) = found.models
        assert (model.method, model.generator_name, found.steps) == ("projector", name, (3,))
        assert plan("", via=found.chain).networks() == found.networks()
        (method, *_) = found.load()
        assert isinstance(method, Projector) and method.steps == 3
    assert plan("portrait").steps == (1000,)
    chain = plan("", via="portrait:2,pti:3,toon")
    assert [model.method for model in chain.models] == ["projector", "pti", "redraw"]
    (folder / "photo.jpg").write_bytes(b"")
    with pytest.raises(RestyleError, match="is an image, not a model"):
        plan(str(folder / "photo.jpg"))
    with pytest.raises(UsageError, match="--generator names another"):
        plan("portrait", generator="toon")


def test_a_missing_file(tiny_store: Path) -> None:
    for name in ("nets/mine", "mine.safetensors"):
        with pytest.raises(RestyleError, match=f"no file '{name}'"):
            plan(name)


def test_a_missing_bundled_model(empty_store: Path) -> None:
    with pytest.raises(RestyleError, match="portrait"):
        plan(RESTYLE)
    with pytest.raises(RestyleError, match="no model of 'restyle-psp' is installed"):
        plan("restyle-psp")


def test_a_file_without_an_encoder_is_refused(folder: Path) -> None:
    write_module(folder / "id.safetensors", tiny.lpips(), "lpips-alex")
    with pytest.raises(RestyleError, match="contains no encoder, but: perceptual"):
        plan(str(folder / "id.safetensors"))
    text = folder / "text.safetensors"
    text.write_text("not a network")
    with pytest.raises(RestyleError, match=r"text\.safetensors"):
        plan(str(text))


def test_an_encoder_without_its_generator_is_refused(folder: Path) -> None:
    (folder / "mine.safetensors").unlink()
    with pytest.raises(RestyleError, match="generator 'mine' is missing") as caught:
        plan(str(folder / "restyle-mine.safetensors"))
    assert str(folder / "mine.safetensors") in caught.value.hint


# --- loading


def test_names_and_files_are_loaded(tiny_store: Path, folder: Path) -> None:
    x = torch.zeros(1, 3, 256, 256)
    for name, kind in ((RESTYLE, ReStyle), (PSP, SinglePass), (folder / "restyle-mine.safetensors", ReStyle)):
        method = load_method(name)
        assert isinstance(method, kind)
        assert method.name == str(name)
        assert not any(p.requires_grad for p in (*method.encoder.parameters(), *method.generator.parameters()))
        assert method.step(x, method.start(x)).image.shape == (1, 3, 32, 32)
    again = load_method(RESTYLE)
    expected = tiny.encoder()
    for name, tensor in again.encoder.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name])


def test_a_schedule_has_a_method_for_every_step(tiny_store: Path) -> None:
    schedule = plan("", via=f"{PSP},{RESTYLE}:3").load()
    assert [method.name for method in schedule] == [PSP, RESTYLE, RESTYLE, RESTYLE]
    assert schedule[1] is schedule[3]
    assert schedule[0].generator is schedule[1].generator  # read once
    assert len(plan(RESTYLE).load()) == 5


def test_networks_that_do_not_fit_are_refused(tiny_store: Path, folder: Path) -> None:
    tiny.write_encoder(folder / "wide.safetensors", "restyle-psp", of="mine", styles=10)
    with pytest.raises(RestyleError, match="predicts latents of 10x16, mine takes 8x16"):
        load_method(folder / "wide.safetensors")
    extra = {"method": "psp", "generator": "mine"}
    write_module(folder / "six.safetensors", tiny.encoder(channels=6), "small", extra)
    with pytest.raises(RestyleError, match="takes 6 channels, its method psp has 3"):
        load_method(folder / "six.safetensors")


# --- foreign files


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ReStyle files: with its decoder, fine-tuned from it, of another generator, without decoder; and generators."""
    folder = tmp_path_factory.mktemp("theirs")
    mine, tuned, other = foreign.generator(), foreign.generator(), foreign.generator(seed=4)
    tuned.convs[2].weight.mul_(1.1)
    opts = {"encoder_type": "BackboneEncoder", "start_from_latent_avg": True}
    for name, draws in (("mine", mine), ("tuned", tuned), ("other", other)):
        torch.save(foreign.checkpoint(draws, foreign.encoder(), **opts), folder / f"{name}.pt")
        torch.save(to_rosinality(draws), folder / f"{name}-generator.pt")
    torch.save(foreign.checkpoint(None, foreign.encoder(), **opts), folder / "alone.pt")
    foreign.write_nvidia(folder / "mine.pkl", foreign.nvidia_state(mine))
    return folder


def test_a_foreign_file_uses_its_decoder(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr(
        legacy, "open_parts", lambda path, *rest, whole=legacy.open_parts: opened.append(path) or whole(path)
    )
    found = plan(str(theirs / "mine.pt"), 2)
    assert found.models[0].generator_name == "mine.pt:decoder"
    assert found.networks() == dict.fromkeys((str(theirs / "mine.pt"), "mine.pt:decoder"), sha256(theirs / "mine.pt"))
    method, again = found.load()
    assert method is again
    assert opened == [theirs / "mine.pt"]
    generator, encoder, x = foreign.generator(), foreign.encoder(), torch.rand(1, 3, 256, 256)
    expected = ReStyle("expected", encoder, generator)
    state = expected.step(x, expected.start(x))
    torch.testing.assert_close(method.step(x, method.start(x)).w, state.w)


def test_another_generator_replaces_the_decoder(theirs: Path, tiny_store: Path) -> None:
    x = torch.rand(1, 3, 256, 256)
    for name in ("tuned-generator.pt", "tuned.pt"):  # a generator, or the decoder of another encoder
        method = load_method(theirs / "mine.pt", generator=theirs / name)
        expected = foreign.generator()
        expected.convs[2].weight.mul_(1.1)
        torch.testing.assert_close(method.start(x).image, expected(expected.start(1)))
    for name in ("alone.pt", "mine.pt"):
        method = load_method(theirs / name, generator=theirs / "mine.pkl")
        assert torch.equal(method.generator.w_avg, foreign.generator().w_avg)
    assert plan(str(theirs / "mine.pt"), generator=str(theirs / "tuned.pt")).notices == []
    (notice,) = plan(str(theirs / "mine.pt"), generator=str(theirs / "other.pt")).notices
    assert "trained for another generator" in notice
    with pytest.raises(RestyleError, match="predicts latents of 10x16, portrait takes 8x16"):
        load_method(theirs / "mine.pt", generator="portrait")


def test_wrong_generators_are_refused(theirs: Path) -> None:
    for generator, message in (
        ("nowhere.pt", "no generator 'nowhere.pt'"),
        (theirs / "alone.pt", "contains no generator"),
    ):
        with pytest.raises(RestyleError, match=message):
            load_method(theirs / "mine.pt", generator=generator)
    with pytest.raises(RestyleError, match="does not record its generator") as caught:
        load_method(theirs / "alone.pt")
    assert "--generator" in (caught.value.hint or "")
    assert isinstance(load_method(theirs / "mine.pkl"), Projector)


def test_foreign_files_of_two_mappings_are_chained_with_a_notice(theirs: Path) -> None:
    """Fine-tuning usually keeps the mapping network, so another one only makes the latent space unknown."""
    assert plan("", via=f"{theirs / 'mine.pt'}:1,{theirs / 'tuned.pt'}:2").notices == []
    (notice,) = plan("", via=f"{theirs / 'mine.pt'}:1,{theirs / 'other.pt'}:2").notices
    assert "it is not known whether" in notice and "--latent-space" in notice
    with_generator = plan("", via=f"{theirs / 'mine.pt'},{theirs / 'other.pt'}", generator=str(theirs / "mine.pkl"))
    assert len(with_generator.models) == 2
    assert not any("not known whether" in notice for notice in with_generator.notices)


# --- own files


@pytest.fixture
def own(theirs: Path) -> Path:
    """Two own encoders that contain their decoders, and one that records no generator."""
    for name in ("mine", "other"):
        adding.add(theirs / f"{name}.pt", f"my-{name}")
    write_module(theirs / "w.safetensors", tiny.encoder(channels=3), "small", {"method": "e4e-w"})
    adding.add(theirs / "w.safetensors", "my-w")
    return theirs


def test_own_encoders_are_chained_with_a_notice(own: Path) -> None:
    chain = plan("", via="my-mine:1,my-other:2")
    (notice,) = chain.notices
    assert "it is not known whether my-mine and my-other share a latent space" in notice
    first, second, again = chain.load()
    x = torch.rand(1, 3, 256, 256)
    state = second.step(x, first.step(x, first.start(x)))
    assert state.image.shape == (1, 3, 64, 64)
    assert second is again
    assert torch.equal(second.generator.w_avg, foreign.generator(seed=4).w_avg)


def test_a_stated_latent_space_needs_no_notice(own: Path) -> None:
    fetch.remove(catalog.find("my-other"))
    entry, _ = adding.add(own / "other.pt", "my-other", latent_space="my-mine")
    assert entry.latent_space == catalog.find("my-mine").latent_space
    assert plan("", via="my-mine:1,my-other:2").notices == []
    for name, space in (("one", "clay"), ("two", "clay"), ("three", "stylegan2-ffhq"), ("four", "restyle-psp-ffhq")):
        adding.add(own / "other.pt", name, latent_space=space)
    assert plan("", via="one:1,two:2").notices == []
    assert plan("", via="three:1,four:2").notices == []
    assert catalog.find("four").latent_space == "stylegan2-ffhq"
    adding.add(own / "mine.pt", "ffhq-like", latent_space="restyle-psp-ffhq")
    assert plan("", via="ffhq-like:1,four:2").notices == []


def test_latent_spaces_known_to_differ_are_refused(theirs: Path) -> None:
    """Also if the first of three is unknown."""
    adding.add(theirs / "other.pt", "faces", latent_space="stylegan2-ffhq")
    adding.add(theirs / "mine.pt", "cars", latent_space="stylegan2-cars")
    for chain in ("faces:1,cars:2", f"{theirs / 'tuned.pt'}:1,faces:1,cars:2"):
        with pytest.raises(UsageError, match="faces and cars cannot be chained"):
            plan("", via=chain)


@pytest.mark.parametrize(
    ("file", "space", "message"),
    [
        ("mine.pt", "A b", "cannot be a latent space"),
        ("mine.pt", "my-generator", "the latent space of 'my-generator' is unknown"),
        ("moco.pt", "clay", "takes no latent space: it compares images"),
    ],
)
def test_wrong_latent_spaces_are_refused(theirs: Path, tmp_path: Path, file: str, space: str, message: str) -> None:
    write_module(tmp_path / "g.safetensors", tiny.generator(), "stylegan2")
    adding.add(tmp_path / "g.safetensors", "my-generator")
    write_module(tmp_path / "moco.pt", tiny.lpips(), "lpips-alex")
    path = theirs / file if file == "mine.pt" else tmp_path / file
    with pytest.raises(RestyleError, match=message):
        adding.add(path, "new", latent_space=space)
    assert "new" not in [entry.name for entry in catalog.entries()]


@pytest.mark.parametrize("chain", ["my-w:1,{}:2", "{}:1,my-w:1", "my-w:1,image2stylegan:2,{}:1"])
def test_an_encoder_without_a_recorded_generator(own: Path, tiny_store: Path, chain: str) -> None:
    found = plan("", via=chain.format(RESTYLE))
    assert {model.generator_name for model in found.models} == {"portrait"}
    assert any("my-w does not record its generator; in this chain it uses portrait" in n for n in found.notices)
    assert not any("not known whether" in notice for notice in found.notices)
    method = next(method for method in found.load() if method.name == "my-w")
    assert torch.equal(method.generator.w_avg, tiny.generator().w_avg)


def test_an_encoder_without_a_recorded_generator_before_a_generator(own: Path, tiny_store: Path) -> None:
    assert [model.generator_name for model in plan("", via="my-w:1,toon").models] == ["toon", "toon"]
    with pytest.raises(RestyleError, match="does not record its generator"):
        plan("", via="my-w:1,image2stylegan:2")


def test_own_generators_render_latents_of_others(tiny_store: Path, tmp_path: Path) -> None:
    write_module(tmp_path / "g.safetensors", tiny.generator(5), "stylegan2")
    adding.add(tmp_path / "g.safetensors", "my-tuned")
    (notice,) = plan("", via=f"{RESTYLE}:1,my-tuned").notices
    assert "it is not known whether" in notice
    fetch.remove(catalog.find("my-tuned"))
    adding.add(tmp_path / "g.safetensors", "my-tuned", latent_space="portrait")
    assert plan("", via=f"{RESTYLE}:1,my-tuned").notices == []


def test_published_names_have_the_published_latent_space(theirs: Path, tmp_path: Path) -> None:
    for name, source in (("restyle_psp_ffhq_encode.pt", "mine.pt"), ("restyle_psp_toonify.pt", "other.pt")):
        shutil.copy(theirs / source, tmp_path / name)
    chain = ",".join(str(tmp_path / name) for name in ("restyle_psp_ffhq_encode.pt", "restyle_psp_toonify.pt"))
    assert len(plan("", via=chain).models) == 2


def test_latents_that_are_not_relative_to_the_average(theirs: Path, tmp_path: Path) -> None:
    finds = foreign.encoder(pyramid=True)
    for start in (True, False):
        content = foreign.checkpoint(
            foreign.generator(), finds, encoder_type="GradualStyleEncoder", start_from_latent_avg=start
        )
        torch.save(content, tmp_path / "e.pt")
        x = torch.rand(1, 3, 256, 256)
        method = load_method(tmp_path / "e.pt")
        found = method.step(x, method.start(x)).w
        torch.testing.assert_close(found, finds(x) + (foreign.generator().w_avg if start else 0))


def test_the_crop_follows_the_encoder(tmp_path: Path) -> None:
    draws = foreign.generator(resolution=512, channels={2**k: 4 for k in range(2, 10)})
    finds = foreign.encoder(styles=16, input_size=(48, 64))
    opts = {"encoder_type": "BackboneEncoder", "dataset_type": "cars_encode"}
    torch.save(foreign.checkpoint(None, finds, **opts), tmp_path / "e.pt")
    torch.save(to_rosinality(draws), tmp_path / "g.pt")
    assert load_method(tmp_path / "e.pt", generator=tmp_path / "g.pt").size == (192, 256)


def test_the_catalog_names_the_model_of_the_first_latent(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [dataclasses.replace(entry, start=PSP) if entry.name == RESTYLE else entry for entry in catalog.entries()]
    monkeypatch.setattr(catalog, "entries", lambda: known)
    assert plan(RESTYLE, 3).chain == f"{PSP}:1,{RESTYLE}:3"
    assert plan("restyle-psp", 3).chain == f"{PSP}:1,{RESTYLE}:3"
    assert plan("", via=f"{RESTYLE}:3").chain == f"{RESTYLE}:3"
