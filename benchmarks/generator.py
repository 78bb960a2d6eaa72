"""The fast generator against the plain form, measured alternately in one run.

    python benchmarks/generator.py [--resolution 1024] [--repeats 5] [--threads 2]

The plain form has one set of weights for each sample, grouped convolutions, filters on channels folded into the batch,
and noise, bias, rectifier and gain one after the other. Prints the median ratio of the times (plain / fast) and the
largest difference of the images.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F

from restyle_cli.generators import stylegan2
from restyle_cli.generators.stylegan2 import StyledConv, StyleGAN2, StyleGAN2Config
from restyle_cli.ops import fir, modconv
from restyle_cli.ops.layers import leaky_relu


def usual_blur(x: torch.Tensor, pad: int, gain: float = 1.0) -> torch.Tensor:
    """The filter with channels folded into the batch, as usual without a compiled extension."""
    n, c, h, w = x.shape
    folded = F.conv2d(x.reshape(n * c, 1, h, w), fir.kernel(x, gain)[None, None], padding=pad)
    return folded.reshape(n, c, *folded.shape[2:])


def usual_conv(*arguments: object, **options: object) -> torch.Tensor:
    """The papers' form with that filter."""
    plain = modconv.fir.resample_plain
    modconv.fir.resample_plain = lambda x, pad, gain: usual_blur(x, pad[0], gain)
    try:
        return modconv.modulated_conv_plain(*arguments, **options)
    finally:
        modconv.fir.resample_plain = plain


def usual_styled_conv(
    self: StyledConv, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor, delta: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolution, noise, bias, rectifier and gain one after the other."""
    x = usual_conv(x, self.weight * self.scale, self.affine(w), up=self.up, delta=delta)
    x = x + self.noise_strength * noise
    return leaky_relu(x + self.bias[:, None, None])


@contextmanager
def plain_operators() -> Iterator[None]:
    """Generators compute by the plain form in this block."""
    with (
        mock.patch.object(stylegan2, "modulated_conv", usual_conv),
        mock.patch.object(StyledConv, "forward", usual_styled_conv),
    ):
        yield


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    network = StyleGAN2(StyleGAN2Config(options.resolution)).eval().requires_grad_(False)
    w = network.w_plus(network.mapping(torch.randn(options.batch, 512)))
    compact = StyleGAN2(network.config).eval().requires_grad_(False)
    compact.load_state_dict(network.state_dict())
    compact.to(memory_format=torch.channels_last)

    def plain() -> torch.Tensor:
        with plain_operators():
            return network(w)

    def fast() -> torch.Tensor:
        return compact(w)

    def half() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return compact(w)

    reference = plain()
    machine = f"{options.threads} threads, torch {torch.__version__}"
    print(f"StyleGAN2 {options.resolution} px, batch {options.batch}, {machine}")
    for name, run in (("fp32", fast), ("bf16", half)):
        difference = float((run().float() - reference).abs().max())
        pairs = [(seconds(plain), seconds(run)) for _ in range(options.repeats)]
        ratio = statistics.median(a / b for a, b in pairs)
        a, b = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name}: plain {a:.2f} s, fast {b:.2f} s, {ratio:.1f}x; largest difference {difference:.1e}")


if __name__ == "__main__":
    main()
