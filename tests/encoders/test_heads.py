"""Style heads: all heads at once equal each head alone, with gradients; and e4e's offsets."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from restyle_cli.encoders.heads import FEW_OUTPUTS, StyleHeads, base_and_offsets

COUNT, CHANNELS, W_DIM = 5, 12, 16
# Relative to the size of what is compared: float32 sums in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def heads(side: int) -> StyleHeads:
    torch.manual_seed(3)
    return StyleHeads(COUNT, CHANNELS, W_DIM, side)


def a_map(images: int, height: int, width: int) -> Tensor:
    return torch.randn(images, CHANNELS, height, width, generator=torch.Generator().manual_seed(4))


# One image takes the batched product everywhere, many images the convolutions first; 12x16 is the cars' map.
SHAPES = [(1, 16, 16), (3, 16, 16), (1, 12, 16), (9, 4, 4), (1, 32, 32), (2, 2, 2), (70, 4, 3)]


@pytest.mark.parametrize(("images", "height", "width"), SHAPES)
def test_together_equals_one_by_one_with_gradients(images: int, height: int, width: int) -> None:
    module, pull = heads(max(height, width)), torch.randn(images, COUNT, W_DIM)
    answers = []
    for compute in (module.forward, module.plain):
        module.zero_grad()
        x = a_map(images, height, width).requires_grad_()
        w_plus = compute(x)
        (w_plus * pull).sum().backward()
        answers.append([w_plus, x.grad, *(parameter.grad.clone() for parameter in module.parameters())])
    assert answers[0][0].shape == (images, COUNT, W_DIM)
    for together, alone in zip(*answers, strict=True):
        torch.testing.assert_close(together, alone, **CLOSE)


@pytest.mark.parametrize(("images", "height", "width"), SHAPES)
def test_together_equals_one_by_one_without_gradients(images: int, height: int, width: int) -> None:
    """Inference multiplies the other way round."""
    module, x = heads(max(height, width)), a_map(images, height, width)
    with torch.no_grad():
        torch.testing.assert_close(module(x), module.plain(x), **CLOSE)


def test_the_shapes_above_take_both_ways() -> None:
    outputs = [n * ((h + 1) // 2) * ((w + 1) // 2) for n, h, w in SHAPES]
    assert min(outputs) <= FEW_OUTPUTS < max(outputs)


def test_a_frozen_encoder_passes_the_gradient_on() -> None:
    module = heads(4).requires_grad_(False)
    x = a_map(1, 4, 4).requires_grad_()
    module(x).sum().backward()
    together = x.grad.clone()
    x.grad = None
    module.plain(x).sum().backward()
    torch.testing.assert_close(together, x.grad, **CLOSE)


def test_half_precision_is_taken_by_autocast() -> None:
    module, x = heads(16), a_map(1, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = module(x)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), module.plain(x), rtol=0.1, atol=0.05)  # 8 bits of mantissa, 5 layers


def test_heads_do_not_touch_each_other() -> None:
    module, x = heads(8), a_map(1, 8, 8)
    with torch.no_grad():
        before = module(x)
        for parameter in module.parameters():
            parameter[2] += 1
        changed = (module(x) - before).abs().amax(dim=2)[0] > 0
    assert changed.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(("stage", "opened"), [(0, 0), (1, 1), (2, 2), (3, 3), (18, 3), (None, 3)])
def test_base_and_offsets(stage: int | None, opened: int) -> None:
    w_plus = torch.tensor([[[10.0], [1.0], [2.0], [3.0]]], requires_grad=True)
    result = base_and_offsets(w_plus, stage)
    expected = [10.0 + (i if i <= opened else 0) for i in range(4)]
    assert result.flatten().tolist() == expected
    result.sum().backward()
    assert w_plus.grad.flatten().tolist() == [4.0] + [1.0 if i <= opened else 0.0 for i in range(1, 4)]
