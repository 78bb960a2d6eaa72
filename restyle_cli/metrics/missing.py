"""What is said of a metric whose network is not installed."""

from __future__ import annotations

from restyle_cli.errors import RestyleError


class Missing(RestyleError):
    """A metric that cannot be measured here; the hint is the command that brings what it needs."""
