"""Model files of other projects: find their state dicts, recognise the networks, rename, build and load strictly.

What a file is follows from its tensors and, where these do not tell, from the options of the training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from restyle_cli.errors import RestyleError
from restyle_cli.store import catalog
from restyle_cli.store.build import Unfit, build_module
from restyle_cli.store.inputs import memory_for
from restyle_cli.store.legacy.checkpoint_part import Part
from restyle_cli.store.legacy.detect import detect
from restyle_cli.store.legacy.psp import E4E_TYPES, PSP_TYPES
from restyle_cli.store.legacy.safe import is_foreign, read_checkpoint, refusal
from restyle_cli.store.legacy.state_dicts import OPTS
from restyle_cli.store.legacy.unpickle import RefusedFile

__all__ = ["Part", "build", "describe", "is_foreign", "open_parts", "pick"]

MEAN_SAMPLES = 10_000
"""Samples of the average latent where a file has none, as in e4e."""


def open_parts(path: Path, role: str | None = None) -> list[Part]:
    """The networks in a foreign file, or those of one role. The file is closed on return.

    RestyleError when the file is damaged, harmful, or contains nothing that is known.
    """
    # For one of several networks the file is mapped; for all, reading at once needs less memory, as tensors that were
    # stacked are released.
    with memory_for(path):
        parts = _detected(path, read_checkpoint(path, mapped=role is not None), role)
        if role is None:
            return parts
        # In memory, not in the mapped file, which may be replaced.
        return [
            replace(part, tensors={name: tensor.clone() for name, tensor in part.tensors.items()})
            for part in parts
            if part.role == role
        ]


def describe(path: Path, role: str | None = None) -> list[Part]:
    """All networks in a foreign file, without the values of the tensors, which are not read where the format allows.

    With `role`, networks of other roles need not be supported.
    """
    with memory_for(path):
        return _detected(path, read_checkpoint(path, mapped=True), role, shapes_only=True)


def pick(parts: list[Part], role: str | None, path: Path) -> Part:
    """The part of `role`, or the only part; RestyleError when there is none, or several."""
    fitting = [part for part in parts if role in (None, part.role)]
    if len(fitting) == 1:
        return fitting[0]
    roles = ", ".join(part.role for part in fitting or parts) or "nothing of the kind"
    if not fitting:
        raise RestyleError(f"'{path}' contains no {role}, but: {roles}", "name another file")
    raise RestyleError(f"'{path}' contains several models: {roles}", "`restyle convert` writes each to its own file")


def build(part: Part, device: str | torch.device = "cpu", path: Path | None = None) -> nn.Module:
    """The network of a part, in fp32 and eval mode on `device`; `path` is for messages.

    RestyleError when its tensors do not fit.
    """
    tensors = part.tensors
    lacks_average = part.role == "generator" and "w_avg" not in tensors
    if lacks_average:
        layers = 2 * (int(part.config["resolution"]).bit_length() - 1) - 2
        tensors = tensors | {"w_avg": torch.zeros(layers, part.config["w_dim"])}
    with memory_for(path or Path("the file")):
        try:
            module: Any = build_module(part.family, part.config, tensors, device, part.names)
        except Unfit as error:
            raise _refused(path, error) from error
        if lacks_average:
            module.w_avg.copy_(module.mean_w(MEAN_SAMPLES).expand_as(module.w_avg))
        return module


def _detected(path: Path, content: Any, role: str | None = None, shapes_only: bool = False) -> list[Part]:
    if isinstance(content, dict) and not content.get(OPTS):
        content[OPTS] = _opts_of_published(path)
    try:
        return detect(content, role, shapes_only)
    except RefusedFile as error:
        raise refusal(path, error) from error
    except RestyleError as error:
        raise _refused(path, error) from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise _refused(path, RestyleError(f"reading its tensors failed: {reason}")) from error


def _opts_of_published(path: Path) -> dict[str, str]:
    """The options of a published encoder, for a file with its name that lost them in a conversion to safetensors."""
    stem = path.name.partition(".")[0]
    types = {"psp": PSP_TYPES[0], "e4e": E4E_TYPES[0]}
    for entry in catalog.published():
        codes = str(entry.method).removeprefix("restyle-")
        if entry.file.partition(".")[0] == stem and codes in types:
            return {"encoder_type": types[codes], "dataset_type": f"{entry.domain}_encode"}
    return {}


def _refused(path: Path | None, error: RestyleError) -> RestyleError:
    hint = error.hint or "`restyle weights list` shows what can be used"
    return RestyleError(f"'{path or 'the file'}' cannot be used: {error.message}", hint)
