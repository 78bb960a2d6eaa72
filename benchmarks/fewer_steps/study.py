"""Can ReStyle's steps be fewer and bigger? L2 over network evaluations and over seconds, for docs/fewer-steps.md.

    python benchmarks/fewer_steps/study.py [--people 100] [--two-steps FILE]

The portraits are held out from all trainings; step lengths are fitted on other ones. Seconds are processor seconds, in
batches of four on one thread. `--two-steps` is an encoder trained for two steps. `--anderson` compares forms of
Anderson's acceleration.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from variants import Anderson, Stretched, fit_lengths

from restyle_cli.data.portraits import HELD_OUT, draw, sample_z
from restyle_cli.evaluate.html import COLOURS, MARKERS
from restyle_cli.inversion import Method, invert, iterate, l2
from restyle_cli.methods.encoder import ReStyle
from restyle_cli.models import load_method

SEED, FITTING_SEED = 24, 23
BATCH = 4
STEPS = 10
FITTED_STEPS = (1, 2, 3)
GROUPS = {"fitted lengths, one per step": 1, "fitted lengths, three per step": 3}
TOLERANCES = (4e-3, 2e-3, 1e-3, 5e-4)
PLAIN, SINGLE = "plain ReStyle", "a single pass (pSp)"
COLUMNS = (1, 2, 3, 4, 5, 7, 10)
"""Numbers of evaluations in the table."""


@dataclass(frozen=True)
class Point:
    """The errors after a number of encoder evaluations, and seconds per image until then."""

    evaluations: float
    seconds: float
    errors: Tensor  # [N], L2

    @property
    def l2(self) -> float:
        """The mean."""
        return float(self.errors.mean())


Curve = list[Point]


@torch.no_grad()
def measured(x: Tensor, schedule: Sequence[Method]) -> Curve:
    """The people x [N, 3, H, W] after each method of the schedule; seconds are the median batch's."""
    parts = x.split(BATCH)
    errors, seconds = [], torch.zeros(len(parts), len(schedule))
    for place, part in enumerate(parts):
        states = iterate(part, schedule)
        next(states)  # the average latent, which costs nothing
        for k in range(len(schedule)):
            before = time.process_time()
            state = next(states)
            seconds[place, k] = (time.process_time() - before) / len(part)
            errors.append(l2(part, state.image))
    taken = seconds.median(dim=0).values.cumsum(dim=0).tolist()
    return [Point(k + 1, taken[k], torch.cat(errors[k :: len(schedule)])) for k in range(len(schedule))]


def settling(x: Tensor, method: Method) -> Curve:
    """Images leave their batch when a step gains less than a tolerance; one point per tolerance."""
    curve = []
    for tolerance in TOLERANCES:
        before = time.process_time()
        parts = [invert(part, [method] * STEPS, tolerance=tolerance, keep_images=[]) for part in x.split(BATCH)]
        seconds = (time.process_time() - before) / len(x)
        made = torch.cat([part.last_step for part in parts]).float().mean()
        with torch.no_grad():
            errors = torch.cat([l2(p, i.images) for p, i in zip(x.split(BATCH), parts, strict=True)])
        curve.append(Point(float(made), seconds, errors))
    return curve


def fitted(x: Tensor, fitting: Tensor, method: ReStyle, groups: int) -> Curve:
    """Lengths fitted for 1, 2 and 3 steps on other portraits, and the last step with each."""
    curve = []
    for steps in FITTED_STEPS:
        lengths = fit_lengths(method, fitting, steps, groups)
        shown = lengths[:, :: lengths.shape[1] // groups].tolist()
        print(f"  lengths for {steps}: " + "; ".join(" ".join(f"{a:.2f}" for a in row) for row in shown), flush=True)
        curve.append(measured(x, [Stretched(method, lengths)] * steps)[-1])
    return curve


def ways(x: Tensor, fitting: Tensor, two_steps: Path | None) -> dict[str, Callable[[], Curve]]:
    """Everything compared, by name; plain ReStyle first."""
    method, single = load_method("restyle-psp-portrait"), load_method("psp-portrait")
    found = {
        PLAIN: lambda: measured(x, [method] * STEPS),
        SINGLE: lambda: measured(x, [single]),
        "pSp, then ReStyle": lambda: measured(x, [single] + [method] * (STEPS - 1)),
    }
    for window in (1, 2, 3):
        found[f"Anderson, window {window}"] = lambda m=window: measured(x, [Anderson(method, m)] * STEPS)
    found["Anderson, window 2, guarded"] = lambda: measured(x, [Anderson(method, 2, guarded=True)] * STEPS)
    found["Anderson by images, window 2"] = lambda: measured(x, [Anderson(method, 2, by_images=True)] * STEPS)
    for name, groups in GROUPS.items():
        found[name] = lambda g=groups: fitted(x, fitting, method, g)
    if two_steps is not None:
        found["trained for two steps"] = lambda: measured(x, [load_method(two_steps)] * 5)
    found["settled images leave"] = lambda: settling(x, method)
    return found


def anderson_forms(x: Tensor) -> dict[str, Callable[[], Curve]]:
    """Plain ReStyle and Anderson's acceleration with several windows, dampings and ridges."""
    method = load_method("restyle-psp-portrait")
    found = {PLAIN: lambda: measured(x, [method] * STEPS)}
    for by_images in (False, True):
        for window, damping, ridge in ((2, 1.0, 0.01), (2, 1.0, 1.0), (2, 0.5, 0.01), (5, 1.0, 0.01)):
            form = Anderson(method, window, damping, ridge, by_images=by_images)
            name = f"{'images' if by_images else 'latents'}, m {window}, b {damping:g}, r {ridge:g}"
            found[name] = lambda f=form: measured(x, [f] * STEPS)
    return found


def table(found: dict[str, Curve]) -> str:
    """Mean L2 by evaluations, its difference to plain ReStyle after two evaluations, and seconds."""
    head = ["| |", *(f" {k} |" for k in COLUMNS), " difference to plain at 2 | seconds per step |"]
    lines = ["".join(head), "|---|" + "---|" * (len(COLUMNS) + 2)]
    for name, curve in found.items():
        points = {point.evaluations: point for point in curve}
        cells = [f"{points[k].l2:.4f}" if k in points else "" for k in COLUMNS]
        apart = ""
        if 2 in points and name != PLAIN:
            difference = points[2].errors - found[PLAIN][1].errors
            error = float(difference.std()) / len(difference) ** 0.5
            apart = f"{float(difference.mean()):+.4f} ± {error:.4f}"
        each = curve[-1].seconds / curve[-1].evaluations
        lines.append(f"| {name} | " + " | ".join([*cells, apart, f"{each:.3f}"]) + " |")
        if not cells[0] and not cells[1]:
            ways = "; ".join(f"{p.l2:.4f} after {p.evaluations:.1f} steps, {p.seconds:.3f} s" for p in curve)
            lines[-1] = f"| {name} | {ways} |"
    return "\n".join(lines)


def plot(found: dict[str, Curve], people: int, path: Path) -> None:
    """L2 over evaluations and over seconds, on a logarithmic scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.4), layout="constrained", dpi=110)
    axes = figure.subplots(1, 2, sharey=True)
    shown = [(name, curve) for name, curve in found.items() if name != SINGLE]  # where another curve begins
    for colour, marker, (name, curve) in zip(("black", *COLOURS), (".", *MARKERS), shown, strict=False):
        style = {"color": colour, "marker": marker, "markersize": 5}
        style |= {"label": name, "linewidth": 2.4 if name == PLAIN else 1.2, "zorder": 3 if name == PLAIN else 2}
        for axis, key in zip(axes, ("evaluations", "seconds"), strict=True):
            axis.plot([getattr(point, key) for point in curve], [point.l2 for point in curve], **style)
    axes[0].set_xlabel("evaluations of an encoder and the generator")
    axes[1].set_xlabel("seconds per image, one thread")
    axes[0].set_ylabel(f"mean L2 of {people} held-out people")
    for axis in axes:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.3f}".lstrip("0"))
        axis.yaxis.set_minor_formatter(lambda value, _: f"{value:.3f}".lstrip("0"))
        axis.grid(alpha=0.3, which="both")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path)


def _people(n: int, seed: int, size: int) -> Tensor:
    return torch.cat([draw(part, size) for part in sample_z(n, HELD_OUT + seed).split(20)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--fit-on", type=int, default=36, help="portraits on which step lengths are fitted")
    parser.add_argument("--two-steps", type=Path, help="the encoder trained for two steps")
    parser.add_argument("--anderson", action="store_true", help="forms of Anderson's acceleration instead")
    parser.add_argument("--keep", type=Path, help="save each curve here, and continue from this file")
    parser.add_argument("--plot", type=Path, help="write the curves to this PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, fitting = (
        _people(n, seed, size) for n, seed, size in ((options.people, SEED, 256), (options.fit_on, FITTING_SEED, 128))
    )
    found: dict[str, Curve] = {}
    if options.keep and options.keep.exists():
        found = {n: [Point(*p) for p in points] for n, points in torch.load(options.keep, weights_only=True).items()}
    compared = anderson_forms(x) if options.anderson else ways(x, fitting, options.two_steps)
    for name, measure in compared.items():
        if name not in found:
            found[name] = measure()
        print(f"{name:32}" + " ".join(f"{point.l2:.4f}" for point in found[name]), flush=True)
        if options.keep:
            torch.save({n: [(p.evaluations, p.seconds, p.errors) for p in found[n]] for n in found}, options.keep)
    found = {name: found[name] for name in compared}
    print(table(found))
    if options.plot:
        plot(found, options.people, options.plot)


if __name__ == "__main__":
    main()
