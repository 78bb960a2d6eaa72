"""The chain of each `--quality`, and how long its methods run."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.models import plan_quality
from restyle_cli.models.presets import ENCODER, HYPERNETWORK, SHORT, TUNING
from restyle_cli.store import catalog
from restyle_cli.store.catalog import Entry
from restyle_cli.store.files import write_module

pytestmark = pytest.mark.usefixtures("tiny_store")


def own_hypernetwork(name: str, generator: str) -> None:
    """An own hypernetwork for that generator."""
    path = catalog.own_file(name).with_suffix(".safetensors")
    extra = {"method": "hyperstyle", "generator": generator}
    write_module(path, tiny.hypernetwork(), "small-hyper", extra)
    unknown = {"licence_code": "?", "licence_weights": "?", "licence_data": "?", "commercial": "unclear"}
    catalog.write_own(
        Entry(name=name, kind="encoder", domain=generator, file=path.name, summary="tiny", own=True, **extra, **unknown)
    )


def chain(quality: str, model: str = "restyle-psp") -> str:
    return plan_quality(quality, model)[0].chain


def test_without_a_hypernetwork() -> None:
    assert chain("fast") == "restyle-psp-portrait:10"
    assert chain("balanced") == "restyle-psp-portrait:10,image2stylegan:100"
    assert chain("best") == "restyle-psp-portrait:10,pti:1000"
    assert plan_quality("fast", "restyle-psp")[1] == (ENCODER,)
    assert plan_quality("balanced", "restyle-psp")[1] == (ENCODER, SHORT)
    assert plan_quality("best", "restyle-psp")[1] == (ENCODER, TUNING)


def test_with_a_hypernetwork() -> None:
    own_hypernetwork("mine", "portrait")
    assert chain("fast") == "restyle-psp-portrait:10"
    assert chain("balanced") == "restyle-psp-portrait:10,mine:10"
    assert chain("best") == "restyle-psp-portrait:10,mine:10,pti:1000"
    plan, patience = plan_quality("best", "restyle-psp")
    assert patience == (ENCODER, HYPERNETWORK, TUNING)
    assert plan.models[2].generator == plan.models[1].generator
    methods = plan.load()
    assert len(methods) == 1020
    assert methods[15].encoder.config.targets


def test_a_hypernetwork_of_another_generator_is_not_used() -> None:
    own_hypernetwork("mine", "toon")
    assert chain("balanced") == "restyle-psp-portrait:10,image2stylegan:100"
    assert chain("balanced", "restyle-psp-toon") == "restyle-psp-toon:10,mine:10"


def test_another_encoder() -> None:
    plan, patience = plan_quality("best", "psp-portrait")
    assert plan.chain == "psp-portrait:1,pti:1000"  # it makes only one step
    assert [one.steps for one in patience] == [1, 1000]


def test_an_encoder_in_a_file(tiny_store: Path) -> None:
    own_hypernetwork("mine", "portrait")
    file = str(tiny_store / "restyle-psp-portrait.safetensors")
    assert chain("balanced", file) == f"{file}:10,mine:10"


def test_stand_ins_have_notices() -> None:
    plan, _ = plan_quality("best", "restyle-psp")
    assert any("restyle-psp-ffhq is not installed" in notice for notice in plan.notices)
    assert plan.perceptual == "lpips-alex"


@pytest.mark.parametrize("model", ["pti", "image2stylegan", "hyperstyle", "hyperstyle-ffhq", "pti-portrait", "hybrid"])
def test_other_models_are_refused(model: str) -> None:
    with pytest.raises(UsageError, match="start with an encoder"):
        plan_quality("fast", model)


def test_translations_are_refused(tmp_path: Path) -> None:
    extra = {"method": "psp", "generator": "portrait", "task": "frontal"}
    file = tmp_path / "turns.safetensors"
    write_module(file, tiny.encoder(channels=3), "small", extra)
    (tmp_path / "portrait.safetensors").symlink_to(catalog_file())
    with pytest.raises(UsageError, match="translates images"):
        plan_quality("fast", str(file))


def catalog_file() -> Path:
    from restyle_cli.store import fetch

    return fetch.path_of(catalog.find("portrait"))


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match="no quality named 'worst'"):
        plan_quality("worst", "restyle-psp")
    with pytest.raises(RestyleError, match="no model named 'restile'"):
        plan_quality("fast", "restile")
