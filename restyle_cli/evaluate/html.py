"""report.html: one self-contained file with tables and SVG curves, without scripts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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
    protocol, methods, skipped = report["protocol"], report["methods"], report["skipped"]
    names = titles(columns, [one["name"] for one in protocol["missing"]])
    inverts = protocol["against"] is None
    curves = plot(methods, columns)
    summary = f"{report['images']} images of {', '.join(map(_code, protocol['inputs']))}"
    if not inverts:
        summary += f", against {_code(protocol['against'])}"
    if skipped:
        summary += f"; {len(skipped)} skipped"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>restyle eval</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>restyle eval</h1><p>{summary}. Figures are {escape(protocol['statistics'])}.</p>",
        f"<h2>{'Methods' if inverts else 'Pairs'}</h2>",
        _methods(methods, names, inverts),
        *(f"<p class='note'>{NOTHING} {_marked(_reason(one))}</p>" for one in protocol["missing"]),
    ]
    if curves:
        parts += ["<h2>Quality over time</h2>", curves, "<h2>Steps</h2>", _steps(methods, names)]
    parts += ["<h2>Best and worst</h2>", *(_examples(one, names, thumbnails[one["name"]]) for one in methods)]
    if skipped:
        parts += ["<h2>Skipped</h2>", _skipped(skipped)]
    parts += ["<h2>Protocol</h2>", _protocol(report), "<h2>Models and licences</h2>", _networks(protocol["networks"])]
    return "\n".join([*parts, "</body></html>\n"])


def _methods(methods: Sequence[Mapping[str, Any]], names: Mapping[str, str], inverts: bool) -> str:
    """One row per method: its last step."""
    timed = ["seconds"] if inverts else []
    heads = ["method", "images", *(["steps"] if inverts else []), *names.values(), *timed, "peak MB"]
    rows = []
    for method in methods:
        steps = [str(method["steps"][-1]["step"])] if inverts else []
        cells = [*step_cells(method, -1, [*names, *timed]), format_value(method["peak_memory_mb"])]
        rows.append([method["name"], str(method["images"]), *steps, *cells])
    return _table(heads, rows, texts=1)


def _steps(methods: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Every measured step of every method; the one with the best mean is marked."""
    rows: list[list[str]] = []
    firsts: set[int] = set()
    for method in methods:
        firsts.add(len(rows))
        for index, step in enumerate(method["steps"]):
            best = method["best"] is not None and method["best"]["step"] == step["step"]
            cells = step_cells(method, index, [*names, "seconds"])
            mark = "best" if best and len(method["steps"]) > 1 else ""
            rows.append([method["name"] if not index else "", step["method"], str(step["step"]), *cells, mark])
    return _table(["method", "by", "step", *names.values(), "seconds", ""], rows, texts=2, firsts=firsts)


def _examples(method: Mapping[str, Any], names: Mapping[str, str], thumbnails: Mapping[str, str]) -> str:
    examples, by = method["examples"], method["examples"]["by"]
    parts = [f"<h3>{escape(method['name'])}</h3>"]
    for kind in ("best", "worst"):
        if examples[kind]:
            figures = "".join(_figure(one, one[by], thumbnails.get(one["input"])) for one in examples[kind])
            note = f"<p class='note'>{kind} by {escape(names[by])}: target and result</p>"
            parts.append(f"{note}<div class='row'>{figures}</div>")
    return "".join(parts)


def _figure(example: Mapping[str, Any], value: float, data: str | None) -> str:
    image = f'<img alt="target and result" src="data:image/jpeg;base64,{data}">' if data else ""
    caption = f"{escape(_clean(example['input']))}: {format_value(value)}"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _skipped(skipped: Sequence[Mapping[str, str]]) -> str:
    rows = [[one["input"], one.get("method", "all"), one["reason"]] for one in skipped[:MOST_SKIPPED]]
    counts = Counter(one.get("method", "all methods") for one in skipped)
    text = ", ".join(f"{count} for {method}" for method, count in counts.items())
    if len(skipped) > MOST_SKIPPED:
        text += f"; the first {MOST_SKIPPED}, report.json has all"
    return f"<p>{escape(text)}</p>" + _table(["image", "methods", "reason"], rows)


def _protocol(report: Mapping[str, Any]) -> str:
    protocol = report["protocol"]
    keys = ("framing", "resize", "range", "optimising", "statistics", "seconds", "peak_memory", "batch_size", "machine")
    rows = [[key.replace("_", " "), str(protocol[key])] for key in keys if key in protocol]
    rows += [["metric " + metric["name"], metric["how"]] for metric in protocol["metrics"]]
    rows += [["chain of " + method["name"], method["chain"]] for method in report["methods"] if method["chain"]]
    versions = ", ".join(f"{name} {number}" for name, number in protocol["versions"].items())
    return _table([], [*rows, ["device", f"{report['device']}, {report['precision']}"], ["versions", versions]])


def _networks(networks: Sequence[Mapping[str, str]]) -> str:
    if not networks:
        return "<p>none</p>"
    rows = []
    for one in networks:
        licences = f"code: {one['licence_code']}; weights: {one['licence_weights']}; data: {one['licence_data']}; "
        file = f"{one['file']}; {one['source']}; SHA-256 {one['sha256'][:16]}…"
        rows.append([one["name"], one["for"], f"{licences}commercial use: {one['commercial']}", file])
    return _table(["model", "for", "licences", "file"], rows)


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int | None = None, firsts: Collection[int] = ()
) -> str:
    """A table; the columns from `texts` on are numbers, and the rows `firsts` have a rule above."""

    def cells(kind: str, row: Sequence[str]) -> str:
        classes = [" class=n" if texts is not None and index >= texts else "" for index in range(len(row))]
        return "".join(f"<{kind}{c}>{escape(_clean(text))}</{kind}>" for c, text in zip(classes, row, strict=True))

    lines = [f"<tr>{cells('th', heads)}</tr>"] if heads else []
    lines += [f"<tr{' class=first' if i in firsts else ''}>{cells('td', row)}</tr>" for i, row in enumerate(rows)]
    return f"<div class='wide'><table>{''.join(lines)}</table></div>"


def _reason(missing: Mapping[str, Any]) -> str:
    return "; ".join(filter(None, (missing["reason"], missing["hint"])))


def _code(text: str) -> str:
    return f"<code>{escape(_clean(text))}</code>"


def _marked(text: str) -> str:
    """HTML of a text with code in backquotes."""
    return "".join(_code(part) if i % 2 else escape(part) for i, part in enumerate(text.split("`")))


def _clean(text: str) -> str:
    """The text with surrogates replaced, which stand for undecodable bytes in file names."""
    return text.encode("utf-8", "replace").decode("utf-8")


# --- curves


def plot(methods: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str | None:
    """SVG with two panels per column, over time and over steps, without step 0. None if no step took time."""
    timed = [(m, [i for i, s in enumerate(m["steps"]) if s["step"] and s["seconds"]]) for m in methods]
    timed = [(method, indices) for method, indices in timed if indices]
    if not timed:
        return None
    # Imported here: it takes a second, and only reports need it. No pyplot, which would look for a display.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where it cannot keep its list of fonts
    import matplotlib
    from matplotlib.figure import Figure

    seconds = [method["steps"][i]["seconds"] for method, indices in timed for i in indices]
    with matplotlib.rc_context(_STABLE):
        figure = Figure(figsize=(3.6 * len(columns), 6.2), layout="constrained")
        for panels, column in zip(figure.subplots(2, len(columns), squeeze=False).T, columns, strict=True):
            for axis, key, label in zip(panels, ("seconds", "step"), ("seconds per image", "step"), strict=True):
                axis.set_xlabel(label)
                for number, (method, indices) in enumerate(timed):
                    x, y = ([method["steps"][i][name] for i in indices] for name in (key, column.key))
                    errors = [method["stderr"][column.key][i] or 0.0 for i in indices]
                    style = {"color": COLOURS[number % 10], "marker": MARKERS[number % 10], "label": method["name"]}
                    axis.errorbar(x, y, yerr=errors, markersize=4, linewidth=1.4, capsize=2, **style)
            over_time, over_steps = panels
            over_time.set_title(f"{column.title} ({column.better} is better)")
            over_steps.xaxis.get_major_locator().set_params(integer=True)
            if max(seconds) > _WIDE_RANGE * min(seconds):
                over_time.set_xscale("log")
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4), frameon=False)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
