"""`restyle invert`: images to latents and reconstructions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.cli import framing, options, running
from restyle_cli.cli.output import Terminal
from restyle_cli.errors import UsageError
from restyle_cli.store.paths import check_writable

EPILOG = options.examples(
    "restyle invert photo.jpg -n 5",
    "restyle invert family.jpg --face all --paste-back",
    "restyle invert photos --via psp-portrait,restyle-psp-portrait:3",
    "restyle invert photo.jpg --budget 20s",
    "restyle invert photos --quality best --budget 2m",
    "restyle invert sketch.png -m psp-ffhq-sketch --variants 5",
    "restyle invert photo.jpg -m image2stylegan++ -n 200 --mask known.png",
)

if TYPE_CHECKING:
    from restyle_cli.align.mask import Mask
    from restyle_cli.models import Ensure, Plan
    from restyle_cli.run.pipeline import Outcome
    from restyle_cli.stopping import Patience


def invert(
    paths: options.Images,
    steps: options.Steps = None,
    model: options.Model = options.DEFAULT_MODEL,
    via: options.Via = None,
    generator: options.Generator = None,
    quality: options.Quality = None,
    budget: options.Budget = None,
    mask: options.Mask = None,
    align: options.Align = "auto",
    face: options.Face = "1",
    output: options.Output = options.OUTPUT / "invert",
    save: options.Save = options.DEFAULT_SAVE,
    paste_back: options.PasteBack = False,
    keep: options.Keep = "best",
    variants: options.Variants = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
    downscale: options.Downscale = 1,
    tolerance: options.Tolerance = None,
    landmarks: options.Landmarks = None,
    crossover: options.Crossover = None,
    mix_alpha: options.MixAlpha = None,
    seed: options.InvertSeed = None,
) -> None:
    """Find the latents of images and render reconstructions.

    Writes for each image its reconstruction, a strip of all steps, and the
    latent file. Images that already have a latent file with the same models
    and settings are skipped.
    """
    began = time.perf_counter()
    terminal = Terminal(json=json, quiet=quiet)
    kinds = options.parse_save(save) | ({"pasted"} if paste_back else set())
    stopping = _stopping(quality, budget, steps, via, tolerance)
    if via is not None and model != options.DEFAULT_MODEL:
        raise UsageError("--via and --model cannot be combined", "--via names all models")
    sources, missing = running.find(paths, output, terminal)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli.align import alignment_rule
    from restyle_cli.methods.encoder import NON_PHOTO
    from restyle_cli.run.outputs import Results
    from restyle_cli.run.pipeline import Task, invert_all
    from restyle_cli.run.variants import check_fine, with_variants
    from restyle_cli.stopping import Plateau

    plan, patience = _plan(stopping, model, steps, via, running.fetching(offline, terminal), generator, downscale)
    if tolerance is not None:
        _check_tolerance(plan)
    rule = (
        "none"
        if plan.models[0].task in NON_PHOTO
        else alignment_rule(plan.models[0].name, plan.models[0].generator_name)
    )
    known = _mask(mask, crossover, plan)
    mixing = _mixing(variants, mix_alpha, seed or 0)
    if seed is not None and not (mixing or plan.is_random):
        message = f"--seed has no effect: {plan.chain} uses no random numbers"
        raise UsageError(message, "leave it out; only --variants, projector, pti-pivot and pti-local are random")
    others = () if crossover is None else (crossover,)
    framed, framing_settings = framing.choose(align, face, landmarks, sources, terminal, rule, others)
    machine = running.choose_machine(device, precision, batch_size)
    check_writable(output)
    for notice in plan.notices:
        terminal.note(notice)
    result = {"model": plan.models[-1].name, "chain": plan.chain}
    settings = {**result, "networks": plan.networks(), "keep": keep, "tolerance": tolerance, **framing_settings}
    settings |= machine.settings | _DEFAULTS | stopping | (known.settings() if known else {})
    settings |= {"downscale": downscale if downscale > 1 else None, "variants": mixing or None}
    settings |= {"seed": (seed or None) if plan.is_random else None}
    compared = {"perceptual": plan.perceptual} if plan.perceptual else {}
    methods = plan.load(machine.device, seed or 0)
    live = running.Live(len(methods), open_end=bool(stopping), seconds=stopping.get("budget"))
    notes = {**machine.notes, **compared, "generators": plan.generators}
    results = Results(output, kinds, settings, notes, framed.face == "all")
    if mixing:
        for network in dict.fromkeys(method.generator for method in methods):
            check_fine(network)
        results = with_variants(results, **mixing)
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
        mask=known,
        stop_rule=partial(Plateau, patience, stopping["budget"]) if stopping else None,
        note=terminal.note,
    )
    tally = running.run(sources, missing, invert_all(sources, task), "inverting", terminal, live, tell=_warn)
    summary = tally.summary(began)
    record = {**machine.notes, **compared, **result, **stopping, "notices": plan.notices}
    terminal.result(
        {"command": "invert", **record, "images": tally.described, "summary": summary},
        *running.views(tally, summary, output),
    )
    running.end(tally, None if stopping else len(methods))


_DEFAULTS = {"quality": None, "budget": None, "mask": None, "crossover": None}
"""Written to every latent file, so that a result made with one of these options differs from one made without."""


def _stopping(
    quality: str | None, budget: str | None, steps: int | None, via: str | None, tolerance: float | None
) -> dict[str, Any]:
    """`quality` and `budget` (in seconds or None); empty if neither option is given.

    UsageError if another option also chooses the chain or when to stop.
    """
    if quality is None and budget is None:
        return {}
    given = "--quality" if quality is not None else "--budget"
    for option, value in (("--steps", steps), ("--via", via), ("--tolerance", tolerance)):
        if value is not None:
            raise UsageError(f"{given} and {option} cannot be combined", f"{given} chooses the chain and when to stop")
    seconds = None if budget is None else options.parse_budget(budget)
    return {"quality": quality or options.DEFAULT_QUALITY, "budget": seconds}


def _plan(
    stopping: Mapping[str, Any],
    model: str,
    steps: int | None,
    via: str | None,
    ensure: Ensure,
    generator: str | None,
    downscale: int,
) -> tuple[Plan, Sequence[Patience]]:
    """The chain, and with `--quality` or `--budget` how long each of its methods runs."""
    from restyle_cli import models

    if stopping:
        return models.plan_quality(stopping["quality"], model, ensure, generator, downscale)
    return models.plan(model, steps, via, ensure, generator, downscale), ()


def _check_tolerance(plan: Plan) -> None:
    """UsageError if the last method's steps follow a schedule, so that the L2 may rise before it falls."""
    from restyle_cli.methods import METHODS

    last = plan.models[-1]
    if METHODS.load(last.method).has_schedule:
        raise UsageError(
            f"{last.name} does not support --tolerance: its steps follow a schedule",
            "leave it out, or use --quality or --budget",
        )


def _mixing(variants: int | None, alpha: float | None, seed: int) -> dict[str, Any]:
    """The keyword arguments of `with_variants`; empty if no variants are requested."""
    if variants is None and alpha is None:
        return {}
    count = options.DEFAULT_VARIANTS if variants is None else variants
    return {"count": count, "seed": seed, "alpha": 1.0 if alpha is None else alpha}


def _mask(mask: Path | None, crossover: Path | None, plan: Plan) -> Mask | None:
    """The mask, or None; UsageError if the last method does not support one."""
    from restyle_cli.align.mask import Mask
    from restyle_cli.methods import METHODS, OF_GENERATOR

    if mask is None:
        if crossover is not None:
            raise UsageError(
                "--crossover needs --mask", "add --mask FILE, an image that is black where the other image is used"
            )
        return None
    last = [model for model in plan.models if model.method != OF_GENERATOR][-1]  # redraw does not compare
    if crossover is None and not METHODS.load(last.method).takes_mask:
        message = f"{last.name} does not support --mask"
        raise UsageError(
            message, f'end the chain with an optimisation method: --via "{last.name},image2stylegan++:400"'
        )
    return Mask(mask, crossover)


def _warn(outcome: Outcome, terminal: Terminal) -> None:
    if outcome.status != "done":
        return
    path = str(outcome.path)
    if "pasted" in outcome.files and outcome.record["source"]["turned"]:
        terminal.note(f"{path!r} is stored rotated (EXIF); {str(outcome.files['pasted'])!r} is upright")
    nan_steps = [step["step"] for step in outcome.record["steps"] if step["l2"] is None]
    if nan_steps:
        terminal.warn(f"{path!r}: steps from {nan_steps[0]} on produced NaN; try --precision fp32")
