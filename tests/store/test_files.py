"""Files of networks and codes: what is written comes back, and what is damaged is refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from restyle_cli.errors import RestyleError
from restyle_cli.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from restyle_cli.registry import Registry
from restyle_cli.store import build, files

CONFIGS = [
    StyleGAN2Config(resolution=8, channels={4: 8, 8: 4}, z_dim=8, w_dim=8, mapping_layers=1),
    StyleGAN2Config(resolution=16, channels={4: 6, 8: 5, 16: 4}, z_dim=8, w_dim=6, mapping_layers=2, noise=False),
    StyleGAN2Config(resolution=16, channels={4: 4, 8: 4, 16: 4}, w_dim=8, mapping_layers=1, crop=(12, 16)),
]


@pytest.fixture
def network() -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(CONFIGS[0])


@pytest.mark.parametrize("config", CONFIGS, ids=["noise", "plain", "cropped"])
def test_network_comes_back_equal(config: StyleGAN2Config, tmp_path: Path) -> None:
    torch.manual_seed(1)
    before = StyleGAN2(config)
    files.write_module(tmp_path / "g.safetensors", before, "stylegan2", {"steps": 7})
    after = files.read_module(tmp_path / "g.safetensors")
    assert after.config == config
    assert not after.training
    assert not any(parameter.requires_grad for parameter in after.parameters())
    w = torch.randn(2, config.layers, config.w_dim)
    with torch.no_grad():  # a network that learns computes in another order
        assert torch.equal(after(w), before(w))
    assert files.read_header(tmp_path / "g.safetensors")["extra"] == {"steps": 7}


def test_half_is_half_the_size_and_read_as_fp32(network: StyleGAN2, tmp_path: Path) -> None:
    files.write_module(tmp_path / "full.safetensors", network, "stylegan2")
    files.write_module(tmp_path / "half.safetensors", network, "stylegan2", half=True)
    sizes = [sum(t.nbytes for t in _tensors(tmp_path / f"{name}.safetensors")) for name in ("full", "half")]
    assert sizes[1] * 2 == sizes[0]
    after = files.read_module(tmp_path / "half.safetensors")
    assert {t.dtype for t in after.state_dict().values()} == {torch.float32}
    for name, tensor in network.state_dict().items():
        assert torch.equal(after.state_dict()[name], tensor.half().float())


def test_same_network_same_bytes(network: StyleGAN2, tmp_path: Path) -> None:
    files.write_module(tmp_path / "a.safetensors", network, "stylegan2", {"a": 1, "b": 2})
    files.write_module(tmp_path / "b.safetensors", network, "stylegan2", {"b": 2, "a": 1})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_latent_comes_back_equal(tmp_path: Path) -> None:
    batch = torch.randn(3, 6, 8)  # rows of one batch share memory, which safetensors itself refuses
    metadata = {"model": "restyle-psp", "quad": [[0.5, 1.0]]}
    files.write_latent(tmp_path / "x.safetensors", {"w": batch[1], "w_steps": batch}, metadata)
    tensors, read = files.read_latent(tmp_path / "x.safetensors")
    assert torch.equal(tensors["w"], batch[1])
    assert torch.equal(tensors["w_steps"], batch)
    assert read == metadata


def test_a_latent_is_no_network_and_the_other_way_round(network: StyleGAN2, tmp_path: Path) -> None:
    files.write_latent(tmp_path / "w.safetensors", {"w": torch.zeros(2, 2)}, {})
    files.write_module(tmp_path / "g.safetensors", network, "stylegan2")
    with pytest.raises(RestyleError, match="contains a latent, not a model"):
        files.read_module(tmp_path / "w.safetensors")
    with pytest.raises(RestyleError, match="contains a model of family 'stylegan2'"):
        files.read_latent(tmp_path / "g.safetensors")


def test_failed_write_leaves_the_old_file(network: StyleGAN2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(b"old")

    whole_write = Path.write_bytes

    def full_disk(aside: Path, data: bytes) -> None:
        whole_write(aside, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(RestyleError, match="no space left"):
        files.write_module(path, network, "stylegan2")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@dataclass(frozen=True)
class _ShiftConfig:
    width: int = 3

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, int]) -> _ShiftConfig:
        return cls(**values)


class _Shift(nn.Module):
    """A network with a constant that is not stored; made on the CPU explicitly, as files.py asks, or not."""

    Config = _ShiftConfig
    careful = True

    def __init__(self, config: _ShiftConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.ones(config.width))
        device = "cpu" if self.careful else None
        self.register_buffer("shift", torch.arange(3.0, device=device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.shift


def test_constants_that_are_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(build.REGISTRIES, "generator", Registry("generator", {"shift": f"{__name__}:_Shift"}))
    files.write_module(tmp_path / "s.safetensors", _Shift(_ShiftConfig()), "shift")
    assert files.read_module(tmp_path / "s.safetensors")(torch.ones(3)).tolist() == [1.0, 2.0, 3.0]
    monkeypatch.setattr(_Shift, "careful", False)
    with pytest.raises(AssertionError, match="shift"):
        files.read_module(tmp_path / "s.safetensors")


def _tensors(path: Path) -> list[Tensor]:
    from safetensors.torch import load_file

    return list(load_file(path).values())


def _rewrite(path: Path, change: str) -> None:
    """Spoil a good file of a network in one way."""
    from safetensors.torch import load_file

    described = files.read_header(path)
    tensors = load_file(path)
    match change:
        case "missing":
            del tensors["const"]
        case "left over":
            tensors["more"] = torch.zeros(1)
        case "shape":
            tensors["const"] = torch.zeros(1, 2, 4, 4)
        case "family":
            described["family"] = "stylegan9"
        case "unknown setting":
            described["config"]["colour"] = "green"
        case "wrong setting":
            described["config"]["w_dim"] = "many"
        case "endless":
            described["config"]["mapping_layers"] = 10**9
        case "endless table":
            described["config"]["channels"]["4"] = 2**40
        case "list for table":
            described["config"] = [1, 2]
        case "newer":
            described["format"] = 2
        case "no family":
            del described["family"]
    save_file(tensors, path, metadata={"config": json.dumps(described)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "tensor 'const' is missing"),
        ("left over", "tensor 'more' is unexpected"),
        ("shape", r"'const' has shape \[1, 2, 4, 4\], expected \[1, 8, 4, 4\]"),
        ("family", "'stylegan9', which this version does not know"),
        ("unknown setting", "colour"),
        ("wrong setting", "a 'stylegan2' that cannot be built"),
        ("endless", "its configuration contains the number 1000000000"),
        ("endless table", "its configuration contains the number 1099511627776"),
        ("list for table", "its 'config' is not a table"),
        ("newer", "format 2, this version reads 1"),
        ("no family", "does not say what it contains"),
    ],
)
def test_network_that_does_not_fit_is_refused(network: StyleGAN2, tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "g.safetensors"
    files.write_module(path, network, "stylegan2")
    _rewrite(path, change)
    with pytest.raises(RestyleError, match=message) as caught:
        files.read_module(path)
    assert "g.safetensors" in caught.value.message
    assert "\n" not in caught.value.message


def _framed(header: bytes, claimed: int | None = None, body: bytes = b"") -> bytes:
    return (len(header) if claimed is None else claimed).to_bytes(8, "little") + header + body


_OURS = json.dumps({"format": 1, "family": "latent", "config": {}, "extra": {}})
_BEYOND = json.dumps(
    {
        "__metadata__": {"config": _OURS},
        "w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]},
    }
).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        b"\x00" * 4096,
        b"PK\x03\x04" + b"\x00" * 100,
        b"not a safetensors file, but long enough to look at",
        _framed(b"{}"),
        _framed(b"[1, 2]"),
        _framed(b"{", body=b"1234"),
        _framed(b"\xff\xfe{}"),
        _framed(b"[" * 100_000),
        _framed(b'{"__metadata__": 3}'),
        _framed(b'{"__metadata__": {"config": "not JSON"}}'),
        _framed(b'{"__metadata__": {"config": "[]"}}'),
        _framed(b"{}", claimed=2**62),
        _framed(_BEYOND, body=b"\x00" * 100),
    ],
    ids=[
        "empty", "four bytes", "zeros", "zip", "text", "no metadata", "list", "cut JSON", "no unicode",
        "nested", "metadata no table", "description no JSON", "description a list", "endless",
        "tensor cut off",
    ],
)  # fmt: skip
def test_foreign_and_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for read in (files.read_module, files.read_latent):
        with pytest.raises(RestyleError) as caught:
            read(path)
        assert "x.safetensors" in caught.value.message
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("start", [0x80, ord("P")])
def test_a_header_as_long_as_another_form_begins(network: StyleGAN2, tmp_path: Path, start: int) -> None:
    """The first byte of a file is the lowest of its header's length."""
    path = tmp_path / "g.safetensors"
    for more in range(256 // 8 + 1):
        files.write_module(path, network, "stylegan2", {"name": "x" * 8 * more})
        if path.read_bytes()[0] == start:
            break
    assert path.read_bytes()[0] == start
    assert files.read_module(path).config == network.config


def test_header_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write((10**9).to_bytes(8, "little"))
        file.truncate(2 * 10**9)  # sparse: takes no space on the disk
    with pytest.raises(RestyleError, match="claims 1000 MB"):
        files.read_header(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(RestyleError, match="cannot be read"):
            files.read_header(path)
