"""`restyle invert`: pictures to latent codes and reconstructions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.cli import framing, options, running
from restyle_cli.cli.output import Terminal
from restyle_cli.errors import UsageError

if TYPE_CHECKING:
    from restyle_cli.folder import Outcome
    from restyle_cli.loading import Plan
    from restyle_cli.masks import Mask


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
    output: options.Output = options.DEFAULT_OUTPUT,
    save: options.Save = options.DEFAULT_SAVE,
    paste_back: options.PasteBack = False,
    keep: options.Keep = "best",
    variants: options.Variants = None,
    mix_alpha: options.MixAlpha = None,
    seed: options.Seed = 0,
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
    seconds = None if budget is None else options.parse_budget(budget)
    wish = _wish(quality, seconds, steps, via, tolerance)
    sources, missing = running.find(paths, output, terminal)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli import loading
    from restyle_cli.align import rule_of
    from restyle_cli.folder import Task, invert_all
    from restyle_cli.methods.psp import DRAWN
    from restyle_cli.pace import by_progress
    from restyle_cli.results import Results
    from restyle_cli.variants import VariantResults

    fetching, patience = running.fetching(offline, terminal), ()
    if wish:
        plan, patience = loading.plan_quality(wish["quality"], model, fetching, generator, downscale)
    else:
        plan = loading.plan(model, steps, via, fetching, generator, downscale)
    rule = "none" if plan.models[0].task in DRAWN else rule_of(plan.models[0].name, plan.models[0].generator_name)
    masked = _masked(mask, crossover, plan)
    framed, framing_settings = framing.choose(align, face, landmarks, sources, terminal, rule)
    machine = running.choose_machine(device, precision, batch_size)
    running.check_writable(output)
    for notice in plan.notices:
        terminal.note(notice)
    result = {"model": plan.models[-1].name, "chain": plan.chain, **wish}
    settings = {**result, "networks": plan.networks(), "keep": keep, "tolerance": tolerance, **framing_settings}
    mixing = _mixing(variants, mix_alpha, seed)
    settings |= {"downscale": downscale} if downscale > 1 else {}
    settings |= {"variants": mixing} if mixing else {}
    settings |= masked.described() if masked else {}
    compared = {"perceptual": plan.perceptual} if plan.perceptual else {}
    notes = {**machine.notes, **compared, "generators": plan.generators}
    methods = plan.load(machine.device)
    make = (
        partial(VariantResults, generator=methods[-1].generator, dtype=machine.dtype, **mixing) if mixing else Results
    )
    results = make(output, kinds, settings, notes, numbered=framed.face == "all")
    live = running.Live(len(methods), open_end=bool(wish), seconds=seconds)
    task = Task(
        methods,
        results,
        machine.device,
        machine.dtype,
        keep,
        tolerance,
        framed,
        overwrite,
        machine.batch_size,
        on_step=live.step if live.long else None,
        mask=masked,
        pace=by_progress(methods, plan.steps, patience, seconds) if wish else None,
    )
    outcomes = running.run(sources, missing, invert_all(sources, task), "inverting", terminal, live)
    _tell_of_turned(outcomes, terminal)
    summary = running.summary(outcomes, began)
    images = [running.as_json(outcome) for outcome in outcomes]
    values = {"command": "invert", **machine.notes, **compared, **result, "images": images, "summary": summary}
    terminal.result(values, *running.views(outcomes, summary, output))
    running.end(outcomes, None if wish else len(methods))


def _wish(
    quality: str | None, budget: float | None, steps: int | None, via: str | None, tolerance: float | None
) -> dict[str, Any]:
    """What `--quality` and `--budget` (in seconds) ask for; nothing where neither is given.

    UsageError where another option decides already what they are to decide.
    """
    if quality is None and budget is None:
        return {}
    asked = "--quality" if quality is not None else "--budget"
    for option, value in (("--steps", steps), ("--via", via), ("--tolerance", tolerance)):
        if value is not None:
            raise UsageError(f"{asked} chooses the chain and when to stop; {option} says it too", "give one of them")
    return {"quality": quality or options.DEFAULT_QUALITY, "budget": budget}


def _mixing(variants: int | None, alpha: float | None, seed: int) -> dict[str, Any]:
    """What `VariantResults` are made of; nothing where none are asked for."""
    if variants is None and alpha is None:
        return {}
    count = options.DEFAULT_VARIANTS if variants is None else variants
    return {"count": count, "seed": seed, "alpha": 1.0 if alpha is None else alpha}


def _masked(mask: Path | None, crossover: Path | None, plan: Plan) -> Mask | None:
    """What `--mask` and `--crossover` mean; UsageError where they mean nothing to any method of the plan."""
    from restyle_cli.masks import Mask
    from restyle_cli.methods import METHODS

    if mask is None:
        if crossover is not None:
            raise UsageError("--crossover needs a mask", "--mask FILE: a picture, black where the other photo shows")
        return None
    heed = [model for model in plan.models if getattr(METHODS.load(model.method), "takes_mask", False)]
    if crossover is None and not heed:
        raise UsageError("no method here heeds a mask", "image2stylegan++ does: -m image2stylegan++, or in --via")
    return Mask(mask, crossover)


def _tell_of_turned(outcomes: Sequence[Outcome], terminal: Terminal) -> None:
    for outcome in outcomes:
        if outcome.status == "done" and "pasted" in outcome.files and outcome.made["source"]["turned"]:
            path, pasted = str(outcome.path), str(outcome.files["pasted"])
            terminal.note(f"{path!r} lies on its side in its file; {pasted!r} is upright")
