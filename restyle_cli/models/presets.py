"""What `--quality` means: which chain, and how long each of its links is worth going on with.

The numbers are from what L2 does with the embedded networks. An encoder's second step lowers it by a third or more and
the sixth by less than 3 %; after that it gets worse. Ten steps of Adam on the codes lower it by 10 % at first and by
5 % after some forty; twenty on the generator's weights still lower it by 2 % after a hundred or two. A hypernetwork's
step takes half as long again as an encoder's; methods that optimise draw twice in their first.
"""

from __future__ import annotations

from dataclasses import replace

from restyle_cli.errors import UsageError
from restyle_cli.methods import METHODS
from restyle_cli.models.chains import Plan, plan
from restyle_cli.models.resolve import Ensure, Model, Wish, find, installed
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
    """The chain of a quality, and for each of its links how long it goes on; the plan's steps are the most it may make.

    `model` begins: "fast" is that encoder alone. "balanced" goes on with its domain's hypernetwork, or if none is
    installed, moves the code for a short while; "best" goes on with the hypernetwork, if it is installed, then tunes
    the generator. `ensure`, `generator` and `downscale` are as `plan` has them. UsageError when `model` is no encoder.
    """
    from restyle_cli.methods.encoder import TRANSLATIONS

    if quality not in QUALITIES:
        raise UsageError(f"no quality named '{quality}'", f"choose from {', '.join(QUALITIES)}")
    known = next((entry.method for entry in catalog.entries() if entry.name == model), model)
    if known in METHODS and known not in _ENCODERS:  # before it is fetched
        raise _no_encoder(model)
    first = plan(model, ensure=ensure, generator=generator, downscale=downscale)
    if first.models[0].method not in _ENCODERS or len(first.models) > 1:
        raise _no_encoder(model)
    if first.models[0].task in TRANSLATIONS:
        raise UsageError(f"what {model} makes is not to resemble its picture, so that no progress can be measured")
    models, patience = list(first.models), [ENCODER]
    hypernetwork = None if quality == "fast" else _hypernetwork(models[0])
    others: list[tuple[str, Patience]] = [] if hypernetwork is None else [(hypernetwork, HYPERNETWORK)]
    if quality == "best":
        others.append(("pti", TUNING))
    elif quality == "balanced" and hypernetwork is None:
        others.append(("image2stylegan", SHORT))
    wish = Wish(ensure, generator)
    for name, how_long in others:
        models.append(find(name, wish, models[-1]))
        patience.append(how_long)
    limits = [METHODS.load(found.method).max_steps for found in models]
    kept = [replace(one, steps=min(one.steps, limit)) for one, limit in zip(patience, limits, strict=True)]
    return Plan(tuple(models), tuple(one.steps for one in kept)), tuple(kept)


def _hypernetwork(model: Model) -> str | None:
    """The installed hypernetwork of the model's generator; None where there is none."""
    entries = {entry.name: entry for entry in catalog.entries()}
    draws = entries[model.name].generator if model.name in entries else model.generator_name
    return next((name for name in installed("hyperstyle") if entries[name].generator == draws), None)


def _no_encoder(model: str) -> UsageError:
    return UsageError(
        f"--quality and --budget begin with an encoder that needs no other, which {model} is not",
        "leave --model out, or name one: -m e4e",
    )
