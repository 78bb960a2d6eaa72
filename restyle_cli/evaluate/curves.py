"""SVG plots of the metrics over time and over steps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

from restyle_cli.metrics.metric import Column

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

COLOURS = ("#0b6e4f", "#c1440e", "#2d4f9e", "#8a3d8f", "#b58900", "#3aa0a0", "#7a4a2b", "#d1478c", "#5c7a1f", "#555555")
MARKERS = "osD^vPX*<>"
_STABLE: dict[RcKeyType, Any] = {
    "svg.hashsalt": "restyle",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_WIDE_RANGE = 20.0
"""Ratio of the slowest to the fastest step above which the time axis is logarithmic."""


def plot(methods: Sequence[dict[str, Any]], columns: Sequence[Column]) -> str | None:
    """Two panels per column, over time and over steps, without step 0. None if no step took time."""
    timed = [(m, [i for i, s in enumerate(m["steps"]) if s["step"] and s["seconds"]]) for m in methods]
    timed = [(method, indices) for method, indices in timed if indices]
    if not timed:
        return None
    # Imported here: it takes a second, and only reports need it. No pyplot, which would look for a display.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where it cannot keep its list of fonts
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STABLE):
        figure = Figure(figsize=(3.6 * len(columns), 6.2), layout="constrained")
        axes = figure.subplots(2, len(columns), squeeze=False)
        for index, column in enumerate(columns):
            for number, (method, indices) in enumerate(timed):
                style = {"color": COLOURS[number % 10], "marker": MARKERS[number % 10], "label": method["name"]}
                for axis, key in ((axes[0][index], "seconds"), (axes[1][index], "step")):
                    _draw_line(axis, method, indices, key, column, style)
            better = "higher is better" if column.higher else "lower is better"
            axes[0][index].set_title(f"{column.title} ({better})")
            axes[0][index].set_xlabel("seconds per image")
            axes[1][index].set_xlabel("step")
            axes[1][index].xaxis.get_major_locator().set_params(integer=True)
            seconds = [method["steps"][i]["seconds"] for method, indices in timed for i in indices]
            if max(seconds) > _WIDE_RANGE * min(seconds):
                axes[0][index].set_xscale("log")
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4), frameon=False)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _draw_line(axis: Any, method: dict[str, Any], indices: Sequence[int], key: str, column: Column, style: Any) -> None:
    x = [method["steps"][i][key] for i in indices]
    y = [method["steps"][i][column.key] for i in indices]
    errors = [method["stderr"][column.key][i] or 0.0 for i in indices]
    axis.errorbar(x, y, yerr=errors, markersize=4, linewidth=1.4, capsize=2, **style)
