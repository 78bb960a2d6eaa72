"""The optimiser of pSp, e4e and ReStyle: Ranger, that is RAdam (Liu et al. 2020), lookahead (Zhang et al. 2019) and
gradient centralisation (Yong et al. 2020).

`pytorch-optimizer` has it. Only the centralisation is our own, for our encoders stack the weights of many layers in
one tensor: each layer's gradients must be centred by themselves, and a stack of biases is no matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from restyle_cli.encoders.heads import StackedConv, StackedEqualLinear
from restyle_cli.errors import RestyleError

if TYPE_CHECKING:
    from torch.optim import Optimizer


def ranger(network: nn.Module, lr: float = 1e-4) -> Optimizer:
    """Ranger with the published settings for all parameters of `network`; its steps change their gradients, too."""
    try:
        from pytorch_optimizer import Ranger
    except ImportError as error:
        raise RestyleError("Ranger is not installed", "`pip install 'restyle-cli[train]'`") from error
    # degenerated_to_sgd: the first steps, before the variance is known, are momentum's and not none at all
    optimiser = Ranger(network.parameters(), lr=lr, degenerated_to_sgd=True, use_gc=False)

    def centre(*_: Any) -> None:
        centralise(network)

    optimiser.register_step_pre_hook(centre)
    return optimiser


@torch.no_grad()
def centralise(network: nn.Module) -> None:
    """Take from each output's gradients their mean, in layers that are more than one number an output."""
    for module in network.modules():
        outputs = 2 if isinstance(module, StackedConv | StackedEqualLinear) else 1  # leading dimensions
        for parameter in module.parameters(recurse=False):
            gradient = parameter.grad
            if gradient is not None and gradient.dim() > outputs:
                gradient -= gradient.mean(dim=tuple(range(outputs, gradient.dim())), keepdim=True)
