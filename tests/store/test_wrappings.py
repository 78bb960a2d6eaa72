"""Checkpoints as people have them: gradients on, arrays of numpy, copies and training state beside the weights."""

from __future__ import annotations

import gzip
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import torch
from foreign import assert_equal, refused, write
from safetensors.torch import save_file
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2
from restyle_cli.store import files, legacy
from restyle_cli.store.convert import convert
from restyle_cli.store.legacy import safe
from restyle_cli.store.legacy.rosinality import to_rosinality

State = dict[str, Any]


@pytest.fixture(scope="module")
def generator() -> StyleGAN2:
    return foreign.generator()


@pytest.fixture
def state(generator: StyleGAN2) -> State:
    """The generator in rosinality's names."""
    return to_rosinality(generator)["g_ema"]


def other(state: State) -> State:
    """Other weights."""
    return {key: value if key.endswith("kernel") else value + 1 for key, value in state.items()}


# --- gradients


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_a_generator_that_pti_tuned(generator: StyleGAN2, tmp_path: Path, zipped: bool) -> None:
    path = foreign.write_pti(tmp_path / "model_abc.pt", foreign.nvidia_state(generator), zipped)
    assert_equal(files.read_module(path), generator)
    (part,) = legacy.describe(path)
    assert part.extra["latent_space"].startswith("mapping-")


def test_tensors_that_want_gradients(generator: StyleGAN2, state: State, tmp_path: Path) -> None:
    kept = {key: nn.Parameter(value) for key, value in state.items()}
    average = generator.w_avg[0].clone().requires_grad_()
    path = write(tmp_path / "g.pt", {"g_ema": kept, "latent_avg": average})
    read = files.read_module(path)
    assert_equal(read, generator)
    assert not any(parameter.requires_grad for parameter in read.parameters())
    encoder = foreign.encoder()
    content = foreign.checkpoint(generator, encoder, encoder_type="BackboneEncoder")
    content["state_dict"] = {
        key: nn.Parameter(value, value.is_floating_point()) for key, value in content["state_dict"].items()
    }
    assert_equal(files.read_module(write(tmp_path / "e.pt", content), role="encoder"), encoder)


def test_an_error_that_is_not_about_shapes_is_not_blamed_on_them(tmp_path: Path) -> None:
    content = foreign.checkpoint(None, foreign.encoder(), encoder_type="BackboneEncoder", output_size="large")
    error = refused(write(tmp_path / "e.pt", content), "its option 'output_size' is 'large', not a number")
    assert "shapes" not in error.message
    init = {"mapping_kwargs": "deep", "synthesis_kwargs": ["skip"]}  # options that are none
    path = foreign.write_nvidia(tmp_path / "net.pkl", foreign.nvidia_state(foreign.generator()), init=init)
    assert_equal(files.read_module(path), foreign.generator())


# --- what is no tensor, and tensors of other types

AVERAGES: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda average: average,
    "array of doubles": lambda average: average.astype(np.float64),
    "array, other end first": lambda average: average.astype(">f4"),
    "array by columns": lambda average: np.asfortranarray(np.tile(average, (foreign.STYLES, 1))),
    "row": lambda average: average[None],
    "double": lambda average: torch.from_numpy(average).double(),
    "half": lambda average: torch.from_numpy(average).half(),
    "bfloat": lambda average: torch.from_numpy(average).bfloat16(),
    "list": lambda average: average.tolist(),
    "list of numpy's numbers": list,
    "list of rows": lambda average: [average.tolist()] * foreign.STYLES,
    "list of tensors": lambda average: [torch.from_numpy(average)] * foreign.STYLES,
    "list of arrays": lambda average: [average] * foreign.STYLES,
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("form", AVERAGES)
def test_the_average_in_every_form(generator: StyleGAN2, state: State, tmp_path: Path, form: str, zipped: bool) -> None:
    average = generator.w_avg[0].numpy().copy()
    path = write(tmp_path / "g.pt", {"g_ema": state, "latent_avg": AVERAGES[form](average)}, zipped)
    assert_equal(files.read_module(path), generator, 0.02 if form in ("half", "bfloat") else 0.0)
    encoder = foreign.encoder(pyramid=True)
    content = foreign.checkpoint(generator, encoder, encoder_type="GradualStyleEncoder")
    content["latent_avg"] = AVERAGES[form](average)
    found, _ = legacy.describe(write(tmp_path / "e.pt", content, zipped))
    assert "absolute" not in found.extra, "a file with an average gives codes relative to it"


@pytest.mark.parametrize("average", ["mean.npy", {"mean": 1}, np.array(["a"]), [[1.0], [1.0, 2.0]], [None]])
def test_an_average_that_is_none_is_named(state: State, tmp_path: Path, average: Any) -> None:
    refused(write(tmp_path / "g.pt", {"g_ema": state, "latent_avg": average}), "'latent_avg' is no array of numbers")


def test_an_average_of_another_shape_is_named(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "g.pt", {"g_ema": state, "latent_avg": np.zeros(7, np.float32)})
    refused(path, r"the tensor 'latent_avg' has shape \[10, 7\]")


def test_no_average_is_the_same_as_none(generator: StyleGAN2, state: State, tmp_path: Path) -> None:
    read = files.read_module(write(tmp_path / "g.pt", {"g_ema": state, "latent_avg": None}))
    assert torch.equal(read.w_avg[0], generator.mean_w(legacy.MEAN_SAMPLES))


def test_weights_as_arrays(generator: StyleGAN2, state: State, tmp_path: Path) -> None:
    arrays = {key: value.numpy() for key, value in state.items()}
    arrays["conv1.noise.weight"] = np.float32(state["conv1.noise.weight"].item())
    content = {"g_ema": arrays, "latent_avg": generator.w_avg[0]}
    assert_equal(files.read_module(write(tmp_path / "a.pt", content)), generator)
    arrays["conv1.noise.weight"] = state["conv1.noise.weight"].item()
    assert_equal(files.read_module(write(tmp_path / "b.pt", content)), generator)


def test_a_weight_that_cannot_be_converted_is_named(state: State, tmp_path: Path) -> None:
    state["conv1.activate.bias"] = np.array(["x"] * 12)
    refused(write(tmp_path / "g.pt", {"g_ema": state}), "'conv1.activate.bias' is no array of numbers")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_in_a_network_pickle(generator: StyleGAN2, tmp_path: Path, protocol: int) -> None:
    """numpy 1 has other names for its modules."""
    path = foreign.write_nvidia(
        tmp_path / "net.pkl",
        foreign.nvidia_state(generator),
        protocol,
        statistics={"mean": np.ones(3), "n": np.int64(4)},
    )
    assert_equal(files.read_module(path), generator)
    data = path.read_bytes()
    for module in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        if protocol == 2:  # where names end with a line, and lengths are not given
            data = data.replace(module, module.replace(b"_core", b"core"))
    path.write_bytes(data)
    assert_equal(files.read_module(path), generator)


def test_options_may_be_numbers_of_numpy(generator: StyleGAN2, tmp_path: Path) -> None:
    encoder = foreign.encoder()
    content = foreign.checkpoint(None, encoder, encoder_type="BackboneEncoder", output_size=np.int64(64))
    assert_equal(files.read_module(write(tmp_path / "e.pt", content)), encoder)


# --- what lies beside


def conditional(state: State) -> State:
    return state | {"embed.weight": torch.zeros(3, 16)}


BESIDE: dict[str, Callable[[State], Any]] = {
    "g": lambda g: {"g": g},
    "bare": lambda g: dict(g),
    "parallel": lambda g: {"g_ema": {f"module.{key}": value for key, value in g.items()}},
    "params, params_ema": lambda g: {"params": other(g), "params_ema": g},
    "params_ema, params": lambda g: {"params_ema": g, "params": other(g)},
    "ema, model": lambda g: {"ema": g, "model": other(g)},
    "generator, iter": lambda g: {"generator": g, "iter": torch.tensor(5)},
    "generator, iter of one": lambda g: {"generator": g, "iter": torch.tensor([5])},
    "bare, iter": lambda g: {**g, "iter": torch.tensor(5), "epoch": 3, "losses": [0.5, 0.25]},
    "a discriminator of others": lambda g: {"generator": g, "discriminator": {"a.weight": torch.ones(2)}},
    "discriminator first": lambda g: {"discriminator": {"a.weight": torch.ones(2)}, "generator": g},
    "optimiser": lambda g: {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(1)}}, "param_groups": [{"lr": 1}]},
        "generator": g,
    },
    "moments by name": lambda g: {"g_optim": {"exp_avg": other(g)}, "generator": g},
    "moments by name, beside an average": lambda g: {"optimizer": {"ema": other(g)}, "g_ema": g, "g": other(g)},
    "smooth": lambda g: {"models": {"generator": other(g), "generator_smooth": g}, "running_metadata": {"iter": 3}},
    "running": lambda g: {"generator": other(g), "g_running": g, "alpha": 1.0},
    "in a checkpoint": lambda g: {"model": {"state_dict": g}, "config": {"lr": 0.1}},
    "ema in a model": lambda g: {"model": {"netG": other(g), "netG_ema": g}},
    "averaged model": lambda g: {"n_averaged": torch.tensor(9), **{f"module.{k}": v for k, v in g.items()}},
    "prefix generator.": lambda g: {f"generator.{key}": value for key, value in g.items()},
    "prefix g_ema.": lambda g: {f"g_ema.{k}": v for k, v in g.items()} | {f"g.{k}": v for k, v in other(g).items()},
    "prefix net.": lambda g: {"state_dict": {f"net.{key}": value for key, value in g.items()}},
    "prefix net.generator.": lambda g: {f"net.generator.{k}": v for k, v in g.items()} | {"net.d.a.b": torch.ones(3)},
    "prefix module.g_ema.module.": lambda g: {f"module.g_ema.module.{key}": value for key, value in g.items()},
    "compiled": lambda g: {"g_ema": {f"_orig_mod.{key}": value for key, value in g.items()}},
    "partly module.": lambda g: {
        "g_ema": {f"module.{key}" if "conv" in key else key: value for key, value in g.items()}
    },
    "a broken copy": lambda g: {"g": conditional(other(g)), "g_ema": g},
    "ordered": lambda g: OrderedDict(params_ema=OrderedDict(g), params=OrderedDict(other(g))),
}


@pytest.mark.parametrize("form", BESIDE)
def test_the_averaged_weights_are_read_whatever_lies_beside(
    generator: StyleGAN2, state: State, tmp_path: Path, form: str
) -> None:
    content = BESIDE[form](state) | {"latent_avg": generator.w_avg[0].clone()}
    path = write(tmp_path / "g.pt", content)
    (part,) = legacy.describe(path)
    assert part.role == "generator"
    assert_equal(files.read_module(path), generator)
    assert_equal(files.read_module(path, role="generator"), generator)


def test_the_average_may_lie_with_the_weights(generator: StyleGAN2, state: State, tmp_path: Path) -> None:
    average = generator.w_avg[0].clone()
    for content in (
        {"generator": state | {"latent_avg": average}},
        {"model": {"g_ema": state, "latent_avg": average}, "optimizer": {}},
        {f"net.{key}": value for key, value in (state | {"latent_avg": average}).items()},
    ):
        assert_equal(files.read_module(write(tmp_path / "g.pt", content)), generator)


def test_nvidia_networks_beside_others(generator: StyleGAN2, tmp_path: Path) -> None:
    theirs = foreign.nvidia_state(generator)
    path = write(tmp_path / "a.pt", {"G": other(theirs), "G_ema": theirs, "D": {"b64.fromrgb.weight": torch.ones(2)}})
    assert_equal(files.read_module(path), generator)
    with foreign._as_nvidia():
        modules = [foreign._tree(tensors, {}, "") for tensors in (other(theirs), theirs)]
        torch.save({"model": modules[0], "ema": modules[1], "step": 3}, tmp_path / "b.pt")
    assert_equal(files.read_module(tmp_path / "b.pt"), generator)


def test_encoders_in_every_wrapping(generator: StyleGAN2, tmp_path: Path) -> None:
    encoder, opts = foreign.encoder(), {"encoder_type": "BackboneEncoder", "device": "cuda"}
    whole = dict(foreign.checkpoint(generator, encoder)["state_dict"])
    average = generator.w_avg.clone()
    encoder_state = {k.removeprefix("encoder."): v for k, v in whole.items() if k.startswith("encoder.")}
    decoder_state = {k.removeprefix("decoder."): v for k, v in whole.items() if k.startswith("decoder.")}
    loss = {"loss.facenet.input_layer.0.weight": torch.ones(2), "discriminator.convs.0.1.bias": torch.ones(3)}
    for content in (
        {"state_dict": {f"net.{key}": value for key, value in whole.items()}},
        {"state_dict": whole | loss},
        {"state_dict": {key.replace("encoder.", "encoder.module."): value for key, value in whole.items()}},
        {"state_dict": {"latent_avg": average, **whole}},
        {"encoder": encoder_state, "decoder": decoder_state, "optimizer": {"state": {}}},
        {"encoder": encoder_state, "generator": decoder_state},
        {"model": {"encoder": encoder_state, "decoder": decoder_state}, "step": 3},
        {"ema": whole, "model": {key: value + 1 for key, value in whole.items()}},
    ):
        path = write(tmp_path / "e.pt", content | {"opts": opts, "latent_avg": average})
        parts = {part.role: part for part in legacy.open_parts(path)}
        assert set(parts) == {"encoder", "generator"}
        assert_equal(legacy.build(parts["encoder"]), encoder)
        assert_equal(legacy.build(parts["generator"]), generator)


def test_an_encoder_that_cannot_be_used_does_not_spoil_its_decoder(generator: StyleGAN2, tmp_path: Path) -> None:
    path = write(tmp_path / "e.pt", foreign.checkpoint(generator, foreign.encoder()))
    assert_equal(files.read_module(path, role="generator"), generator)
    refused(path, "does not say of which type", role="encoder")
    assert [part.role for part in files.describe(path, "generator")] == ["generator"]


def test_several_of_one_kind_of_which_none_is_an_average(state: State, tmp_path: Path) -> None:
    path = write(tmp_path / "g.pt", {"faces": state, "cats": other(state)})
    error = refused(path, "several models of the kind generator: faces, cats")
    assert "restyle convert" not in error.hint, "which could not write them either"
    with pytest.raises(RestyleError, match="faces, cats"):
        convert(path, tmp_path / "out")


# --- safetensors of others, and packed files


def test_safetensors_of_others(generator: StyleGAN2, state: State, tmp_path: Path) -> None:
    average = generator.w_avg[0].clone()
    save_file(state | {"latent_avg": average}, tmp_path / "g.safetensors")
    save_file({f"g_ema.{k}": v for k, v in state.items()} | {"latent_avg": average}, tmp_path / "h.safetensors")
    theirs = {key: value.contiguous() for key, value in foreign.nvidia_state(generator).items()}
    theirs = {key: value.clone() for key, value in theirs.items()}
    save_file(theirs, tmp_path / "n.safetensors", metadata={"format": "pt"})
    for name in ("g", "h", "n"):
        path = tmp_path / f"{name}.safetensors"
        assert_equal(files.read_module(path), generator)
        assert [part.family for part in files.describe(path)] == ["stylegan2"]
        half = {key: value.half() for key, value in state.items()} | {"latent_avg": average.half()}
    save_file(half, tmp_path / "half.safetensors")
    assert_equal(files.read_module(tmp_path / "half.safetensors"), generator, 0.01)


@pytest.mark.parametrize(
    "metadata",
    [
        {"encoder_type": "BackboneEncoder"},
        {"opts": json.dumps({"encoder_type": "BackboneEncoder", "start_from_latent_avg": True})},
    ],
)
def test_encoders_in_safetensors(generator: StyleGAN2, tmp_path: Path, metadata: dict[str, str]) -> None:
    encoder = foreign.encoder()
    content = foreign.checkpoint(generator, encoder)
    tensors = {key: value.clone() for key, value in content["state_dict"].items()}
    save_file(tensors | {"latent_avg": content["latent_avg"]}, path := tmp_path / "e.safetensors", metadata=metadata)
    assert_equal(files.read_module(path, role="encoder"), encoder)
    assert_equal(files.read_module(path, role="generator"), generator)
    save_file(tensors, path)
    error = refused(path, "does not say of which type", role="encoder")
    assert "metadata" in error.hint


@pytest.mark.parametrize(
    ("name", "method"),
    [("restyle_e4e_ffhq_encode", "restyle-e4e"), ("restyle_psp_toonify", "restyle-psp"), ("e4e_ffhq_encode", "e4e")],
)
def test_published_encoders_without_options(generator: StyleGAN2, tmp_path: Path, name: str, method: str) -> None:
    """As somebody's conversion to safetensors leaves them: the name of the file tells."""
    codes = "e4e" if "e4e" in method else "psp"
    encoder = foreign.encoder(codes=codes, pyramid=method == "e4e")
    content = foreign.checkpoint(generator, encoder)
    tensors = {key: value.clone() for key, value in content["state_dict"].items()}
    save_file(tensors | {"latent_avg": content["latent_avg"]}, path := tmp_path / f"{name}.safetensors")
    found, _ = legacy.open_parts(path)
    assert found.extra["method"] == method
    assert "absolute" not in found.extra
    assert_equal(legacy.build(found), encoder)


def test_safetensors_of_no_network(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", r"1 tensors \('a.weight', …\) are of no model")


def test_packed_files(generator: StyleGAN2, tmp_path: Path) -> None:
    foreign.write_nvidia(tmp_path / "net.pkl", foreign.nvidia_state(generator))
    write(tmp_path / "net.pt", to_rosinality(generator))
    for name in ("net.pkl", "net.pt"):
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        assert_equal(files.read_module(path), generator)
        assert [part.family for part in files.describe(path)] == ["stylegan2"]
        path.write_bytes(path.read_bytes()[:-2000])
        refused(path, "cut off or damaged")


def test_packed_files_that_unpack_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "MAX_SMALL", 1_000_000)
    (tmp_path / "x.pkl.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    refused(tmp_path / "x.pkl.gz", "unpacks to far more than weights do")
    (tmp_path / "y.pkl.gz").write_bytes(gzip.compress(gzip.compress(b"\x80\x02N.")))
    refused(tmp_path / "y.pkl.gz", "no checkpoint in a format")


# --- generators that are not supported

UNSUPPORTED: dict[str, tuple[Callable[[State], State], str]] = {
    "1 channel": (lambda s: recoloured(s, 1), "images with 1 channel; restyle supports RGB only"),
    "4 channels": (lambda s: recoloured(s, 4), "images with 4 channels; restyle supports RGB only"),
    "wide": (lambda s: s | {"input.input": torch.ones(1, 12, 4, 8)}, "images that are not square"),
    "7 px": (lambda s: s | {"input.input": torch.ones(1, 12, 7, 7)}, "starts at 7x7 pixels"),
    "labels": (conditional, "class-conditional"),
}


def recoloured(state: State, channels: int) -> State:
    def change(key: str, value: Tensor) -> Tensor:
        if key.startswith("to_rgb") and key.endswith("conv.weight"):
            return value[:, :1].repeat(1, channels, 1, 1, 1)
        if key.startswith("to_rgb") and key.endswith(".bias") and "modulation" not in key:
            return value[:, :1].repeat(1, channels, 1, 1)
        return value

    return {key: change(key, value) for key, value in state.items()}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_what_is_not_supported_is_said_in_a_sentence(state: State, tmp_path: Path, kind: str) -> None:
    change, message = UNSUPPORTED[kind]
    refused(write(tmp_path / "g.pt", {"g_ema": change(state)}), message)


def test_network_pickles_that_are_not_supported(generator: StyleGAN2, tmp_path: Path) -> None:
    theirs = foreign.nvidia_state(generator)
    grey = {k: v[:1] if "torgb" in k and ".affine" not in k else v for k, v in theirs.items()}
    refused(foreign.write_nvidia(tmp_path / "a.pkl", grey), "1 channel")
    refused(foreign.write_nvidia(tmp_path / "b.pkl", theirs, init={"c_dim": 10}), "class-conditional")
    tall = theirs | {"synthesis.b4.const": torch.ones(12, 8, 4)}
    refused(foreign.write_nvidia(tmp_path / "c.pkl", tall), "not square")


# --- values


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("encoder.styles.3.convs.2.weight", "encoder"),
        ("encoder.body.1.res_layer.1.weight", "encoder"),
        ("decoder.convs.2.conv.weight", "generator"),
    ],
)
def test_nan_is_named(tmp_path: Path, key: str, role: str, value: float) -> None:
    content = foreign.checkpoint(foreign.generator(), foreign.encoder(), encoder_type="BackboneEncoder")
    content["state_dict"][key].view(-1)[1] = value
    path = write(tmp_path / "e.pt", content)
    refused(path, f"the tensor '{key}' contains NaN or infinite values", role=role)
    files.read_module(path, role="generator" if role == "encoder" else "encoder")


def test_nan_in_our_files_and_in_the_average(generator: StyleGAN2, state: State, tmp_path: Path) -> None:
    average = generator.w_avg[0].clone()
    average[2] = float("nan")
    refused(write(tmp_path / "g.pt", {"g_ema": state, "latent_avg": average}), "'latent_avg' contains NaN")
    spoiled = foreign.generator()
    spoiled.convs[1].weight[0, 0, 0, 0] = float("inf")
    files.write_module(tmp_path / "g.safetensors", spoiled, "stylegan2")
    refused(tmp_path / "g.safetensors", "'convs.1.weight' contains NaN or infinite")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: not enough memory"),
        RuntimeError("unable to mmap 3000 bytes from file </x.pt>: Cannot allocate memory (12)"),
    ],
)
def test_too_little_memory_is_no_damage(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*_arguments: Any, **_options: Any) -> Any:
        raise error

    path = write(tmp_path / "g.pt", {"g_ema": state})
    monkeypatch.setattr(torch, "frombuffer", load)
    for read in (files.read_module, files.describe):
        with pytest.raises(RestyleError, match=r"not enough memory to read '.*g\.pt'") as caught:
            read(path)
        assert "memory" in (caught.value.hint or "")
        assert "damaged" not in caught.value.message
