"""The shared-weight form of the modulated convolution against the paper's form."""

import pytest
import torch

from restyle_cli.ops.modconv import modulated_conv, modulated_conv_plain

CASES = [(1, 4, 4, 4, 3), (3, 5, 7, 6, 3), (2, 8, 3, 9, 1)]  # batch, inputs, outputs, side, kernel


def draw(case, dtype=torch.float32):
    n, inputs, outputs, side, kernel = case
    x = torch.randn(n, inputs, side, side + 2, dtype=dtype)
    weight = torch.randn(outputs, inputs, kernel, kernel, dtype=dtype) / (inputs * kernel * kernel) ** 0.5
    return x, weight, 1 + 0.5 * torch.randn(n, inputs, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up", [True, False])
def test_forms_agree(case, demodulate, up):
    if up and case[-1] != 3:
        pytest.skip("up-convolutions are 3×3")
    x, weight, styles = draw(case)
    fast = modulated_conv(x, weight, styles, demodulate, up)
    plain = modulated_conv_plain(x, weight, styles, demodulate, up)
    assert fast.shape == (case[0], case[2], case[3] * (1 + up), (case[3] + 2) * (1 + up))
    assert torch.allclose(fast, plain, atol=2e-5)  # the order of some 70 sums differs


@pytest.mark.parametrize("up", [True, False])
def test_gradients_agree(up):
    tensors = [t.requires_grad_() for t in draw(CASES[1], torch.float64)]
    fast = modulated_conv(*tensors, up=up)
    towards = torch.randn_like(fast)
    first = torch.autograd.grad((fast * towards).sum(), tensors)
    second = torch.autograd.grad((modulated_conv_plain(*tensors, up=up) * towards).sum(), tensors)
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_demodulated_output_does_not_know_the_size_of_the_styles():
    x, weight, styles = draw(CASES[1])
    assert torch.allclose(modulated_conv(x, weight, styles), modulated_conv(x, weight, 7 * styles), atol=1e-5)


def draw_delta(case, whole, dtype=torch.float32):
    n, inputs, outputs, _, kernel = case
    return 0.5 * torch.randn(n, outputs, inputs, *((kernel, kernel) if whole else (1, 1)), dtype=dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_forms_agree_on_changed_weights(case, demodulate, up, whole):
    if up and case[-1] != 3:
        pytest.skip("up-convolutions are 3×3")
    arguments = (*draw(case), demodulate, up, draw_delta(case, whole))
    fast, plain = modulated_conv(*arguments), modulated_conv_plain(*arguments)
    assert torch.allclose(fast, plain, atol=5e-5)
    assert not torch.allclose(fast, modulated_conv(*arguments[:-1]), atol=1e-2)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_gradients_agree_on_changed_weights(up, whole):
    tensors = [t.requires_grad_() for t in (*draw(CASES[1], torch.float64), draw_delta(CASES[1], whole, torch.float64))]
    fast = modulated_conv(*tensors[:3], up=up, delta=tensors[3])
    towards = torch.randn_like(fast)
    first = torch.autograd.grad((fast * towards).sum(), tensors)
    plain = modulated_conv_plain(*tensors[:3], up=up, delta=tensors[3])
    second = torch.autograd.grad((plain * towards).sum(), tensors)
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_a_delta_of_zero_changes_nothing():
    tensors = draw(CASES[1])
    assert torch.allclose(
        modulated_conv(*tensors, delta=torch.zeros(3, 7, 5, 1, 1)), modulated_conv(*tensors), atol=1e-6
    )
