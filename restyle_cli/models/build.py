"""From the networks that were found to a method that is ready to run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.errors import RestyleError
from restyle_cli.methods import METHODS
from restyle_cli.models.resolve import Model
from restyle_cli.store import catalog

if TYPE_CHECKING:
    import torch

    from restyle_cli.inversion import Method
    from restyle_cli.perceptual import Perceptual


@dataclass
class Shelf:
    """Networks read so far: what several models share is read once, and a file that holds several opened once."""

    device: str | torch.device
    networks: dict[tuple[Path, str], Any] = field(default_factory=dict)
    opened: dict[Path, list[Any]] = field(default_factory=dict)

    def take(self, path: Path, role: str) -> Any:
        if (path, role) not in self.networks:
            self.networks[path, role] = self._read(path, role)
        return self.networks[path, role]

    def compare_by(self, path: Path | None) -> Perceptual:
        """The network in `path` that compares pictures; without one, what needs none."""
        from restyle_cli.perceptual.structure import Structure

        return self.take(path, "perceptual") if path is not None else Structure()

    def _read(self, path: Path, role: str) -> Any:
        from restyle_cli.store import legacy
        from restyle_cli.store.files import read_module

        if not legacy.is_foreign(path):
            return read_module(path, self.device, role)
        if path not in self.opened:
            self.opened[path] = legacy.open_parts(path)
        return legacy.build(legacy.pick(self.opened[path], role, path), self.device, path)


def build(model: Model, shelf: Shelf, seed: int = 0) -> Method:
    """The method of `model`, its networks taken from `shelf`; RestyleError if they do not fit each other.

    `seed` is for methods that use random numbers.
    """
    method = _built(model, shelf)
    if method.is_random:
        method.seed = seed
    return method


def _built(model: Model, shelf: Shelf) -> Any:
    generator = shelf.take(model.generator, "generator")
    options: dict[str, Any] = {"absolute": True} if model.absolute else {}
    if model.perceptual is not None:
        options["perceptual"] = shelf.compare_by(model.perceptual_file)
    method = METHODS.load(model.method)
    if model.encoder is None:
        _crop_as_domain(model, generator)
        return method(model.name, generator, **options)
    encoder = shelf.take(model.encoder, "encoder")
    _crop(encoder, generator)
    if getattr(encoder.config, "single", False):  # one code, which is repeated as often as the generator takes it
        encoder.config = replace(encoder.config, styles=generator.layers)
    _check_fit(model, encoder, generator)
    if model.task is not None:
        options |= {"task": model.task, "downscale": model.downscale}
    return method(model.name, encoder, generator, **options)


def _crop_as_domain(model: Model, generator: Any) -> None:
    """Without an encoder that would say so, the catalog knows whose pictures are cut."""
    file = model.generator_name.partition(":")[0]  # FILE:decoder is what an encoder's file holds
    entry = next((e for e in catalog.entries() if file in (e.name, e.file)), None)
    domain = next((d for d in catalog.domains() if entry is not None and d.name == entry.domain), None)
    if domain is not None and domain.crop is not None and generator.config.crop is None:
        generator.config = replace(generator.config, crop=domain.picture)


def _crop(encoder: Any, generator: Any) -> None:
    """A generator's own file does not say that its pictures are cut (cars'), but its encoder reads them so."""
    size, config = getattr(encoder.config, "input_size", None), generator.config
    if isinstance(size, tuple) and size[0] < size[1] and config.crop is None:
        generator.config = replace(config, crop=(config.resolution * size[0] // size[1], config.resolution))


def _check_fit(model: Model, encoder: Any, generator: Any) -> None:
    """RestyleError unless the encoder takes what its method gives, and gives what the generator takes."""
    gives = (encoder.config.styles, encoder.config.w_dim)
    takes = (generator.layers, generator.config.w_dim)
    if gives != takes:
        raise RestyleError(
            f"{model.name} gives codes of {gives[0]}x{gives[1]}, {model.generator_name} takes {takes[0]}x{takes[1]}",
            "they do not belong together; fetch or train both again",
        )
    method, channels = METHODS.load(model.method), encoder.config.input_channels
    if not method.accepts(channels):
        raise RestyleError(
            f"{model.name} reads {channels} channels, its method {model.method} gives it {method.input_channels}",
            "it was made for another method",
        )
