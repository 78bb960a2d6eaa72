"""Small files in the forms of other projects; `parity.write_checkpoint` makes published ones."""

from __future__ import annotations

import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restyle_cli.encoders.psp import PSPEncoder, PSPEncoderConfig
from restyle_cli.encoders.restyle import ReStyleEncoder, ReStyleEncoderConfig
from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.store import files
from restyle_cli.store.legacy.rosinality import to_rosinality


def write(path: Path, content: Any, zipped: bool = True) -> Path:
    """`torch.save`, in the format since PyTorch 1.6 or in the older one."""
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_equal(one: nn.Module, other: nn.Module, tolerance: float = 0.0) -> None:
    """Both have the same configuration and tensors."""
    assert one.config == other.config
    expected = other.state_dict()
    assert one.state_dict().keys() == expected.keys()
    for name, tensor in one.state_dict().items():
        assert tensor.dtype == expected[name].dtype
        torch.testing.assert_close(tensor, expected[name], rtol=tolerance, atol=tolerance, msg=name)


def refused(path: Path, message: str, role: str | None = None) -> RestyleError:
    """The error that reading the file raises: one line with the file's name, and a hint."""
    with pytest.raises(RestyleError, match=message) as caught:
        files.read_module(path, role=role)
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


CHANNELS = {4: 12, 8: 10, 16: 8, 32: 6, 64: 4}
STYLES = 10  # of 64 px
W_DIM = 16


def generator(seed: int = 0, **changes: Any) -> StyleGAN2:
    """A StyleGAN2 of 64 px with noise."""
    torch.manual_seed(seed)
    network = StyleGAN2(StyleGAN2Config(**{"resolution": 64, "channels": CHANNELS, "z_dim": 16, "w_dim": 16} | changes))
    network.w_avg.copy_(torch.randn(W_DIM).expand_as(network.w_avg))
    for conv in network.convs:
        nn.init.normal_(conv.noise_strength, std=0.1)
    return network.eval().requires_grad_(False)


def encoder(seed: int = 1, pyramid: bool = False, **changes: Any) -> nn.Module:
    """An encoder for `generator` in the published form, with narrow layers and an input of 64 px."""
    torch.manual_seed(seed)
    kind, config = (PSPEncoder, PSPEncoderConfig) if pyramid else (ReStyleEncoder, ReStyleEncoderConfig)
    options = {
        "styles": STYLES,
        "w_dim": W_DIM,
        "widths": (4, 6, 8, 12),
        "blocks": (1, 2, 1, 1),
        "input_size": (64, 64),
    }
    return kind(config(**options | changes)).eval().requires_grad_(False)


def encoder_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors under the published names: every head apart."""
    state, style = {}, 0
    own = network.state_dict()
    for key, value in own.items():
        room, _, rest = key.partition(".")
        if room == "backbone" or room.startswith("latlayer"):
            state[f"encoder.{rest if room == 'backbone' else key}"] = value
    for group in [name for name in ("heads", "coarse", "middle", "fine") if hasattr(network, name)]:
        tensors = {key.removeprefix(f"{group}."): value for key, value in own.items() if key.startswith(f"{group}.")}
        for index in range(len(next(iter(tensors.values())))):
            for key, value in tensors.items():
                place = key.split(".")
                name = f"convs.{2 * int(place[1])}.{place[2]}" if place[0] == "convs" else key
                state[f"encoder.styles.{style}.{name}"] = value[index].clone()
            style += 1
    return state


def checkpoint(generator: StyleGAN2 | None, encoder: nn.Module | None, **opts: Any) -> dict[str, Any]:
    """What the ReStyle family saves: encoder and decoder in one table, with options and the average latent."""
    state, average = ({} if encoder is None else encoder_state(encoder)), None
    if generator is not None:
        state |= {f"decoder.{key}": value for key, value in to_rosinality(generator)["g_ema"].items()}
        average = generator.w_avg.clone()
    content = {"state_dict": OrderedDict(state), "opts": {"device": "cuda:3", **opts}}
    return content if average is None else content | {"latent_avg": average}


def nvidia_state(network: StyleGAN2) -> dict[str, Tensor]:
    """A generator's tensors under the names of NVIDIA's PyTorch code."""
    own = network.state_dict()
    taps = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64
    state = {"synthesis.b4.const": own["const"][0], "mapping.w_avg": own["w_avg"][0]}
    for key, value in own.items():
        room, _, rest = key.partition(".")
        index, _, inside = rest.partition(".")
        if room == "mapping":
            state[f"mapping.fc{inside}"] = value
        elif room == "to_rgbs":
            state[f"synthesis.b{4 * 2 ** int(index)}.torgb.{inside}"] = value
        elif room == "convs":
            block, name = (int(index) + 1) // 2, f"conv{1 - int(index) % 2}"
            layer = f"synthesis.b{4 * 2**block}.{name}"
            state[f"{layer}.{inside}"] = value
            state[f"{layer}.resample_filter"] = taps
            state[f"{layer}.noise_const"] = own[f"noise_{index}"][0, 0]
    return state


def write_nvidia(path: Path, state: dict[str, Tensor], protocol: int = 4, **parts: Any) -> Path:
    """A network pickle as NVIDIA's code writes it: modules with their source, tensors as little files inside.

    `parts`: `init` (the arguments of G_ema), `module_src`, and further entries of the file.
    """
    tree = _tree(state, parts.pop("init", {}), parts.pop("module_src", _SOURCE))
    with _as_nvidia():
        content = {
            "G": None,
            "D": None,
            "G_ema": tree,
            "training_set_kwargs": _EasyDict(path="/data", size=64),
            **parts,
        }
        path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_pti(path: Path, state: dict[str, Tensor], zipped: bool = True) -> Path:
    """A tuned generator as PTI writes it: the whole module of NVIDIA's code, its parameters with gradients on."""
    with _as_nvidia():
        torch.save(_tree(state, {}, _SOURCE), path, _use_new_zipfile_serialization=zipped)
    return path


_SOURCE = "raise SystemExit('run')"


def _tree(state: dict[str, Tensor], init: dict[str, Any], source: str) -> _Module:
    tree = _Module("Generator", source, init)
    for key, value in state.items():
        *inner, name = key.split(".")
        module = tree
        for room in inner:
            module = module.modules.setdefault(room, _Module(room.capitalize(), source, {}))
        module.tensors[name] = value
    return tree


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> Any:
    raise AssertionError("the code inside was run")


class _EasyDict(dict):
    pass


class _Module:
    """Pickles itself as a module does that NVIDIA's `persistent_class` decorates."""

    def __init__(self, name: str, source: str, init: dict[str, Any]) -> None:
        self.name, self.source, self.init = name, source, init
        self.modules: dict[str, _Module] = {}
        self.tensors: dict[str, Tensor] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        buffers = ("resample_filter", "noise_const", "w_avg")
        state = {
            "training": False,
            "_parameters": OrderedDict((k, nn.Parameter(v)) for k, v in self.tensors.items() if k not in buffers),
            "_buffers": OrderedDict((k, v) for k, v in self.tensors.items() if k in buffers),
            "_non_persistent_buffers_set": set(),
            "_modules": OrderedDict(self.modules),
            "_init_args": (),
            "_init_kwargs": _EasyDict(self.init),
        }
        meta = {
            "type": "class", "version": 6, "module_src": self.source, "class_name": self.name, "state": state
        }  # fmt: skip
        return _reconstruct_persistent_obj, (meta,)


@contextmanager
def _as_nvidia() -> Iterator[None]:
    """While pickling, what is above lies where NVIDIA's code has it."""
    places = {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": _EasyDict}
    names = {"torch_utils.persistence": "_reconstruct_persistent_obj", "dnnlib.util": "EasyDict"}
    before = {thing: (thing.__module__, thing.__qualname__, thing.__name__) for thing in places.values()}
    try:
        for module, thing in places.items():
            for package in (module.partition(".")[0], module):
                sys.modules[package] = types.ModuleType(package)
            setattr(sys.modules[module], names[module], thing)
            thing.__module__, thing.__qualname__, thing.__name__ = module, names[module], names[module]
        yield
    finally:
        for module, thing in places.items():
            thing.__module__, thing.__qualname__, thing.__name__ = before[thing]
            for package in (module.partition(".")[0], module):
                sys.modules.pop(package, None)
