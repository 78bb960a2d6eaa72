"""Build networks on the meta device, for weights that come from a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

INITIALISERS = {
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
}


@contextmanager
def meta_init() -> Iterator[None]:
    """Modules created in this context have meta tensors and skip their initialisation; no random numbers are used.

    The meta device alone would do, but its random initialisation imports torch's compiler, which takes a second.
    """
    with torch.device("meta"), _NoInit():
        yield


class _NoInit(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if function in INITIALISERS:
            return arguments[0] if arguments else options["tensor"]
        if function is torch.randn:
            function = torch.empty
        return function(*arguments, **options)
