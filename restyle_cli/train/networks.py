"""The networks that a training begins with: those another training made, or the catalog's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.base import StyleGenerator
from restyle_cli.store import catalog, fetch
from restyle_cli.store.files import read_header, read_module

Network = TypeVar("Network", bound=nn.Module)


class Ensemble(nn.Module, ABC):
    """Networks that are trained together. The recipe's file holds the one that is `main`."""

    @property
    @abstractmethod
    def main(self) -> nn.Module:
        """The network that the file of the recipe's name holds."""

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """All parameters in groups for the optimiser, each with its `rate`, a share of the stage's learning rate."""


def network_file(name: str, folder: Path) -> Path:
    """A network by file, or by name: beside the run's folder when trained there, else from the catalog."""
    if name.endswith(".safetensors"):
        return Path(name)
    sibling = folder.parent / name / f"{name}.safetensors"
    return sibling if sibling.exists() else fetch.ensure(catalog.find(name))


def begin_with(name: str, folder: Path, kind: type[Network]) -> tuple[Network, dict[str, Any]]:
    """The network ready to be trained on, and the metadata of its file. RestyleError if it is not of this `kind`."""
    path = network_file(name, folder)
    network = read_module(path)
    if not isinstance(network, kind):
        raise RestyleError(f"'{name}' is a {type(network).__name__}, not a {kind.__name__}")
    return network.train().requires_grad_(True), read_header(path)["extra"]


def frozen_generator(name: str, folder: Path) -> StyleGenerator:
    """The generator of this name or file. RestyleError if it is not a generator."""
    network = read_module(network_file(name, folder))
    if not isinstance(network, StyleGenerator):
        raise RestyleError(f"'{name}' is a {type(network).__name__}, not a generator")
    return network.to(memory_format=torch.channels_last)


def check_shape(network: nn.Module, config: Any, recipe: str, start_from: str) -> None:
    """RestyleError when the network is not of the shape that the recipe describes."""
    if network.config != config:
        raise RestyleError(
            f"'{start_from}' has another shape than the recipe '{recipe}' asks for",
            "give both recipes the same [network]",
        )
