"""Apple's GPUs have no float64: tensors are moved to the CPU before they become float64."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from restyle_cli.evaluate.run import numbers
from restyle_cli.metrics import choose
from restyle_cli.metrics.identity import cosines


class OnAppleGPU(Tensor):
    """A tensor that refuses float64 as MPS does, until it is on the CPU."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(function, types, args, kwargs or {})
        if function is Tensor.cpu:
            return result.as_subclass(Tensor)
        if isinstance(result, Tensor) and result.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return result


def test_such_a_tensor_is_refused() -> None:
    with pytest.raises(TypeError, match="float64"):
        torch.ones(2).as_subclass(OnAppleGPU).double()


def test_cosines() -> None:
    a, b = torch.randn(2, 5, 7)
    assert torch.equal(cosines(a.as_subclass(OnAppleGPU), b.as_subclass(OnAppleGPU)), cosines(a, b))


def test_measuring() -> None:
    torch.manual_seed(0)
    x, y = (torch.rand(2, 2, 3, 64, 64) * 2 - 1).unbind()
    metrics = choose(["l2", "ms_ssim", "structure", "lpips", "id/dlib"]).metrics
    found = []
    for kind in (Tensor, OnAppleGPU):
        found.append(numbers(metrics, x.as_subclass(kind), y.as_subclass(kind)))
    assert torch.equal(*found)


def test_the_mean_of_w(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = tiny.generator()
    expected, mapping = generator.mean_w(500), generator.mapping
    mapping.register_forward_hook(lambda module, inputs, w: w.as_subclass(OnAppleGPU))
    assert torch.equal(generator.mean_w(500), expected)
    assert expected.dtype == torch.float32
