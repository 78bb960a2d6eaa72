"""report.html: one self-contained file with tables and SVG curves, without scripts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

from restyle_cli.evaluate.summary import NOTHING, format_value, step_cells, titles
from restyle_cli.metrics.base import Column

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
MOST_SKIPPED = 100
"""Maximum number of skipped images that are listed; report.json lists all."""
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #ddd}
h3{font-size:1rem;margin:1.2rem 0 .4rem}p{margin:.4rem 0}.note{color:#555}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:14px}
th,td{padding:.25rem .8rem .25rem 0;text-align:left;vertical-align:top}
th{border-bottom:1px solid #999;white-space:nowrap}tr.first td{border-top:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
svg{max-width:100%;height:auto}code{background:#f3f3f3;padding:0 .25em;overflow-wrap:anywhere}
.row{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;width:240px}figure img{width:240px;display:block}
figcaption{font-size:12px;color:#555;overflow-wrap:anywhere}
"""


def page(report: Mapping[str, Any], columns: Sequence[Column], thumbnails: Mapping[str, Mapping[str, str]]) -> str:
    """The HTML of a report; `thumbnails`: for each method the examples as base64 of JPEGs, by input."""
    protocol, methods = report["protocol"], report["methods"]
    missing = [one["name"] for one in protocol["missing"]]
    names = titles(columns, missing)
    curves = plot(methods, columns)
    against = f", against {_code(protocol['against'])}" if protocol["against"] else ""
    skipped = f"; {len(report['skipped'])} skipped" if report["skipped"] else ""
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>restyle eval</title>',
            f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
            f"<h1>restyle eval</h1><p>{report['images']} images of "
            f"{', '.join(map(_code, protocol['inputs']))}{against}{skipped}. "
            f"Figures are {escape(protocol['statistics'])}.</p>",
            "<h2>Methods</h2>" if protocol["against"] is None else "<h2>Pairs</h2>",
            _methods(methods, names, protocol),
            f"<h2>Quality over time</h2>{curves}" if curves else "",
            "<h2>Steps</h2>" + _steps(methods, names) if curves else "",
            "<h2>Best and worst</h2>",
            *(_examples(method, columns, thumbnails[method["name"]]) for method in methods),
            _skipped(report["skipped"]),
            "<h2>Protocol</h2>",
            _protocol(report),
            "<h2>Models and licences</h2>",
            _networks(protocol["networks"]),
            "</body></html>\n",
        ]
    )


def _methods(methods: Sequence[Mapping[str, Any]], names: Mapping[str, str], protocol: Mapping[str, Any]) -> str:
    """One row per method: its last step."""
    timed = protocol["against"] is None
    keys = [*names, *(["seconds"] if timed else [])]
    heads = ["method", "images", *(["steps"] if timed else []), *names.values(), *(["seconds"] if timed else [])]
    rows = []
    for method in methods:
        steps = [str(method["steps"][-1]["step"])] if timed else []
        cells = step_cells(method, -1, keys)
        rows.append([method["name"], str(method["images"]), *steps, *cells, format_value(method["peak_memory_mb"])])
    notes = "".join(
        f"<p class='note'>{NOTHING} {escape(one['reason'])}{'; ' + _marked(one['hint']) if one['hint'] else ''}</p>"
        for one in protocol["missing"]
    )
    return _table([*heads, "peak MB"], rows, texts=1) + notes


def _steps(methods: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Every measured step of every method; the one with the best mean is marked."""
    rows: list[list[str]] = []
    firsts: set[int] = set()
    for method in methods:
        firsts.add(len(rows))
        for place, step in enumerate(method["steps"]):
            best = method["best"] is not None and method["best"]["step"] == step["step"]
            mark = "best" if best and len(method["steps"]) > 1 else ""
            name = method["name"] if not place else ""
            cells = step_cells(method, place, [*names, "seconds"])
            rows.append([name, step["method"], str(step["step"]), *cells, mark])
    return _table(["method", "by", "step", *names.values(), "seconds", ""], rows, texts=2, firsts=firsts)


def _examples(method: Mapping[str, Any], columns: Sequence[Column], thumbnails: Mapping[str, str]) -> str:
    by = method["examples"]["by"]
    title = next(column.title for column in columns if column.key == by)
    parts = [f"<h3>{escape(method['name'])}</h3>"]
    for kind in ("best", "worst"):
        if not method["examples"][kind]:
            continue
        parts.append(f"<p class='note'>{kind} by {escape(title)}: target and result</p><div class='row'>")
        for example in method["examples"][kind]:
            data = thumbnails.get(example["input"])
            image = f'<img alt="target and result" src="data:image/jpeg;base64,{data}">' if data else ""
            caption = f"{escape(_clean(example['input']))}: {format_value(example[by])}"
            parts.append(f"<figure>{image}<figcaption>{caption}</figcaption></figure>")
        parts.append("</div>")
    return "".join(parts)


def _skipped(skipped: Sequence[Mapping[str, str]]) -> str:
    if not skipped:
        return ""
    named = [[one["input"], one.get("method", "all"), one["reason"]] for one in skipped[:MOST_SKIPPED]]
    counts = Counter(one.get("method", "all methods") for one in skipped)
    numbers = ", ".join(f"{count} for {method}" for method, count in counts.items())
    more = f"; the first {MOST_SKIPPED}, report.json has all" if len(skipped) > MOST_SKIPPED else ""
    return f"<h2>Skipped</h2><p>{escape(numbers)}{more}</p>" + _table(["image", "methods", "reason"], named, texts=3)


def _protocol(report: Mapping[str, Any]) -> str:
    protocol = report["protocol"]
    keys = ("framing", "resize", "range", "optimising", "statistics", "seconds", "peak_memory", "batch_size", "machine")
    rows = [[key.replace("_", " "), str(protocol[key])] for key in keys if key in protocol]
    rows += [["metric " + metric["name"], metric["how"]] for metric in protocol["metrics"]]
    rows += [["chain of " + m["name"], m["chain"]] for m in report["methods"] if m["chain"]]
    rows.append(["device", f"{report['device']}, {report['precision']}"])
    rows.append(["versions", ", ".join(f"{name} {number}" for name, number in protocol["versions"].items())])
    return _table(["", ""], rows, texts=2)


def _networks(networks: Sequence[Mapping[str, str]]) -> str:
    rows = [
        [
            one["name"],
            one["for"],
            f"code: {one['licence_code']}; weights: {one['licence_weights']}; data: {one['licence_data']}; "
            f"commercial use: {one['commercial']}",
            f"{one['file']}; {one['source']}; SHA-256 {one['sha256'][:16]}…",
        ]
        for one in networks
    ]
    return _table(["model", "for", "licences", "file"], rows, texts=4) if rows else "<p>none</p>"


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int, firsts: frozenset[int] | set[int] = frozenset()
) -> str:
    """A table whose columns from `texts` on are numbers, with a rule above the rows `firsts`."""
    parts = ["<div class='wide'><table>"]
    if any(heads):
        parts.append("<tr>" + "".join(_cell("th", text, i >= texts) for i, text in enumerate(heads)) + "</tr>")
    for number, row in enumerate(rows):
        parts.append("<tr class='first'>" if number in firsts else "<tr>")
        parts.extend(_cell("td", text, i >= texts) for i, text in enumerate(row))
        parts.append("</tr>")
    return "".join([*parts, "</table></div>"])


def _cell(kind: str, text: str, number: bool) -> str:
    return f"<{kind}{' class=n' if number else ''}>{escape(_clean(text))}</{kind}>"


def _code(text: str) -> str:
    return f"<code>{escape(_clean(text))}</code>"


def _marked(text: str) -> str:
    """HTML of a text with code in backquotes."""
    return "".join(_code(part) if i % 2 else escape(part) for i, part in enumerate(text.split("`")))


def _clean(text: str) -> str:
    """The text with surrogates replaced, which stand for undecodable bytes in file names."""
    return text.encode("utf-8", "replace").decode("utf-8")


# --- curves


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
            axes[0][index].set_title(f"{column.title} ({column.better} is better)")
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
