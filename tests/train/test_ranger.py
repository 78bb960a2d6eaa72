"""Ranger takes the original's steps, and those of separate layers for layers that are stacked in one tensor."""

from __future__ import annotations

import parity
import pytest
import torch
from golden import fill
from torch import nn

from restyle_cli.encoders.heads import StyleHeads
from restyle_cli.train.ranger import centralise, ranger

pytest.importorskip("pytorch_optimizer", reason="it comes with the extra `train`")

SHAPES = {"conv": (4, 3, 3, 3), "fc": (5, 7), "bias": (6,), "scalar": ()}


def test_fourteen_steps_are_the_originals() -> None:
    network = nn.ParameterDict({k: torch.from_numpy(fill.normal(f"p_{k}", s).reshape(s)) for k, s in SHAPES.items()})
    optimiser = ranger(network, lr=0.01)
    references = parity.outputs("ranger")
    worst = dict.fromkeys(SHAPES, 0.0)
    for t in range(14):
        for name, shape in SHAPES.items():
            gradient = (1 + 0.3 * t) * fill.normal(f"g{t}_{name}", shape)
            network[name].grad = torch.tensor(gradient, dtype=torch.float32).reshape(shape)
        optimiser.step()
        for name, shape in SHAPES.items():
            error = abs(network[name].detach().numpy() - references[name][t].reshape(shape)).max()
            worst[name] = max(worst[name], float(error))
    for name, error in worst.items():
        print(f"ranger {name}: greatest difference {error:.2e}, limit {parity.limit('ranger', name):.2e}")
        assert error <= parity.limit("ranger", name), name


def test_stacked_layers_step_as_separate_ones() -> None:
    torch.manual_seed(0)
    heads = StyleHeads(count=3, channels=6, w_dim=8, side=4)
    stacked = dict(heads.named_parameters())
    # Each head's layers by themselves, as the original has them.
    apart = nn.ParameterDict(
        {f"{k} {i}".replace(".", "_"): p[i].detach().clone() for k, p in stacked.items() for i in range(3)}
    )
    optimisers = ranger(heads, lr=0.01), ranger(apart, lr=0.01)
    for _ in range(8):
        for key, parameter in stacked.items():
            parameter.grad = torch.randn_like(parameter)
            for i in range(3):
                apart[f"{key} {i}".replace(".", "_")].grad = parameter.grad[i].clone()
        for optimiser in optimisers:
            optimiser.step()
    for key, parameter in stacked.items():
        rows = [apart[f"{key} {i}".replace(".", "_")] for i in range(3)]
        torch.testing.assert_close(parameter.detach(), torch.stack(list(rows)).detach())


def test_gradients_are_centred_for_each_output() -> None:
    layer = nn.Linear(5, 3)
    layer.weight.grad, layer.bias.grad = torch.randn(3, 5) + 2, torch.ones(3)
    centralise(layer)
    torch.testing.assert_close(layer.weight.grad.mean(dim=1), torch.zeros(3), atol=1e-6, rtol=0)
    assert layer.bias.grad.tolist() == [1, 1, 1]
