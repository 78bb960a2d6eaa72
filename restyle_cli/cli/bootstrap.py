"""`restyle bootstrap`: start one domain's encoder from the latent that another domain's encoder found."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from restyle_cli.cli import options, running
from restyle_cli.cli.output import Terminal
from restyle_cli.models.pairs import find_pair
from restyle_cli.run.prepare import FaceOptions, MachineOptions, RunOptions, prepare_run

EPILOG = options.examples(
    "restyle bootstrap photo.jpg --to toonify",
    "restyle bootstrap faces --from portrait --to toon -n 3 --compare",
)

MOST_STEPS = 100

To = Annotated[str, options.option("--to", "Target domain, such as toonify.", options.MODEL, metavar="DOMAIN")]
From = Annotated[str, options.option("--from", "Source domain.", options.MODEL, default=True, metavar="DOMAIN")]
Steps = Annotated[
    int,
    options.option(
        "--steps -n",
        f"Steps of the target encoder, 1 to {MOST_STEPS}, after one step of the source encoder.",
        options.MODEL,
        default=True,
        callback=options.between(1, MOST_STEPS),
    ),
]
Family = Annotated[
    Literal["restyle-psp", "restyle-e4e"],
    options.option("--method", "Method of the encoders.", options.MODEL, default=True),
]
Compare = Annotated[
    bool,
    options.option(
        "--compare",
        "Also run the target encoder from its own average latent, to see the effect of bootstrapping.",
        options.RESULTS,
    ),
]


def bootstrap(
    paths: options.Images,
    to: To,
    source: From = "ffhq",
    steps: Steps = 2,
    method: Family = "restyle-psp",
    align: options.Align = "auto",
    face: options.Face = "1",
    landmarks: options.Landmarks = None,
    output: options.Output = options.OUTPUT / "bootstrap",
    save: options.Save = options.DEFAULT_SAVE,
    paste_back: options.PasteBack = False,
    compare: Compare = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
) -> None:
    """Move images to another domain (encoder bootstrapping).

    The source encoder makes one step from its average latent. The target
    encoder continues from that latent and image. Writes the files of invert.
    Selects the last step, as the L2 to the photo says little about a cartoon.
    Published models that are not installed are not downloaded: bundled models
    are used instead.
    """
    began = time.perf_counter()
    terminal = Terminal(json, quiet, verbose)
    kinds = options.parse_save(save) | ({"pasted"} if paste_back else set())
    pair = find_pair(source, to, method)
    domains = {"from": pair.first.domain, "to": pair.target.domain}
    run = prepare_run(
        RunOptions(
            paths,
            output,
            via=pair.chain(steps),
            overwrite=overwrite,
            face=FaceOptions(align, options.parse_face(face), landmarks),
            machine=MachineOptions(device, precision, batch_size, offline),
            settings={**domains, "keep": "last", "compare": compare},
        ),
        terminal,
    )
    from restyle_cli.run.bootstrap import with_bootstrap_strip
    from restyle_cli.run.pipeline import invert_all

    notices = [*([pair.notice] if pair.notice else []), *run.plan.notices]
    if pair.notice:
        terminal.note(pair.notice)
    results = with_bootstrap_strip(run.results(kinds), pair.first.domain, pair.target.domain)
    task = run.task(results, compare_with=run.methods[1:] if compare else ())
    tally = running.run(run.sources, run.missing, invert_all(run.sources, task), "inverting", terminal)
    summary = tally.summary(began)
    values: dict[str, Any] = {
        "command": "bootstrap",
        **run.notes,
        **domains,
        "model": run.settings["model"],
        "chain": run.plan.chain,
    }
    values |= {"notices": notices, "images": tally.described, "summary": summary}
    views = running.views(tally, summary, output)
    if tally.compared.images:
        views.append(f"for comparison, {run.settings['model']} from its own average latent:")
        views.append(tally.compared.table())
    terminal.result(values, *views)
    running.end(tally)
