"""The small encoder: shapes, start values, speed-relevant choices and refusals."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from restyle_cli.encoders.base import widen_input
from restyle_cli.encoders.small import SmallEncoder, SmallEncoderConfig, to_offsets
from restyle_cli.errors import RestyleError

TINY = SmallEncoderConfig(styles=4, w_dim=16, input_size=32, widths=(16, 16, 24), blocks=(1, 1, 1), hidden=32)


def build(config: SmallEncoderConfig = TINY, seed: int = 0) -> SmallEncoder:
    torch.manual_seed(seed)
    return SmallEncoder(config)


def images(channels: int = 6, size: int = 32) -> Tensor:
    return torch.rand(2, channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_codes_have_one_row_for_each_style_and_any_input_size_is_taken() -> None:
    encoder = build()
    for size in (32, 64, 20):
        w_plus = encoder(images(size=size))
        assert w_plus.shape == (2, 4, 16)
        assert w_plus.isfinite().all()


def test_an_untrained_encoder_takes_a_small_step() -> None:
    """Far from one standard deviation of W, yet not zero: the loop starts at the average and stays near."""
    torch.manual_seed(0)
    size = SmallEncoder(SmallEncoderConfig())(images(size=64)).square().mean().sqrt()
    assert 0.005 < size < 0.3


def test_codes_are_sums_of_the_basis() -> None:
    encoder = build(dataclasses.replace(TINY, rank=5))
    assert encoder.last.out_features == TINY.styles * 5
    encoder.basis.copy_(torch.randn(5, 16))
    w_plus = encoder(images())
    off = w_plus - w_plus @ torch.linalg.pinv(encoder.basis) @ encoder.basis
    assert w_plus.abs().max() > 1e-3
    assert off.abs().max() < 1e-5 * w_plus.abs().max() + 1e-6
    assert "basis" in encoder.state_dict()


def test_most_stem_filters_start_blind_to_what_image_and_reconstruction_share() -> None:
    encoder = build(SmallEncoderConfig())
    x = images(3, 64)
    answer = encoder.stem(torch.cat([x, x], dim=1)).abs().amax(dim=(0, 2, 3))
    assert (answer < 1e-5).sum() == 24
    x_only = encoder.stem(torch.cat([x, x + 1], dim=1)) - encoder.stem(torch.cat([x, x], dim=1))
    assert (x_only.abs().amax(dim=(0, 2, 3)) < 1e-5).sum() == 4


def test_there_is_no_normalisation_layer() -> None:
    kinds = {type(module).__name__ for module in build().modules()}
    assert kinds <= {
        "SmallEncoder", "SmallBlock", "Sequential", "Conv2d", "Linear", "Identity", "AvgPool2d",
    }  # fmt: skip


def test_variance_survives_the_body() -> None:
    """He start values and branches of a half: neither vanishing nor exploding through a deep body."""
    config = SmallEncoderConfig(blocks=(4, 4, 4, 4))
    encoder = build(config)
    stem = encoder.stem(images(size=64))
    ratio = encoder.body(stem).std() / stem.std()
    assert 0.3 < ratio < 30


def test_e4e_codes_share_the_base_and_the_stage_opens_offsets() -> None:
    encoder = build(dataclasses.replace(TINY, codes="e4e"))
    free = build()
    free.load_state_dict(encoder.state_dict())
    raw, x = free(images()), images()
    for stage in (0, 1, 2, 3, 9, None):
        encoder.stage = stage
        w_plus = encoder(x)
        for style in range(4):
            opened = style > 0 and (stage is None or style <= stage)
            expected = raw[:, 0] + raw[:, style] if opened else raw[:, 0]
            torch.testing.assert_close(w_plus[:, style], expected)


def test_a_widened_encoder_gives_the_same_codes_until_it_is_trained() -> None:
    narrow = build(dataclasses.replace(TINY, input_channels=3))
    narrow.basis.mul_(2.0)
    wide = widen_input(narrow, 6)
    x, y = images(3), images(3).flip(0)
    assert wide.config.input_channels == 6
    torch.testing.assert_close(wide(torch.cat([x, y], dim=1)), narrow(x))
    wide(torch.cat([x, y], dim=1)).square().sum().backward()
    assert wide.stem.weight.grad[:, 3:].abs().max() > 0
    with pytest.raises(RestyleError, match="narrowed"):
        widen_input(wide, 3)


def test_gradients_reach_every_weight() -> None:
    encoder = build()
    encoder(images()).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_few_steps_learn_one_batch() -> None:
    encoder, x = build(), images()
    target = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(2))
    optimiser = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = nn.functional.mse_loss(encoder(x), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


def test_the_configuration_survives_json_and_refuses_what_it_does_not_know() -> None:
    config = dataclasses.replace(TINY, codes="e4e")
    values = config.to_dict()
    assert values["widths"] == [16, 16, 24]
    assert SmallEncoderConfig.from_dict(values) == config
    assert SmallEncoderConfig.from_dict({}) == SmallEncoderConfig()
    with pytest.raises(RestyleError, match="no field 'width'"):
        SmallEncoderConfig.from_dict({"width": 3})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"codes": "w"}, "'psp' or 'e4e'"),
        ({"styles": 0}, "styles"),
        ({"input_size": 48}, "read 64 px"),
        ({"blocks": (1, 2)}, "one number of blocks"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(RestyleError, match=sentence):
        SmallEncoderConfig(**change)


def test_it_is_rebuilt_on_the_meta_device() -> None:
    """As files are read: no memory for start values, then the stored tensors are taken as they are."""
    with torch.device("meta"):
        empty = SmallEncoder(TINY)
    source = build()
    empty.load_state_dict(source.state_dict(), strict=True, assign=True)
    torch.testing.assert_close(empty(images()), source(images()))


def test_offsets_give_the_codes_of_the_free_form():
    free = build()
    x = torch.randn(2, 6, 32, 32)
    torch.testing.assert_close(to_offsets(free)(x), free(x))
    assert to_offsets(free).config.codes == "e4e"
