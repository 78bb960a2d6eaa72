"""Parsing of `--methods`, and the steps that are measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.evaluate.schedule import MOST_STEPS, plans, schedules

RESTYLE, PSP = "restyle-psp-portrait", "psp-portrait"
pytestmark = pytest.mark.usefixtures("tiny_store")


@pytest.mark.parametrize(
    ("text", "via", "steps", "chains"),
    [
        (None, None, None, [f"{RESTYLE}:5", f"{PSP}:1"]),
        (None, None, 3, [f"{RESTYLE}:3", f"{PSP}:1"]),
        (f"{PSP}, {RESTYLE}:2", None, 7, [f"{PSP}:1", f"{RESTYLE}:2"]),
        (f"{PSP}; {PSP},{RESTYLE}:3", None, None, [f"{PSP}:1", f"{PSP}:1,{RESTYLE}:3"]),
        (None, f"{PSP},{RESTYLE}:3", None, [f"{PSP}:1,{RESTYLE}:3"]),
        (PSP, f"{PSP},{RESTYLE}", 2, [f"{PSP}:1", f"{PSP}:1,{RESTYLE}:2"]),
        (f"{PSP},{PSP}:1", None, None, [f"{PSP}:1"]),
        ("psp,restyle-psp", None, 2, [f"{PSP}:1", f"{RESTYLE}:2"]),
    ],
)
def test_chains(text: str | None, via: str | None, steps: int | None, chains: list[str]) -> None:
    assert [plan.chain for plan in plans(text, via, steps)] == chains


@pytest.mark.parametrize("text", ["", f"{PSP},", ";", f"{PSP};;{RESTYLE}", f"{PSP}:x", f"{PSP}:3"])
def test_invalid_texts(text: str) -> None:
    with pytest.raises(UsageError):
        plans(text)


def test_an_unknown_model() -> None:
    with pytest.raises(RestyleError, match="psp-portrat"):
        plans("psp-portrat")


def test_nothing_installed(empty_store: Path) -> None:
    with pytest.raises(RestyleError, match="no inversion model"):
        plans()


def test_schedules_name_models_and_measure_their_steps() -> None:
    psp, restyle, chain = schedules(plans(f"{PSP};{RESTYLE}:2;{PSP},{RESTYLE}:1"))
    assert (psp.name, psp.steps, psp.methods) == (PSP, (0, 1), ("start", PSP))
    assert (restyle.name, restyle.steps) == (RESTYLE, (0, 1, 2))
    assert (chain.name, chain.methods) == (f"{PSP}:1,{RESTYLE}:1", ("start", PSP, RESTYLE))
    assert [schedule.name for schedule in schedules(plans(f"{RESTYLE}:1,{RESTYLE}:2"))] == [
        f"{RESTYLE}:1",
        f"{RESTYLE}:2",
    ]


def test_chains_requested_by_one_name_keep_it() -> None:
    planned = plans("hybrid-portrait:3,image2stylegan:2,pti:2")
    chains = [f"{RESTYLE}:5,image2stylegan:3", "image2stylegan-portrait:2", f"{RESTYLE}:5,pti-portrait:2"]
    assert [plan.chain for plan in planned] == chains
    assert [c.name for c in schedules(planned)] == ["hybrid-portrait", "image2stylegan-portrait", "pti-portrait"]
    hybrid, *_ = schedules(planned)
    assert hybrid.methods == ("start", *[RESTYLE] * 5, *["image2stylegan"] * 3)
    assert [plan.chain for plan in plans("hybrid-portrait", steps=2)] == [f"{RESTYLE}:2,image2stylegan:2"]


def test_long_chains_are_measured_at_some_steps() -> None:
    (schedule,) = schedules(plans(f"{RESTYLE}:100"))
    assert len(schedule.steps) <= MOST_STEPS
    assert schedule.steps[:3] == (0, 1, 2)
    assert schedule.steps[-1] == 100
    assert len(schedule.methods) == len(schedule.steps)
