"""Both forms of the modulated convolution, scaled maps and scaled weights, against the papers' form."""

import pytest
import torch

from restyle_cli.ops import modconv
from restyle_cli.ops.modconv import modulated_conv, modulated_conv_plain

CASES = [(1, 4, 4, 4, 3), (3, 5, 7, 6, 3), (2, 8, 3, 9, 1)]  # batch, inputs, outputs, side, kernel
DELTAS = [None, "kernel", "whole"]


@pytest.fixture(params=["scaled maps", "scaled weights"], autouse=True)
def form(request, monkeypatch):
    """Each test runs in both forms, whatever the sizes would choose."""
    monkeypatch.setattr(modconv, "_needs_gradients", lambda *_: False)
    monkeypatch.setattr(modconv, "_maps_outweigh", lambda *_: request.param == "scaled weights")
    return request.param


def draw(case, dtype=torch.float32, delta=None):
    """x, weight, styles, delta, bias. The delta is one number for a "kernel", or differs inside ("whole")."""
    n, inputs, outputs, side, kernel = case
    x = torch.randn(n, inputs, side, side + 2, dtype=dtype)
    weight = torch.randn(outputs, inputs, kernel, kernel, dtype=dtype) / (inputs * kernel * kernel) ** 0.5
    styles = 1 + 0.5 * torch.randn(n, inputs, dtype=dtype)
    inside = (kernel, kernel) if delta == "whole" else (1, 1)
    changes = 0.5 * torch.randn(n, outputs, inputs, *inside, dtype=dtype) if delta else None
    return x, weight, styles, changes, torch.randn(outputs, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("delta", DELTAS)
def test_forms_agree(case, demodulate, up, delta):
    if up and case[-1] != 3:
        pytest.skip("up-convolutions are 3×3")
    x, weight, styles, changes, bias = draw(case, delta=delta)
    arguments = (x, weight, styles, demodulate, up, changes)
    fast, plain = modulated_conv(*arguments), modulated_conv_plain(*arguments)
    assert fast.shape == (case[0], case[2], case[3] * (1 + up), (case[3] + 2) * (1 + up))
    assert torch.allclose(fast, plain, atol=5e-5)  # the order of some 70 sums differs
    if delta:
        assert not torch.allclose(fast, modulated_conv(*arguments[:-1]), atol=1e-2)
    ends = {"bias": bias, "gain": 1.7}
    assert torch.allclose(modulated_conv(*arguments, **ends), modulated_conv_plain(*arguments, **ends), atol=1e-4)


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("delta", DELTAS)
def test_gradients_agree(up, delta):
    drawn = draw(CASES[1], torch.float64, delta)
    tensors = [t.requires_grad_() for t in drawn if t is not None]
    x, weight, styles, changes, bias = drawn
    options = {"up": up, "delta": changes, "bias": bias, "gain": 1.7}
    fast = modulated_conv(x, weight, styles, **options)
    towards = torch.randn_like(fast)
    first = torch.autograd.grad((fast * towards).sum(), tensors)
    plain = modulated_conv_plain(x, weight, styles, **options)
    second = torch.autograd.grad((plain * towards).sum(), tensors)
    for a, b in zip(first, second, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_demodulated_output_does_not_know_the_size_of_the_styles():
    x, weight, styles, *_ = draw(CASES[1])
    assert torch.allclose(modulated_conv(x, weight, styles), modulated_conv(x, weight, 7 * styles), atol=1e-5)


def test_a_delta_of_zero_changes_nothing():
    x, weight, styles, *_ = draw(CASES[1])
    changed = modulated_conv(x, weight, styles, delta=torch.zeros(3, 7, 5, 1, 1))
    assert torch.allclose(changed, modulated_conv(x, weight, styles), atol=1e-6)


def test_which_form_is_taken(monkeypatch):
    monkeypatch.undo()  # of the fixture
    taken = []
    for name in ("_scaled_maps", "_scaled_weights"):
        form = getattr(modconv, name)
        monkeypatch.setattr(modconv, name, lambda *a, form=form, name=name: taken.append(name) or form(*a))
    x, weight, styles, *_ = draw((1, 4, 4, 16, 3))
    modulated_conv(x[:, :, :2, :2], weight, styles)
    modulated_conv(x, weight, styles)
    modulated_conv(x, weight, styles.requires_grad_())
    with torch.no_grad():
        modulated_conv(x, weight, styles)
    assert taken == ["_scaled_maps", "_scaled_weights", "_scaled_maps", "_scaled_weights"]
