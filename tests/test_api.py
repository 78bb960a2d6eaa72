"""The Python interface: models and their warnings, images in every form, and what users do with both."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import Tensor

import restyle_cli
from restyle_cli import devices, inversion
from restyle_cli.images import save_image, to_image, to_tensor
from restyle_cli.inversion import Chain
from restyle_cli.methods.encoder import ReStyle
from restyle_cli.methods.projector import Projector
from restyle_cli.models import load_method, plan
from restyle_cli.store.files import write_module

RESTYLE = "restyle-psp-portrait"


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    """Nothing here warns unless it is expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def image() -> Image.Image:
    small = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return to_image(torch.nn.functional.interpolate(small[None], (256, 256), mode="bilinear")[0])


# --- models


def test_a_stand_in_warns(tiny_store: Path) -> None:
    with pytest.warns(restyle_cli.StandInWarning, match=f"using {RESTYLE}") as caught:
        model = restyle_cli.load("restyle-psp")
    assert model.name == RESTYLE
    assert [Path(warning.filename).name for warning in caught] == ["test_api.py"]
    assert isinstance(restyle_cli.load(RESTYLE), ReStyle), "a model named outright does not warn"
    with pytest.warns(restyle_cli.StandInWarning, match="'lpips-alex', which stands in for lpips-vgg"):
        restyle_cli.load("projector-portrait")


def test_a_named_chain(tiny_store: Path, image: Image.Image) -> None:
    with pytest.warns(restyle_cli.StandInWarning):
        model = restyle_cli.load("hybrid")
    assert isinstance(model, Chain)
    assert len(model) == 5 + 1000
    result = restyle_cli.invert(image, model, steps=3, keep_w=True)
    expected = inversion.invert(to_tensor(image)[None], plan("hybrid", 3).load(), keep_w=True)
    assert torch.equal(result.w_steps, expected.w_steps)
    assert [step.method for step in result.steps[-2:]] == ["image2stylegan", "image2stylegan"]
    with pytest.raises(ValueError, match="takes 1 to 10000 steps, not 0"):
        restyle_cli.invert(image, model, steps=0)


def test_a_written_chain(tiny_store: Path, image: Image.Image) -> None:
    model = restyle_cli.load(f"psp-portrait,{RESTYLE}:2")
    states = list(restyle_cli.iterate(image, model))
    expected = list(inversion.iterate(to_tensor(image)[None], plan("", via=f"psp-portrait,{RESTYLE}:2").load()))
    assert [torch.equal(a.w, b.w) for a, b in zip(states, expected, strict=True)] == [True] * 4


def test_a_generator_means_the_projector(tiny_store: Path, tmp_path: Path) -> None:
    write_module(tmp_path / "g.safetensors", tiny.generator(), "stylegan2")
    with pytest.warns(restyle_cli.StandInWarning):
        assert isinstance(restyle_cli.load(tmp_path / "g.safetensors"), Projector)


def test_the_best_device_is_the_default(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    whole = devices.choose_device
    monkeypatch.setattr("restyle_cli.api.choose_device", lambda name: asked.append(name) or whole("cpu"))
    restyle_cli.load(RESTYLE)
    assert asked == ["auto"]


def test_a_precision(tiny_store: Path, image: Image.Image) -> None:
    full, half = (restyle_cli.load(RESTYLE, device="cpu", precision=name) for name in ("auto", "bf16"))
    a, b = (restyle_cli.invert(image, model, steps=1, keep="last").w for model in (full, half))
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b.float(), rtol=0.1, atol=0.1)


# --- images


@pytest.fixture
def model(tiny_store: Path) -> ReStyle:
    return load_method(RESTYLE)


def test_every_form_of_an_image_gives_the_same_latent(model: ReStyle, image: Image.Image, tmp_path: Path) -> None:
    save_image(image, tmp_path / "a.png")
    bytes_ = np.asarray(image)
    x = to_tensor(image)
    wanted = inversion.invert(x[None], model, 2).w
    forms = {
        "path": tmp_path / "a.png",
        "text": str(tmp_path / "a.png"),
        "image": image,
        "array": bytes_,
        "batch of arrays": bytes_[None],
        "uint8 tensor": torch.from_numpy(bytes_.copy()).permute(2, 0, 1),
        "uint8 tensor, channels last": torch.from_numpy(bytes_.copy())[None],
        "tensor": x,
        "batch": x[None],
        "float64": x[None].double(),
        "float64 array": x.permute(1, 2, 0).double().numpy(),
        "array of another byte order": x.numpy().astype(">f4"),
        "list": [x],
        "mixed": (image,),
    }
    for name, form in forms.items():
        found = restyle_cli.invert(form, model, 2)
        torch.testing.assert_close(found.w, wanted, rtol=1e-4, atol=1e-4, msg=name)
        assert float(found.steps[0].l2) < 4
    assert restyle_cli.invert([image, bytes_, x], model, 1).w.shape[0] == 3
    assert len(list(restyle_cli.iterate(bytes_, [model] * 2))) == 3


def test_a_tensor_of_the_right_size_is_not_changed(model: ReStyle, image: Image.Image) -> None:
    x = to_tensor(image)[None]
    assert torch.equal(restyle_cli.invert(x, model, 2).w, inversion.invert(x, model, 2).w)


def test_other_sizes_are_resized_like_photos(model: ReStyle, image: Image.Image) -> None:
    for side in (100, 700):
        other = image.resize((side, side), Image.Resampling.BICUBIC)
        wanted = inversion.invert(to_tensor(other, (256, 256))[None], model, 2).w
        assert torch.equal(restyle_cli.invert(other, model, 2).w, wanted)
        found = restyle_cli.invert(to_tensor(other)[None], model, 2).w
        torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)  # in floats, where Pillow rounds to 8 bits


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (255 * torch.rand(1, 3, 256, 256), "values from .* uint8 from 0 to 255"),
        (255 * np.random.default_rng(0).random((256, 256, 3)), "values from"),
        (torch.full((1, 3, 256, 256), torch.nan), "not finite"),
        (torch.zeros(1, 4, 256, 256), r"shape \[1, 4, 256, 256\] is not a batch of RGB"),
        (torch.zeros(1, 1, 256, 256), "not a batch of RGB"),
        (torch.zeros(256, 256), "not a batch of RGB"),
        (torch.zeros(0, 3, 256, 256), "not a batch of RGB"),
        (torch.zeros(1, 3, 256, 256, dtype=torch.long), "torch.int64"),
        (np.zeros((256, 256, 3), dtype=bool), "bool"),
        (torch.zeros(1, 3, 192, 256), "256x192, and the model takes 256x256: align"),
        (Image.new("RGB", (300, 200)), "300x200"),
        ([], "there is no image"),
        (None, "type NoneType is not an image"),
    ],
)
def test_wrong_images_are_a_value_error(model: ReStyle, images: object, message: str) -> None:
    for call in (lambda: restyle_cli.invert(images, model, 1), lambda: next(restyle_cli.iterate(images, [model]))):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_values_from_0_to_1_warn(model: ReStyle) -> None:
    with pytest.warns(UserWarning, match=r"2 \* x - 1") as caught:
        restyle_cli.invert(torch.rand(1, 3, 256, 256), model, 1)
    assert Path(caught[0].filename).name == "test_api.py"


def test_methods_that_compare_get_the_full_size(tmp_path: Path, tiny_store: Path) -> None:
    write_module(tmp_path / "g.safetensors", tiny.generator(resolution=512), "stylegan2")
    with pytest.warns(restyle_cli.StandInWarning):
        model = restyle_cli.load("image2stylegan", generator=tmp_path / "g.safetensors")
    seen: list[Tensor] = []
    whole = model.comparison
    model.comparison = lambda x, state: seen.append(whole(x, state).x) or whole(x, state)
    large = torch.full((1, 3, 512, 512), 0.5)
    large[..., ::2] = -0.5
    restyle_cli.invert(large, model, 1)
    assert torch.equal(seen[0], large)
    restyle_cli.invert(large[..., :256, :256], model, 1)
    assert seen[-1].shape == (1, 3, 256, 256), "the image has no more detail"


def test_an_endless_schedule(model: ReStyle) -> None:
    def endless() -> Iterator[ReStyle]:
        while True:
            yield model

    states = restyle_cli.iterate(torch.zeros(1, 3, 256, 256), endless())
    assert [next(states).w.shape[0] for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_pil_images_of_every_mode(model: ReStyle, image: Image.Image, mode: str) -> None:
    converted = image.convert(mode)
    expected = restyle_cli.invert(converted.convert("RGB"), model, 1)
    assert torch.equal(restyle_cli.invert(converted, model, 1).w, expected.w)


def test_pil_images_are_turned_upright_and_put_on_white(model: ReStyle, image: Image.Image, tmp_path: Path) -> None:
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    clear = image.convert("RGBA")
    clear.putalpha(Image.new("L", image.size, 0))
    white = Image.new("RGB", image.size, "white")
    for form, expected in ((Image.open(tmp_path / "turned.png"), image), (clear, white)):
        assert torch.equal(restyle_cli.invert(form, model, 1).w, restyle_cli.invert(expected, model, 1).w)
    with pytest.raises(ValueError, match="mode I;16 has more than 8 bits"):
        restyle_cli.invert(Image.new("I;16", (256, 256)), model, 1)


# --- other functions


def test_align(image: Image.Image, model: ReStyle, tmp_path: Path) -> None:
    save_image(image.resize((300, 200)), tmp_path / "wide.png")
    for form in (tmp_path / "wide.png", image.resize((300, 200)), np.asarray(image.resize((300, 200)))):
        aligned = restyle_cli.align(form, mode="never")
        assert aligned.image.size == (256, 256)
        assert restyle_cli.invert(aligned, model, 1).w.shape[0] == 1
    with pytest.raises(restyle_cli.RestyleError, match="no face"):
        restyle_cli.align(Image.new("RGB", (300, 300)), mode="always")
    with pytest.raises(ValueError, match="one image is expected"):
        restyle_cli.align([image, image])


def test_generate(tiny_store: Path, model: ReStyle) -> None:
    several = restyle_cli.generate("portrait", seeds=[0, 1])
    assert several.shape == (2, 3, 32, 32)
    torch.testing.assert_close(restyle_cli.generate(model, seeds=[1]), several[1:])
    average = restyle_cli.generate(model.generator, truncation=0.0)
    assert torch.equal(average, model.generator(model.generator.start(1)))
    assert torch.equal(restyle_cli.generate([model, model], model.generator.w_avg[None]), average)
    assert torch.equal(restyle_cli.generate(model, model.generator.w_avg[None].numpy()), average)
    with pytest.raises(ValueError, match=r"takes \[N, 8, 16\]"):
        restyle_cli.generate(model, torch.zeros(1, 18, 512))


def test_evaluate(model: ReStyle, image: Image.Image) -> None:
    result = restyle_cli.invert([image, image.rotate(90)], model, 1)
    numbers = restyle_cli.evaluate(result, metrics=["l2", "ms_ssim"])
    assert list(numbers) == ["l2", "ms_ssim"]
    assert numbers["l2"].shape == (2,)
    same = restyle_cli.evaluate(image, np.asarray(image), ["l2"])
    assert float(same["l2"]) == pytest.approx(0, abs=1e-10)
    assert list(restyle_cli.evaluate(result)) == ["l2", "lpips", "ms_ssim"]
    with pytest.raises(ValueError, match="2 targets cannot be compared with 1 images"):
        restyle_cli.evaluate([image, image], image)


def test_functions_share_their_names_with_packages(tmp_path: Path) -> None:
    """Whichever is imported first."""
    for first in ("", "import restyle_cli.align.detect, restyle_cli.evaluate.journal; "):
        check = f"{first}import restyle_cli; assert callable(restyle_cli.align) and callable(restyle_cli.evaluate); " \
            "restyle_cli.align(__import__('PIL.Image').Image.new('RGB', (9, 9)), 'never')"  # fmt: skip
        subprocess.run([sys.executable, "-c", check], check=True)
