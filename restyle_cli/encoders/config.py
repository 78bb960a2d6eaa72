"""What every encoder's configuration shares: four fields, and the way to and from a file's header."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from restyle_cli.errors import RestyleError, did_you_mean

CODES = ("psp", "e4e")


@dataclass(frozen=True)
class EncoderConfig:
    """Base of the encoders' configurations; a subclass adds its own fields."""

    input_channels: int = 6  # 3: a picture, 6: a picture and the current reconstruction
    styles: int = 18  # L, the generator's number of style layers
    w_dim: int = 512
    codes: str = "psp"  # "psp": L free codes; "e4e": one base code and L - 1 offsets from it

    def __post_init__(self) -> None:
        if self.codes not in CODES:
            raise RestyleError(f"an encoder's codes are 'psp' or 'e4e', not {self.codes!r}")
        for name in ("input_channels", "styles", "w_dim"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise RestyleError(f"an encoder's {name} is a whole number above zero, not {value!r}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them (tuples become lists)."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The configuration of `to_dict`; fields left out take their defaults, unknown ones are an error."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise RestyleError(f"{cls.__name__} has no field '{name}'", did_you_mean(name, known))
        return cls(**{name: _frozen(value) for name, value in values.items()})


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
