"""What many tests share: networks small enough to make on the spot, in place of the embedded ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from restyle_cli.encoders.small import SmallEncoder, SmallEncoderConfig
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.store import fetch
from restyle_cli.store.files import write_module

TINY_LAYERS, TINY_W = 8, 16


def tiny_generator(seed: int = 0, resolution: int = 32) -> StyleGAN2:
    """A random StyleGAN2 of 32 px whose average code is not zero."""
    torch.manual_seed(seed)
    channels = {2**k: 8 for k in range(2, resolution.bit_length())}
    config = StyleGAN2Config(resolution, channels, z_dim=8, w_dim=TINY_W, mapping_layers=1, noise=False)
    generator = StyleGAN2(config)
    generator.w_avg.normal_(std=0.5)
    return generator.eval().requires_grad_(False)


def tiny_encoder(seed: int = 1, channels: int = 6, styles: int = TINY_LAYERS) -> SmallEncoder:
    """A random encoder for `tiny_generator`, whose codes move the picture visibly."""
    torch.manual_seed(seed)
    config = SmallEncoderConfig(
        channels, styles, TINY_W, input_size=16, widths=(8, 8), blocks=(1, 1), hidden=16
    )
    encoder = SmallEncoder(config)
    encoder.w_std.fill_(5.0)
    return encoder.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random networks under the names of the embedded ones; not to be changed."""
    folder = tmp_path_factory.mktemp("weights")
    write_module(folder / "portrait.safetensors", tiny_generator(), "stylegan2")
    for name, channels in (("restyle-psp", 6), ("psp", 3)):
        extra = {"method": name, "generator": "portrait"}
        write_module(folder / f"{name}-portrait.safetensors", tiny_encoder(channels=channels), "small", extra)
    return folder


@pytest.fixture
def tiny_store(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of `tiny_weights`, in the place of the embedded networks."""
    monkeypatch.setattr(fetch, "embedded_folder", lambda: tiny_weights)
    return tiny_weights


@pytest.fixture
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the embedded networks."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    monkeypatch.setattr(fetch, "embedded_folder", lambda: folder)
    return folder


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees networks that the person running it has fetched, nor changes them."""
    monkeypatch.setenv("RESTYLE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def tiny_store(embedded: Path) -> Path:
    """The folder of the embedded networks, with tiny random ones in it; see `tiny`."""
    import tiny

    tiny.write_store(embedded)
    return embedded


@pytest.fixture
def restyle() -> Callable[..., Result]:
    """Run a command line in this process: `restyle("invert", path, "-n", 5)`; a bug shows as its traceback."""
    from restyle_cli.cli.app import app

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return run
