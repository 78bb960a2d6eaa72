"""Training a small hypernetwork (HyperStyle, Alaluf et al. 2022): the code is found by a frozen encoder before it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from restyle_cli.encoders.hyper import SmallHyperConfig, SmallHyperNetwork, choose_targets
from restyle_cli.errors import RestyleError
from restyle_cli.inversion import Method
from restyle_cli.train.config import Recipe
from restyle_cli.train.encode import Encode
from restyle_cli.train.networks import begin_with, check_shape


class Hyper(Encode):
    """The task of the loop for hypernetworks. The recipe's `first` finds the code, always."""

    first_share = 1.0

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        if recipe.first is None:
            raise RestyleError(f"the recipe '{recipe.name}' trains a hypernetwork, but names no `first` for its codes")
        super().__init__(recipe, folder)

    def _new_network(self, channels: int, folder: Path) -> nn.Module:
        shape = choose_targets(self.generator.conv_shapes()) | {
            "styles": self.generator.layers,
            "w_dim": self.generator.config.w_dim,
            "input_channels": channels,
        }
        config = SmallHyperConfig.from_dict(self.recipe.network | shape)
        if self.recipe.start_from is None:
            return SmallHyperNetwork(config)
        network, _ = begin_with(self.recipe.start_from, folder, SmallHyperNetwork)
        check_shape(network, config, self.recipe.name, self.recipe.start_from)
        return network

    def _measured(self, network: nn.Module) -> list[Method]:
        return self.first + super()._measured(network)
