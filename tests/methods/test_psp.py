"""pSp for sketches, label maps and low-resolution images, and style mixing."""

from __future__ import annotations

from pathlib import Path

import foreign
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from restyle_cli.errors import RestyleError
from restyle_cli.images import to_tensor
from restyle_cli.inversion import invert
from restyle_cli.methods.encoder import PSP, task_of
from restyle_cli.methods.inputs import as_labels, as_sketch, shrunk
from restyle_cli.methods.mixing import FINE, mix, sample_w
from restyle_cli.models import load_method, plan


def noise(side: int = 64, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((side, side), Image.Resampling.BICUBIC)


# --- inputs


def test_a_sketch_is_converted_to_grey_as_by_pillow() -> None:
    image = noise()
    given = as_sketch(to_tensor(image)[None])
    assert given.shape == (1, 1, 64, 64)
    assert np.array_equal((given[0, 0] * 255).round().numpy(), np.asarray(image.convert("L"), dtype=np.float32))
    assert as_sketch(torch.ones(1, 3, 4, 4)).min() == 1, "paper is white"


def test_a_label_map_becomes_one_plane_for_each_class() -> None:
    labels = torch.tensor([[0, 1, 18], [2, 2, 7]])
    image = Image.fromarray(labels.numpy().astype(np.uint8)).convert("RGB")
    given = as_labels(to_tensor(image)[None], 19)
    assert given.shape == (1, 19, 2, 3)
    assert torch.equal(given.argmax(dim=1)[0], labels)
    assert torch.equal(given.sum(dim=1), torch.ones(1, 2, 3))


def test_an_image_that_is_no_label_map_is_refused() -> None:
    grey = Image.fromarray(np.full((4, 4), 19, dtype=np.uint8)).convert("RGB")
    with pytest.raises(RestyleError, match="class 19; the model knows those from 0 to 18"):
        as_labels(to_tensor(grey)[None], 19)
    with pytest.raises(RestyleError, match="coloured"):
        as_labels(to_tensor(noise())[None], 19)


def bicubic_by_hand(x: np.ndarray, factor: int) -> np.ndarray:
    """[H, W] -> [H / factor, W / factor], tap by tap, the image mirrored at its borders."""

    def weight(t: float) -> float:
        t, a = abs(t), -0.5
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    taps = np.array([weight((i - 2 * factor + 0.5) / factor) for i in range(4 * factor)])
    taps /= taps.sum()
    for _ in range(2):
        padded = np.pad(x, ((3 * factor // 2, 3 * factor - 3 * factor // 2), (0, 0)), mode="reflect")
        rows = [taps @ padded[i * factor : i * factor + 4 * factor] for i in range(x.shape[0] // factor)]
        x = np.stack(rows).T
    return x


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_images_are_downsampled_as_in_training(factor: int) -> None:
    image = noise()
    small = np.stack([bicubic_by_hand(band, factor) for band in np.asarray(image).transpose(2, 0, 1) / 255.0], axis=2)
    eight_bits = Image.fromarray((small.clip(0, 1) * 255).astype(np.uint8))
    expected = to_tensor(eight_bits, (64, 64))
    found = shrunk(to_tensor(image)[None], factor)[0]
    assert (found - expected).abs().max() < 2.5 / 127.5, "a level or two: numbers are cut to 8 bits, not rounded"
    assert (found - expected).abs().mean() < 0.1 / 127.5


def test_downsampling_loses_detail_and_has_a_limit() -> None:
    x = to_tensor(noise(256))[None]
    errors = [float((shrunk(x, factor) - x).square().mean()) for factor in (1, 2, 4, 8, 16, 32)]
    assert errors[0] == 0
    assert errors == sorted(errors)
    with pytest.raises(RestyleError, match="32 times smaller"):
        shrunk(x[..., :100, :100], 32)


# --- the method


@pytest.mark.parametrize(("channels", "task"), [(3, "photo"), (1, "sketch"), (19, "labels")])
def test_the_task_follows_from_the_channels(channels: int, task: str) -> None:
    assert task_of(channels) == task
    assert task_of(3, "frontal") == "frontal"
    assert task_of(3, "unheard of") == "photo"
    assert PSP.accepts(channels)
    assert not PSP.accepts(6)


def test_the_encoder_gets_the_input_of_its_training() -> None:
    generator, x = tiny.generator(), to_tensor(noise(256))[None]
    for task, channels, given in (
        ("photo", 3, x),
        ("sketch", 1, as_sketch(x)),
        ("super-resolution", 3, shrunk(x, 8)),
    ):
        encoder = tiny.encoder(channels=channels)
        method = PSP("psp", encoder, generator, task=task, downscale=8 if task == "super-resolution" else 1)
        assert torch.equal(method.step(x, method.start(x)).w, generator.w_avg + encoder(given))
    labels = to_tensor(Image.fromarray(np.random.default_rng(0).integers(0, 5, (64, 64), dtype=np.uint8)))[None]
    method = PSP("psp", tiny.encoder(channels=5), generator, task="labels")
    found = method.step(labels, method.start(labels)).w
    assert torch.equal(found, generator.w_avg + tiny.encoder(channels=5)(as_labels(labels, 5)))


@pytest.mark.parametrize(("task", "kept"), [("frontal", 1), ("photo", 0)])
def test_translations_keep_the_last_step(task: str, kept: int) -> None:
    generator = tiny.generator()
    x = F.interpolate(generator(generator.start(1)), (256, 256), mode="bilinear")  # closest to the average
    result = invert(x, PSP("psp", tiny.encoder(channels=3), generator, task=task))
    assert int(result.kept_step) == kept
    assert int(result.best_step) == 0


# --- style mixing


def latents() -> Tensor:
    return torch.randn(2, 12, tiny.W_DIM, generator=torch.Generator().manual_seed(1))


def test_only_fine_layers_are_mixed() -> None:
    generator, w = tiny.generator(resolution=128), latents()
    sampled = sample_w(generator, 3)
    assert torch.equal(sampled, sample_w(generator, 3))
    assert not torch.equal(sampled, sample_w(generator, 4))
    assert torch.equal(sampled[0], sampled[-1]), "in W"
    mixed = mix(w, sampled, 0.25)
    assert torch.equal(mixed[:, :FINE], w[:, :FINE])
    assert torch.allclose(mixed[:, FINE:], 0.25 * sampled[FINE:] + 0.75 * w[:, FINE:], atol=1e-6)
    assert torch.equal(mix(w, sampled)[:, FINE:], sampled[FINE:].expand(2, -1, -1))
    assert torch.equal(mix(w, sampled, 0.0), w)


def test_a_small_generator_has_no_fine_layers() -> None:
    with pytest.raises(RestyleError, match="have 8 layers, too few to mix"):
        mix(torch.zeros(1, 8, tiny.W_DIM), sample_w(tiny.generator(), 0))


# --- files


@pytest.mark.parametrize(
    ("channels", "trained", "task"),
    [
        (3, "ffhq_encode", "photo"),
        (3, "ffhq_frontalize", "frontal"),
        (3, "celebs_super_resolution", "super-resolution"),
        (1, "celebs_sketch_to_face", "sketch"),
        (19, "celebs_seg_to_face", "labels"),
        (19, "my_own", "labels"),
    ],
)
def test_the_task_of_a_published_file(tmp_path: Path, channels: int, trained: str, task: str) -> None:
    finds = foreign.encoder(pyramid=True, input_channels=channels)
    opts = {"encoder_type": "GradualStyleEncoder", "dataset_type": trained, "start_from_latent_avg": True}
    torch.save(foreign.checkpoint(foreign.generator(), finds, **opts), tmp_path / "psp.pt")
    (model,) = plan(str(tmp_path / "psp.pt")).models
    assert (model.method, model.task) == ("psp", task)
    method = load_method(tmp_path / "psp.pt")
    x = torch.zeros(1, 3, *method.size)
    x[:] = (3 / 255 - 0.5) / 0.5  # class 3 everywhere, or a dark grey
    assert method.keeps_last == (task in ("frontal", "sketch", "labels"))
    assert torch.equal(
        method.step(x, method.start(x)).w, method.generator.w_avg + method.encoder(method.encoder_input(x))
    )
    assert method.encoder_input(x).shape[1] == channels


def test_every_variant_in_the_catalog_is_a_task() -> None:
    from restyle_cli.methods.encoder import TASKS, VARIANTS
    from restyle_cli.store import catalog

    variants = {entry.variant for entry in catalog.entries() if entry.method == "psp" and entry.variant}
    assert variants == set(VARIANTS)
    assert set(VARIANTS.values()) <= set(TASKS)
