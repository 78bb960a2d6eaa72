"""From the options of a command to a run: everything is found, checked and loaded before the first image is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from restyle_cli import __version__
from restyle_cli.errors import RestyleError, UsageError
from restyle_cli.store import catalog, fetch
from restyle_cli.store.paths import check_writable

if TYPE_CHECKING:  # imported late: `restyle --help` needs none of it, and torch takes seconds
    import torch
    from torch import Tensor

    from restyle_cli.align import AlignOptions, Rule
    from restyle_cli.align.mask import Mask
    from restyle_cli.inversion import Method
    from restyle_cli.models import Ensure, Plan
    from restyle_cli.run.outputs import Results
    from restyle_cli.run.pipeline import Task
    from restyle_cli.run.sources import Source
    from restyle_cli.stopping import Patience
    from restyle_cli.store.download import Progress

DEFAULT_MODEL = "restyle-psp"
CPU_BATCH, GPU_BATCH = 4, 8
Missing = list[tuple[Path, RestyleError]]
"""Paths without an image, and why."""
log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Where a run prints its lines; see `cli.output.Terminal`."""

    def note(self, text: str) -> None:
        """A line of information."""

    def warn(self, text: str) -> None:
        """A line about a possible problem."""

    def error(self, error: RestyleError) -> None:
        """A line about a failed input."""

    def transfer(self, what: str, total: int | None, done: int = 0) -> AbstractContextManager[Progress]:
        """Progress of a download in bytes."""


@dataclass(frozen=True)
class FaceOptions:
    """`--align`, `--face` and `--landmarks`."""

    align: str = "auto"
    face: int | Literal["all"] = 1
    landmarks: Path | None = None


@dataclass(frozen=True)
class MachineOptions:
    """`--device`, `--precision`, `--batch-size` and `--offline`."""

    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    offline: bool = False


@dataclass(frozen=True)
class RunOptions:
    """The options of the commands that invert images. `settings` are further options that change a result.

    With `quality` the chain is chosen for `model`, and each image may take `budget` seconds. `variants` are the
    arguments of `with_variants`.
    """

    paths: Sequence[Path]
    output: Path
    model: str = DEFAULT_MODEL
    via: str | None = None
    steps: int | None = None
    generator: str | None = None
    downscale: int = 1
    quality: str | None = None
    budget: float | None = None
    tolerance: float | None = None
    keep: Literal["best", "last"] = "last"
    seed: int | None = None
    variants: Mapping[str, Any] | None = None
    mask: Path | None = None
    crossover: Path | None = None
    overwrite: bool = False
    face: FaceOptions = field(default_factory=FaceOptions)
    machine: MachineOptions = field(default_factory=MachineOptions)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """Device, number format and batch size, "auto" resolved; `notes` is their record in results."""

    device: torch.device
    dtype: torch.dtype
    batch_size: int
    notes: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A run that is ready to start. `settings` identify its results: another run with the same ones skips them."""

    options: RunOptions
    sources: list[Source]
    missing: Missing
    plan: Plan
    patience: Sequence[Patience]
    methods: Sequence[Method]
    machine: Machine
    align: AlignOptions
    mask: Mask | None
    settings: Mapping[str, Any]
    note: Callable[[str], None]

    @property
    def notes(self) -> dict[str, Any]:
        """The metadata of results besides the settings."""
        perceptual = {"perceptual": self.plan.perceptual} if self.plan.perceptual else {}
        return {**self.machine.notes, **perceptual}

    @property
    def values(self) -> dict[str, Any]:
        """What `--json` says about the run."""
        return {**self.notes, "model": self.settings["model"], "chain": self.settings["chain"]}

    @property
    def numbered(self) -> bool:
        """Whether each face of an image has its own files."""
        return self.align.face == "all"

    def results(self, kinds: frozenset[str]) -> Results:
        """The files of inversions, of these kinds; with variants if requested."""
        from restyle_cli.run.outputs import Results
        from restyle_cli.run.variants import with_variants

        notes = {**self.notes, "generators": self.plan.generators}
        results = Results(self.options.output, kinds, self.settings, notes, self.numbered)
        return with_variants(results, **self.options.variants) if self.options.variants else results

    def task(
        self,
        results: Results,
        compare_with: Sequence[Method] = (),
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> Task:
        """The task for `pipeline.invert_all`."""
        from restyle_cli.run.pipeline import Task
        from restyle_cli.stopping import Plateau

        return Task(
            self.methods,
            results,
            self.machine.device,
            self.machine.dtype,
            keep=self.options.keep,
            tolerance=self.options.tolerance,
            align=self.align,
            overwrite=self.options.overwrite,
            batch_size=self.machine.batch_size,
            compare_with=compare_with,
            on_step=on_step,
            mask=self.mask,
            stop_rule=partial(Plateau, self.patience, self.options.budget) if self.patience else None,
            note=self.note,
        )


def prepare_run(options: RunOptions, report: Reporter) -> Run:
    """Find the images, choose and load the models, and check that the options go together.

    RestyleError if there is no image, a model is missing, or the output folder cannot be written. UsageError if options
    contradict each other or the models. Notes and warnings go to `report`.
    """
    sources, missing = find_sources(options.paths, options.output, report)
    from restyle_cli import models
    from restyle_cli.align import alignment_rule
    from restyle_cli.methods.encoder import NON_PHOTO

    ensure = fetching(options.machine.offline, report)
    patience: Sequence[Patience] = ()
    if options.quality is not None:
        plan, patience = models.plan_quality(
            options.quality, options.model, ensure, options.generator, options.downscale
        )
    else:
        plan = models.plan(options.model, options.steps, options.via, ensure, options.generator, options.downscale)
    _check_plan(options, plan)
    first = plan.models[0]
    rule = "none" if first.task in NON_PHOTO else alignment_rule(first.name, first.generator_name)
    others = [options.crossover] if options.crossover else []
    align, align_settings = choose_alignment(options.face, sources, report, rule, others)
    machine = choose_machine(options.machine)
    check_writable(options.output)
    for notice in plan.notices:
        report.note(notice)
    mask = None
    if options.mask:
        from restyle_cli.align.mask import Mask

        mask = Mask(options.mask, options.crossover)
    settings = {
        "model": plan.models[-1].name,
        "chain": plan.chain,
        "networks": plan.networks(),
        "precision": machine.notes["precision"],
        **align_settings,
        "quality": options.quality,
        "budget": options.budget,
        "mask": None,
        "crossover": None,
        **(mask.settings() if mask else {}),
        "downscale": options.downscale if options.downscale > 1 else None,
        "variants": options.variants,
        "seed": (options.seed or None) if plan.is_random else None,
        **options.settings,
    }
    log.debug("device %s, %s, batches of %d", machine.device, machine.notes["precision"], machine.batch_size)
    for model in plan.models:
        log.debug("model %s: %s", model.name, ", ".join(str(path) for _, path in model.files()))
    methods = plan.load(machine.device, options.seed or 0)
    if options.variants:
        from restyle_cli.run.variants import check_fine

        for generator in dict.fromkeys(method.generator for method in methods):
            check_fine(generator)
    return Run(options, sources, missing, plan, patience, methods, machine, align, mask, settings, report.note)


def find_sources(paths: Sequence[Path], output: Path, report: Reporter) -> tuple[list[Source], Missing]:
    """The images, and the paths without one, which are reported. RestyleError if there is no image at all.

    Result files in folders are left out, with a note.
    """
    from restyle_cli.run.sources import find_images

    missing: Missing = []
    results: list[Path] = []
    sources = find_images(paths, output, lambda path, error: missing.append((path, error)), results.append)
    if not sources:
        for _, error in missing[:-1]:
            report.error(error)
        raise missing[-1][1]
    for _, error in missing:
        report.error(error)
    if results:
        which = str(results[0]) if len(results) == 1 else f"{results[0]} … {results[-1].name}, {len(results)} files"
        report.note(f"result files of earlier runs left out ({which}); name a file to use it as input")
    return sources, missing


def fetching(offline: bool, report: Reporter) -> Ensure:
    """`fetch.ensure` that reports to `report`. Warns of models in the catalog that cannot be used."""
    for problem in catalog.problems():
        report.warn(problem.full_message)
    return partial(fetch.ensure, offline=offline, note=report.note, progress=report.transfer)


def choose_machine(options: MachineOptions) -> Machine:
    """The machine for these options; UsageError if there is no such device, or it lacks the precision."""
    from restyle_cli.devices import PRECISIONS, choose_device, choose_dtype

    device = choose_device(options.device)
    dtype = choose_dtype(options.precision, device)
    precision = next(name for name, value in PRECISIONS.items() if value == dtype)
    notes = {"version": __version__, "device": str(device), "precision": precision}
    return Machine(device, dtype, options.batch_size or (CPU_BATCH if device.type == "cpu" else GPU_BATCH), notes)


def choose_alignment(
    options: FaceOptions,
    sources: Sequence[Source],
    report: Reporter,
    rule: Rule = "face",
    others: Sequence[Path] = (),
) -> tuple[AlignOptions, dict[str, Any]]:
    """The alignment for these options, and the settings that results depend on.

    UsageError if the options contradict each other. Warns of names in a table of landmarks that belong neither to a
    source nor to one of the `others`.
    """
    from restyle_cli.align import AlignOptions, read_landmarks
    from restyle_cli.store.files import sha256

    file = options.landmarks
    if options.face != 1 or file:
        option = "--landmarks" if file else f"--face {options.face}"
        if options.align == "never":
            raise UsageError(f"{option} and --align never cannot be combined", "leave one of them out")
        if rule != "face":
            raise UsageError(f"{option} has no effect: these models are not for faces", "leave it out")
    landmarks = read_landmarks(file) if file else None
    for name in landmarks.check([source.path for source in sources], others) if landmarks else ():
        report.warn(f"{str(file)!r} has landmarks for {name!r}, which is not one of the images")
    settings = {"align": options.align, "face": options.face, "points": sha256(file) if file else None}
    return AlignOptions(options.align, options.face, rule, landmarks), settings


def _check_plan(options: RunOptions, plan: Plan) -> None:
    """UsageError for options that the models do not support."""
    from restyle_cli.methods import METHODS, OF_GENERATOR

    last = plan.models[-1]
    if options.tolerance is not None and METHODS.load(last.method).has_schedule:
        message = f"{last.name} does not support --tolerance: its steps follow a schedule"
        raise UsageError(message, "leave it out, or use --quality or --budget")
    if options.crossover is not None and options.mask is None:
        hint = "add --mask FILE, an image that is black where the other image is used"
        raise UsageError("--crossover needs --mask", hint)
    comparing = [model for model in plan.models if model.method != OF_GENERATOR][-1]  # redraw compares nothing
    if options.mask and not options.crossover and not METHODS.load(comparing.method).takes_mask:
        hint = f'end the chain with an optimisation method: --via "{comparing.name},image2stylegan++:400"'
        raise UsageError(f"{comparing.name} does not support --mask", hint)
    if options.seed is not None and not options.variants and not plan.is_random:
        hint = "leave it out; only --variants, projector, pti-pivot and pti-local are random"
        raise UsageError(f"--seed has no effect: {plan.chain} uses no random numbers", hint)
