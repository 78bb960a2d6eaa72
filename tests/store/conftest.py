"""A server that misbehaves on demand; never the internet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from misbehaving import Server, serving

from restyle_cli.store import download


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "RESTYLE_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serving() as server:
        monkeypatch.setattr(download, "DRIVE", server.address("uc?export=download&id="))
        yield server
