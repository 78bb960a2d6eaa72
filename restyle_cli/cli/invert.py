"""`restyle invert`: images to latents and reconstructions."""

from __future__ import annotations

import time
from typing import Any

from restyle_cli.cli import options, running
from restyle_cli.cli.output import Terminal
from restyle_cli.errors import UsageError
from restyle_cli.run.prepare import DEFAULT_MODEL, FaceOptions, MachineOptions, RunOptions, prepare_run

EPILOG = options.examples(
    "restyle invert photo.jpg -n 5",
    "restyle invert family.jpg --face all --paste-back",
    "restyle invert photos --via psp-portrait,restyle-psp-portrait:3",
    "restyle invert photo.jpg --budget 20s",
    "restyle invert photos --quality best --budget 2m",
    "restyle invert sketch.png -m psp-ffhq-sketch --variants 5",
    "restyle invert photo.jpg -m image2stylegan++ -n 200 --mask known.png",
)


def invert(
    paths: options.Images,
    steps: options.Steps = None,
    model: options.Model = DEFAULT_MODEL,
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
    verbose: options.Verbose = False,
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
    terminal = Terminal(json, quiet, verbose)
    kinds = options.parse_save(save) | ({"pasted"} if paste_back else set())
    _check_combination(quality, budget, steps, via, tolerance, model)
    seconds = None if budget is None else options.parse_budget(budget)
    chosen_quality = quality or (options.DEFAULT_QUALITY if budget else None)
    run = prepare_run(
        RunOptions(
            paths,
            output,
            model=model,
            via=via,
            steps=steps,
            generator=generator,
            downscale=downscale,
            quality=chosen_quality,
            budget=seconds,
            tolerance=tolerance,
            keep=keep,
            seed=seed,
            variants=_mixing(variants, mix_alpha, seed or 0),
            mask=mask,
            crossover=crossover,
            overwrite=overwrite,
            face=FaceOptions(align, options.parse_face(face), landmarks),
            machine=MachineOptions(device, precision, batch_size, offline),
            settings={"keep": keep, "tolerance": tolerance},
        ),
        terminal,
    )
    from restyle_cli.run.pipeline import invert_all

    live = running.Live(len(run.methods), open_end=chosen_quality is not None, seconds=seconds)
    task = run.task(run.results(kinds), on_step=live.step if live.long else None)
    tally = running.run(run.sources, run.missing, invert_all(run.sources, task), "inverting", terminal, live)
    summary = tally.summary(began)
    values: dict[str, Any] = {"command": "invert", **run.values}
    values |= {"quality": chosen_quality, "budget": seconds} if chosen_quality else {}
    values |= {"notices": run.plan.notices, "images": tally.described, "summary": summary}
    terminal.result(values, *running.views(tally, summary, output))
    running.end(tally, None if chosen_quality else len(run.methods))


def _check_combination(
    quality: str | None, budget: str | None, steps: int | None, via: str | None, tolerance: float | None, model: str
) -> None:
    """UsageError for options that contradict each other."""
    if quality is not None or budget is not None:
        given = "--quality" if quality is not None else "--budget"
        for option, value in (("--steps", steps), ("--via", via), ("--tolerance", tolerance)):
            if value is not None:
                hint = f"{given} chooses the chain and when to stop"
                raise UsageError(f"{given} and {option} cannot be combined", hint)
    if via is not None and model != DEFAULT_MODEL:
        raise UsageError("--via and --model cannot be combined", "--via names all models")


def _mixing(variants: int | None, alpha: float | None, seed: int) -> dict[str, Any] | None:
    """The arguments of `with_variants`; None if no variants are requested."""
    if variants is None and alpha is None:
        return None
    count = options.DEFAULT_VARIANTS if variants is None else variants
    return {"count": count, "seed": seed, "alpha": 1.0 if alpha is None else alpha}
