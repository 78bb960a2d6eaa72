"""Recipes: presets, settings, and one line for what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.train.config import Recipe, bundled_recipes, make_recipe, merged, read_table


def recipe(*settings: str, **table: Any) -> Recipe:
    return make_recipe({"name": "mine", "preset": "small", "generator": "g", **table}, "mine.toml", settings)


@pytest.mark.parametrize("name", bundled_recipes())
def test_every_bundled_recipe_is_valid(name: str) -> None:
    found = make_recipe(read_table(name), name)
    assert found.name == name
    assert found.summary
    assert found.task == "faces" or found.generator


def test_published_settings() -> None:
    """Of the commands in the papers' repositories."""
    psp = make_recipe(read_table("restyle-psp-ffhq"), "")
    (stage,) = psp.stages
    assert (stage.iterations, stage.batch, stage.lr, psp.optimizer) == (5, 8, 1e-4, "ranger")
    assert stage.losses == {"l2": 1.0, "lpips": 0.8, "id": 0.1}
    e4e = make_recipe(read_table("restyle-e4e-cars"), "")
    assert e4e.stages[0].losses == {
        "l2": 1.0,
        "lpips": 0.8,
        "moco": 0.5,
        "delta_norm": 2e-4,
        "w_discriminator": 0.1,
    }
    assert e4e.discriminator is not None
    assert (e4e.discriminator.lr, e4e.discriminator.r1, e4e.discriminator.r1_every) == (2e-5, 10.0, 16)
    assert e4e.progressive is not None
    assert (e4e.progressive.start, e4e.progressive.every) == (20_000, 2_000)
    assert make_recipe(read_table("psp-ffhq"), "").stages[0].iterations == 1


def test_a_recipe_is_laid_over_its_method_and_its_preset() -> None:
    found = recipe(method="restyle-e4e", training={"losses": {"lpips": 0.0}}, data={"resolution": 64})
    assert found.stages[0].losses["lpips"] == 0
    assert found.stages[0].losses["delta_norm"] == 2e-4
    assert found.data.resolution == 64
    assert merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}) == {"a": {"b": 1, "c": 3}}


def test_settings_change_the_recipe() -> None:
    found = recipe("training.lr=1e-5", "training.losses.lpips=0.5", "data.align=never", "validation.every=7")
    assert found.stages[0].lr == 1e-5
    assert found.stages[0].losses["lpips"] == 0.5
    assert (found.data.align, found.validation.every) == ("never", 7)


def test_stages_share_the_training_table() -> None:
    stages = [{"steps": 5}, {"steps": 7, "lr": 1e-4}]
    found = recipe(training={"batch": 3, "lr": 0.1}, stages=stages)
    assert [(stage.steps, stage.batch, stage.lr) for stage in found.stages] == [(5, 3, 0.1), (7, 3, 1e-4)]
    assert found.steps == 12


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"training": {"batches": 3}}, "'stages.0.batches': there is no such setting.*did you mean 'batch'"),
        ({"training": {"batch": 0}}, "'stages.0.batch'"),
        ({"training": {"lr": "fast"}}, "'stages.0.lr'"),
        ({"stages": []}, "'stages'"),
        ({"name": "../up"}, "'name'"),
        ({"data": {"kind": "video"}}, "'data.kind'"),
        ({"preset": "smal"}, "no preset named 'smal'.*did you mean 'small'"),
        ({"method": "pti"}, "no method named 'pti' can be trained"),
        ({"lerning": 1}, "'lerning'"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(RestyleError) as raised:
        recipe(**table)
    text = f"{raised.value.message} {raised.value.hint}"
    import re

    assert re.search(message, text), text


@pytest.mark.parametrize("setting", ["lr", "=1", "training..lr=1", "name.inner=1"])
def test_wrong_settings(setting: str) -> None:
    with pytest.raises(UsageError):
        recipe(setting)


def test_unknown_recipe_and_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(RestyleError) as raised:
        read_table("restyle-psp-fhq")
    assert "did you mean 'restyle-psp-ffhq'" in str(raised.value.hint)
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RestyleError, match=r"bad\.toml"):
        read_table(tmp_path / "bad.toml")
