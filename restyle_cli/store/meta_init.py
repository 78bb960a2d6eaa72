"""Building networks whose tensors come from a file: nothing is allocated, and no random number is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLS = {
    Tensor.normal_,
    Tensor.uniform_,
    nn.init.normal_,
    nn.init.uniform_,
    nn.init.kaiming_normal_,
    nn.init.kaiming_uniform_,
}


@contextmanager
def meta_init() -> Iterator[None]:
    """Modules made inside have tensors of the meta device, and their initialisation does nothing.

    The meta device alone would do; but it computes random fills in Python, and the first of them imports torch's
    compiler, which takes a second.
    """
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        if function in FILLS:
            return arguments[0] if arguments else options["tensor"]
        if function is torch.randn:
            function = torch.empty
        return function(*arguments, **options)
