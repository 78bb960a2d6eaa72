"""`restyle invert`: pictures to latent codes and reconstructions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.cli import framing, options, running
from restyle_cli.cli.output import Terminal
from restyle_cli.errors import UsageError
from restyle_cli.store.places import check_writable

if TYPE_CHECKING:
    from restyle_cli.folder import Outcome
    from restyle_cli.inversion import Method
    from restyle_cli.loading import Ensure, Plan
    from restyle_cli.masks import Mask
    from restyle_cli.results import Results
    from restyle_cli.stopping import Patience


def invert(
    paths: options.Pictures,
    steps: options.Steps = None,
    model: options.Model = options.DEFAULT_MODEL,
    via: options.Via = None,
    generator: options.Generator = None,
    downscale: options.Downscale = 1,
    quality: options.Quality = None,
    budget: options.Budget = None,
    tolerance: options.Tolerance = None,
    align: options.Align = "auto",
    face: options.Face = "1",
    landmarks: options.Landmarks = None,
    mask: options.Mask = None,
    crossover: options.Crossover = None,
    output: options.Output = options.OUTPUT / "invert",
    save: options.Save = options.DEFAULT_SAVE,
    paste_back: options.PasteBack = False,
    keep: options.Keep = "best",
    variants: options.Variants = None,
    mix_alpha: options.MixAlpha = None,
    seed: options.InvertSeed = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
) -> None:
    """Find the latent codes of pictures, and draw what the codes give.

    Writes for each its reconstruction, a strip of all steps, and the latent file.

    A picture with a latent file that tells of the same picture, networks and settings
    is done and skipped: an interrupted run goes on where it stopped.

    Examples:

        [bold]restyle invert photo.jpg -n 5[/]

        [bold]restyle invert family.jpg --face all --paste-back[/]

        [bold]restyle invert photos/ --via psp-portrait,restyle-psp-portrait:3 --save image,latent,npy[/]

        [bold]restyle invert photo.jpg --budget 20s[/]

        [bold]restyle invert photos/ --quality best --budget 2m[/]

        [bold]restyle invert sketch.png -m psp-ffhq-sketch --variants 5[/]

        [bold]restyle invert photo.jpg -m image2stylegan++ -n 200 --mask known.png[/]
    """
    began = time.perf_counter()
    terminal = Terminal(json=json, quiet=quiet)
    kinds = options.parse_save(save) | ({"pasted"} if paste_back else set())
    wish = _wish(quality, budget, steps, via, tolerance)
    if via is not None and model != options.DEFAULT_MODEL:
        raise UsageError("--via names all models, and --model another", "leave one of them out")
    sources, missing = running.find(paths, output, terminal)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli.align import rule_of
    from restyle_cli.folder import Task, invert_all
    from restyle_cli.methods.psp import NON_PHOTO
    from restyle_cli.stopping import Plateau

    plan, patience = _plan(wish, model, steps, via, running.fetching(offline, terminal), generator, downscale)
    if tolerance is not None:
        _check_tolerance(plan)
    rule = "none" if plan.models[0].task in NON_PHOTO else rule_of(plan.models[0].name, plan.models[0].generator_name)
    masked = _masked(mask, crossover, plan)
    mixing = _mixing(variants, mix_alpha, seed or 0)
    if seed is not None and not (mixing or plan.is_random):
        message = f"--seed changes nothing here: {plan.chain} uses no random numbers"
        raise UsageError(message, "leave it out; --variants, projector, pti-pivot and pti-local use some")
    others = () if crossover is None else (crossover,)
    framed, framing_settings = framing.choose(align, face, landmarks, sources, terminal, rule, others)
    machine = running.choose_machine(device, precision, batch_size)
    check_writable(output)
    for notice in plan.notices:
        terminal.note(notice)
    result = {"model": plan.models[-1].name, "chain": plan.chain}
    settings = {**result, "networks": plan.networks(), "keep": keep, "tolerance": tolerance, **framing_settings}
    settings |= machine.settings | _UNASKED | wish | (masked.described() if masked else {})
    settings |= {"downscale": downscale if downscale > 1 else None, "variants": mixing or None}
    settings |= {"seed": (seed or None) if plan.is_random else None}
    compared = {"perceptual": plan.perceptual} if plan.perceptual else {}
    methods = plan.load(machine.device, seed or 0)
    live = running.Live(len(methods), open_end=bool(wish), seconds=wish.get("budget"))
    notes = {**machine.notes, **compared, "generators": plan.generators}
    task = Task(
        methods,
        _results(mixing, methods, (output, kinds, settings, notes, framed.face == "all")),
        machine.device,
        machine.dtype,
        keep,
        tolerance,
        framed,
        overwrite,
        machine.batch_size,
        on_step=live.step if live.long else None,
        mask=masked,
        stop_rule=partial(Plateau, patience, wish["budget"]) if wish else None,
        note=terminal.note,
    )
    tally = running.run(
        sources, missing, invert_all(sources, task), "inverting", terminal, live, tell=_tell_of_oddities
    )
    summary = tally.summary(began)
    told = {**machine.notes, **compared, **result, **wish, "notices": plan.notices}
    terminal.result(
        {"command": "invert", **told, "images": tally.described, "summary": summary},
        *running.views(tally, summary, output),
    )
    running.end(tally, None if wish else len(methods))


_UNASKED = {"quality": None, "budget": None, "mask": None, "crossover": None}
"""Told of every result, so that one made with them is none made without."""


def _wish(
    quality: str | None, budget: str | None, steps: int | None, via: str | None, tolerance: float | None
) -> dict[str, Any]:
    """What `--quality` and `--budget` ask for, the latter in seconds; nothing where neither is given.

    UsageError where another option decides already what they are to decide.
    """
    if quality is None and budget is None:
        return {}
    asked = "--quality" if quality is not None else "--budget"
    for option, value in (("--steps", steps), ("--via", via), ("--tolerance", tolerance)):
        if value is not None:
            raise UsageError(f"{asked} chooses the chain and when to stop; {option} says it too", "give one of them")
    seconds = None if budget is None else options.parse_budget(budget)
    return {"quality": quality or options.DEFAULT_QUALITY, "budget": seconds}


def _plan(
    wish: Mapping[str, Any],
    model: str,
    steps: int | None,
    via: str | None,
    ensure: Ensure,
    generator: str | None,
    downscale: int,
) -> tuple[Plan, Sequence[Patience]]:
    """The chain, and how long each of its links goes on where that is decided by progress."""
    from restyle_cli import loading

    if wish:
        return loading.plan_quality(wish["quality"], model, ensure, generator, downscale)
    return loading.plan(model, steps, via, ensure, generator, downscale), ()


def _check_tolerance(plan: Plan) -> None:
    """UsageError where the last method's steps do not fall one by one."""
    from restyle_cli.inversion import Scheduled
    from restyle_cli.methods import METHODS

    last = plan.models[-1]
    if issubclass(METHODS.load(last.method), Scheduled):
        raise UsageError(
            f"--tolerance looks at single steps, and those of {last.name} follow a plan over all of them",
            "leave it out, or let --quality or --budget decide",
        )


def _results(mixing: Mapping[str, Any], methods: Sequence[Method], made_of: tuple[Any, ...]) -> Results:
    """The results, with variants if they are wished; RestyleError where a generator has none to give."""
    from restyle_cli.results import Results
    from restyle_cli.variants import VariantResults, check_fine

    if not mixing:
        return Results(*made_of)
    for generator in dict.fromkeys(method.generator for method in methods):
        check_fine(generator)
    return VariantResults(*made_of, **mixing)


def _mixing(variants: int | None, alpha: float | None, seed: int) -> dict[str, Any]:
    """What `VariantResults` are made of; nothing where none are asked for."""
    if variants is None and alpha is None:
        return {}
    count = options.DEFAULT_VARIANTS if variants is None else variants
    return {"count": count, "seed": seed, "alpha": 1.0 if alpha is None else alpha}


def _masked(mask: Path | None, crossover: Path | None, plan: Plan) -> Mask | None:
    """What `--mask` and `--crossover` mean; UsageError where the last method would make them mean nothing."""
    from restyle_cli.masks import Mask
    from restyle_cli.methods import METHODS, OF_GENERATOR

    if mask is None:
        if crossover is not None:
            raise UsageError("--crossover needs a mask", "--mask FILE: a picture, black where the other photo shows")
        return None
    last = [model for model in plan.models if model.method != OF_GENERATOR][-1]  # which draws, and looks at no photo
    if crossover is None and not METHODS.load(last.method).takes_mask:
        message = f"{last.name} heeds no mask: it would find what stands in the place of what is not known"
        raise UsageError(message, f'let one follow that optimises: --via "{last.name},image2stylegan++:400"')
    return Mask(mask, crossover)


def _tell_of_oddities(outcome: Outcome, terminal: Terminal) -> None:
    if outcome.status != "done":
        return
    path = str(outcome.path)
    if "pasted" in outcome.files and outcome.made["source"]["turned"]:
        terminal.note(f"{path!r} lies on its side in its file; {str(outcome.files['pasted'])!r} is upright")
    lost = [step["step"] for step in outcome.made["steps"] if step["l2"] is None]
    if lost:
        terminal.warn(f"{path!r}: no numbers from step {lost[0]} on; with --precision fp32 there may be some")
