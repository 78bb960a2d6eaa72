"""W-only inversion: one code for every style, from an encoder of one code or from e4e's without its offsets."""

from __future__ import annotations

import torch

from restyle_cli.inversion import invert
from restyle_cli.methods.encoder import SinglePass, SingleW
from restyle_cli.models import plan
from tests import tiny


def test_it_is_the_base_code_of_an_encoder_of_offsets() -> None:
    generator, x = tiny.generator(), torch.rand(2, 3, 32, 32) * 2 - 1
    encoder = tiny.encoder(channels=3)
    average = generator.start(2)
    all_codes = invert(x, SinglePass("e4e", encoder, generator), keep="last").w - average
    one_code = invert(x, SingleW("e4e-w", encoder, generator), keep="last").w - average
    assert (all_codes.std(dim=1) > 0).any(), "else this test shows nothing"
    torch.testing.assert_close(one_code[:, 0], all_codes[:, 0])
    torch.testing.assert_close(one_code, one_code[:, :1].expand_as(one_code))


def test_a_domain_without_such_an_encoder_borrows_that_of_e4e() -> None:
    (model,) = plan("e4e-w-portrait").models
    (lender,) = plan("e4e-portrait").models
    assert (model.name, model.method) == ("e4e-w-portrait", "e4e-w")
    assert model.encoder == lender.encoder
    first, second = plan("restyle-psp", via="e4e-w-portrait,hyperstyle-portrait:5").models
    assert (first.name, second.name) == ("e4e-w-portrait", "hyperstyle-portrait")
