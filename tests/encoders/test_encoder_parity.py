"""The published encoders, filled with made-up weights, give the codes that the original code gives.

Styles are computed independently of each other, so the first few stand for all in the everyday run; with
all of them (`slow`) the weights alone take a minute to make.
"""

from __future__ import annotations

from dataclasses import dataclass

import parity
import pytest
import torch
from torch import Tensor, nn

from restyle_cli.encoders.psp import PSPEncoder, PSPEncoderConfig
from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig


@dataclass(frozen=True)
class Case:
    id: str
    styles: int
    backbone: str = "ir-se50"
    channels: int = 6
    pyramid: bool = False
    height: int = 256

    def build(self, styles: int) -> nn.Module:
        options = {
            "input_channels": self.channels,
            "styles": styles,
            "backbone": self.backbone,
            "input_size": (self.height, 256),
            "codes": "e4e" if "e4e" in self.id or "progressive" in self.id else "psp",
        }
        with torch.device("meta"):
            if self.pyramid:
                network: nn.Module = PSPEncoder(PSPEncoderConfig(**options))
                groups = {"coarse": range(3), "middle": range(3, 7), "fine": range(7, styles)}
            else:
                network = ReStyleEncoder(ReStyleEncoderConfig(**options))
                groups = {"heads": range(styles)}
        weights = parity.encoder_weights(self.id, groups)
        network.load_state_dict(weights, strict=True, assign=True)
        return network.eval().requires_grad_(False)

    def input(self) -> Tensor:
        names = ["x", "y"] if self.channels == 6 else ["x"]
        return torch.cat([parity.picture(name, self.height) for name in names], dim=1)


CASES = [
    Case("enc_backbone_18", 18),
    Case("enc_progressive_backbone_18", 18),
    Case("enc_resnet_backbone_16", 16, "resnet34", height=192),
    Case("enc_resnet_progressive_14", 14, "resnet34"),
    Case("enc_psp_gradual_18", 18, channels=3, pyramid=True),
    Case("enc_e4e_18", 18, channels=3, pyramid=True),
    Case("enc_gradual_14_6ch", 14, pyramid=True),
    Case("enc_resnet_gradual_14_6ch", 14, "resnet34", pyramid=True),
]
BY_ID = {case.id: case for case in CASES}


def check(case: Case, styles: int, stages: slice = slice(None)) -> None:
    """Compare the codes of the first `styles` styles, at the stored progressive stages or some of them."""
    network, x = case.build(styles), case.input()
    references = parity.outputs(case.id)
    assert references
    for name, reference in list(references.items())[stages]:
        if name != "codes":
            network.stage = int(name.removeprefix("codes_stage"))
        error = (network(x) - torch.from_numpy(reference)[:, :styles]).abs().max().item()
        print(f"{case.id} {name}: greatest difference {error:.2e}, limit {parity.limit(case.id, name):.2e}")
        assert error <= parity.limit(case.id, name), name


@pytest.mark.parametrize(
    ("name", "styles"),
    [
        ("enc_backbone_18", 2),
        ("enc_resnet_backbone_16", 2),
        ("enc_resnet_progressive_14", 3),
        ("enc_e4e_18", 8),
    ],
)
def test_first_styles_are_the_originals(name: str, styles: int) -> None:
    check(BY_ID[name], styles, stages=slice(None, None, 4))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_all_styles_are_the_originals(case: Case) -> None:
    check(case, case.styles)
