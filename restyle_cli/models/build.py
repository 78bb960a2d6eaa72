"""From the files of a model to a method that is ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restyle_cli.errors import RestyleError
from restyle_cli.methods import METHODS
from restyle_cli.models.resolve import GeneratorFile, Model
from restyle_cli.store import catalog

if TYPE_CHECKING:
    import torch

    from restyle_cli.encoders.base import Encoder
    from restyle_cli.generators.base import StyleGenerator
    from restyle_cli.inversion import Method
    from restyle_cli.perceptual import Perceptual
    from restyle_cli.store.legacy.checkpoint_part import Part


@dataclass
class ModelCache:
    """Networks on a device. Models that share a network or a file read it once."""

    device: str | torch.device
    networks: dict[tuple[Path, str], Any] = field(default_factory=dict)
    checkpoints: dict[Path, list[Part]] = field(default_factory=dict)

    def load(self, path: Path, role: str) -> Any:
        """The network with this role ("generator", "encoder", "perceptual") in the file."""
        if (path, role) not in self.networks:
            self.networks[path, role] = self._read(path, role)
        return self.networks[path, role]

    def load_perceptual(self, path: Path | None) -> Perceptual:
        """The perceptual network in the file; without a file, the structural distance, which has no weights."""
        from restyle_cli.perceptual.structure import Structure

        return Structure() if path is None else self.load(path, "perceptual")

    def _read(self, path: Path, role: str) -> Any:
        from restyle_cli.store import legacy
        from restyle_cli.store.files import read_module

        if not legacy.is_foreign(path):
            return read_module(path, self.device, role)
        if path not in self.checkpoints:
            self.checkpoints[path] = legacy.open_parts(path)
        return legacy.build(legacy.pick(self.checkpoints[path], role, path), self.device, path)


def build_method(model: Model, cache: ModelCache, seed: int = 0) -> Method:
    """The method of `model`; `seed` is that of methods with random numbers.

    RestyleError if a file is damaged, or its networks do not belong together.
    """
    construct: Callable[..., Method] = METHODS.load(model.method)
    generator = load_generator(model.generator, cache)
    networks: list[Encoder | StyleGenerator] = [generator]
    if model.encoder is None:
        crop_as_domain(generator, model.generator.name)
    else:
        encoder: Encoder = cache.load(model.encoder, "encoder")
        _adapt(encoder, generator)
        _check(model, encoder, generator)
        networks.insert(0, encoder)
    options: dict[str, Any] = {"absolute": True} if model.absolute else {}
    if model.perceptual is not None:
        options["perceptual"] = cache.load_perceptual(model.perceptual_file)
    if model.task is not None:
        options |= {"task": model.task, "downscale": model.downscale}
    method = construct(model.name, *networks, **options)
    method.seed = seed
    method.networks = dict(model.files())
    return method


def load_generator(found: GeneratorFile, cache: ModelCache) -> StyleGenerator:
    """The generator in a file."""
    generator: StyleGenerator = cache.load(found.path, "generator")
    generator.name, generator.file = found.name, found.path
    return generator


def crop_as_domain(generator: StyleGenerator, name: str) -> None:
    """Crop the images of a generator as its domain requires: a foreign file does not record that."""
    file = name.partition(":")[0]  # of "FILE:decoder"
    entry = next((e for e in catalog.entries() if file in (e.name, e.file)), None)
    domain = next((d for d in catalog.domains() if entry is not None and d.name == entry.domain), None)
    if domain is not None and domain.crop is not None and generator.config.crop is None:
        generator.config = replace(generator.config, crop=domain.image_size)


def _adapt(encoder: Encoder, generator: StyleGenerator) -> None:
    """Crop the generator's images to the aspect ratio of the encoder's input, and repeat a single w for its layers."""
    from restyle_cli.encoders.restyle import ReStyleEncoderConfig, WEncoderConfig

    config, side = encoder.config, generator.config.resolution
    if isinstance(config, ReStyleEncoderConfig) and generator.config.crop is None:
        height, width = config.input_size
        if height < width:
            generator.config = replace(generator.config, crop=(side * height // width, side))
    if isinstance(config, WEncoderConfig) and config.single:
        encoder.config = replace(config, styles=generator.layers)


def _check(model: Model, encoder: Encoder, generator: StyleGenerator) -> None:
    """RestyleError unless the encoder fits the method and the generator."""
    output = (encoder.config.styles, encoder.config.w_dim)
    expected = (generator.layers, generator.config.w_dim)
    if output != expected:
        raise RestyleError(
            f"{model.name} predicts latents of {output[0]}x{output[1]}, "
            f"{model.generator.name} takes {expected[0]}x{expected[1]}",
            "they do not belong together; download or train both again",
        )
    method, channels = METHODS.load(model.method), encoder.config.input_channels
    if not method.accepts(channels):
        raise RestyleError(
            f"{model.name} takes {channels} channels, its method {model.method} has {method.input_channels}",
            "it was trained for another method",
        )
