"""The chains of `--quality`, and how long each of their methods runs.

The limits follow from the L2 of the bundled models. The second step of an encoder lowers it by a third or more, the
sixth by less than 3 %, and later ones raise it. Ten steps of Adam on the latent lower it by 10 % at first and by 5 %
after some forty; twenty steps on the generator's weights still lower it by 2 % after 100 to 200. The first step of
a hypernetwork takes 1.5 encoder steps; methods that optimise render twice in theirs.
"""

from __future__ import annotations

from dataclasses import replace

from restyle_cli.errors import UsageError
from restyle_cli.methods import METHODS
from restyle_cli.models.chains import Plan, plan
from restyle_cli.models.resolve import Ensure, LoadOptions, Model, find, installed
from restyle_cli.stopping import Patience
from restyle_cli.store import catalog, fetch

QUALITIES = ("fast", "balanced", "best")

ENCODER = Patience(steps=10, window=1, least=0.03)
HYPERNETWORK = Patience(steps=10, window=1, least=0.02, first=1.6)
SHORT = Patience(steps=100, window=10, least=0.05, first=4.5)
TUNING = Patience(steps=1000, window=20, least=0.02, first=10.0)
_ENCODERS = ("restyle-psp", "restyle-e4e", "psp", "e4e", "e4e-w", "alae")


def plan_quality(
    quality: str, model: str, ensure: Ensure = fetch.ensure, generator: str | None = None, downscale: int = 1
) -> tuple[Plan, tuple[Patience, ...]]:
    """The chain of a quality, and the `Patience` of each of its methods, whose steps are at most those of the plan.

    "fast" is the encoder `model` alone. "balanced" adds the installed hypernetwork of its generator, or else a short
    optimisation of the latent. "best" adds that hypernetwork, if there is one, and tunes the generator. The other
    arguments are those of `plan`. UsageError if `model` is not an encoder.
    """
    from restyle_cli.methods.encoder import TRANSLATIONS

    if quality not in QUALITIES:
        raise UsageError(f"no quality named '{quality}'", f"choose from {', '.join(QUALITIES)}")
    no_encoder = UsageError(
        f"--quality and --budget start with an encoder, and {model} is not one that works alone",
        "leave --model out, or name an encoder: -m e4e",
    )
    entry = catalog.get(model)
    method = entry.method if entry else model
    if method in METHODS and method not in _ENCODERS:  # before it is downloaded
        raise no_encoder
    encoder = plan(model, ensure=ensure, generator=generator, downscale=downscale)
    if encoder.models[0].method not in _ENCODERS or len(encoder.models) > 1:
        raise no_encoder
    if encoder.models[0].task in TRANSLATIONS:
        raise UsageError(f"{model} translates images, so the L2 to its input cannot measure progress")
    models, limits = list(encoder.models), [ENCODER]
    hypernetwork = None if quality == "fast" else _hypernetwork(models[0])
    later = [(hypernetwork, HYPERNETWORK)] if hypernetwork else []
    if quality == "best":
        later.append(("pti", TUNING))
    elif quality == "balanced" and hypernetwork is None:
        later.append(("image2stylegan", SHORT))
    for name, patience in later:
        models.append(find(name, LoadOptions(ensure, generator), models[-1]))
        limits.append(patience)
    most = [METHODS.load(found.method).max_steps for found in models]
    limits = [replace(limit, steps=min(limit.steps, n)) for limit, n in zip(limits, most, strict=True)]
    return Plan(tuple(models), tuple(limit.steps for limit in limits)), tuple(limits)


def _hypernetwork(model: Model) -> str | None:
    """The installed hypernetwork of the model's generator, if there is one."""
    entry = catalog.get(model.name)
    generator = entry.generator if entry else model.generator.name
    return next((name for name in installed("hyperstyle") if catalog.find(name).generator == generator), None)
