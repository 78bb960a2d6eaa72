"""`restyle bootstrap`: start one domain's encoder from the latent that another domain's encoder found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restyle_cli.cli import framing, options, running
from restyle_cli.cli.output import Terminal
from restyle_cli.cli.tally import StepMeans
from restyle_cli.store.paths import check_writable

EPILOG = options.examples(
    "restyle bootstrap photo.jpg --to toonify",
    "restyle bootstrap faces --from portrait --to toon -n 3 --compare",
)

if TYPE_CHECKING:
    from restyle_cli.run.pipeline import Outcome

_MODEL = "Model"
MOST_STEPS = 100

To = Annotated[
    str,
    typer.Option("--to", metavar="DOMAIN", help="Target domain, such as toonify.", rich_help_panel=_MODEL),
]
From = Annotated[
    str,
    typer.Option("--from", metavar="DOMAIN", help="Source domain.", rich_help_panel=_MODEL),
]
Steps = Annotated[
    int,
    typer.Option(
        "--steps",
        "-n",
        callback=options.between(1, MOST_STEPS),
        help=f"Steps of the target encoder, 1 to {MOST_STEPS}, after one step of the source encoder.",
        rich_help_panel=_MODEL,
    ),
]
Family = Annotated[
    Literal["restyle-psp", "restyle-e4e"],
    typer.Option("--method", help="Method of the encoders.", rich_help_panel=_MODEL),
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Also run the target encoder from its own average latent, to see the effect of bootstrapping.",
        rich_help_panel="Results",
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
    output: options.Output = options.OUTPUT / "bootstrap",
    save: options.Save = options.DEFAULT_SAVE,
    paste_back: options.PasteBack = False,
    compare: Compare = False,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    device: options.Device = "auto",
    precision: options.Precision = "auto",
    batch_size: options.BatchSize = None,
    offline: options.Offline = False,
    landmarks: options.Landmarks = None,
) -> None:
    """Move images to another domain (encoder bootstrapping).

    The source encoder makes one step from its average latent. The target
    encoder continues from that latent and image. Writes the files of invert.
    Selects the last step, as the L2 to the photo says little about a cartoon.
    Published models that are not installed are not downloaded: bundled models
    are used instead.
    """
    began = time.perf_counter()
    terminal = Terminal(json=json, quiet=quiet)
    kinds = options.parse_save(save) | ({"pasted"} if paste_back else set())
    sources, missing = running.find(paths, output, terminal)

    # From here on torch is needed, which takes seconds to import.
    from restyle_cli import models
    from restyle_cli.align import alignment_rule
    from restyle_cli.run.bootstrap import find_pair, with_bootstrap_strip
    from restyle_cli.run.outputs import Results
    from restyle_cli.run.pipeline import Task, invert_all

    pair = find_pair(source, to, method)
    plan = models.plan(method, via=pair.chain(steps), ensure=running.fetching(offline, terminal))
    rule = alignment_rule(plan.models[0].name, plan.models[0].generator_name)
    framed, framing_settings = framing.choose(align, face, landmarks, sources, terminal, rule)
    machine = running.choose_machine(device, precision, batch_size)
    check_writable(output)
    if pair.notice:
        terminal.note(pair.notice)
    domains = {"from": pair.first.domain, "to": pair.target.domain}
    result = {**domains, "model": plan.models[-1].name, "chain": plan.chain}
    settings = {**result, "networks": plan.networks(), "keep": "last", "compare": compare, **framing_settings}
    settings |= machine.settings
    notes = {**machine.notes, "generators": plan.generators}
    results = Results(output, kinds, settings, notes, framed.face == "all")
    results = with_bootstrap_strip(results, pair.first.domain, pair.target.domain)
    methods = plan.load(machine.device)
    task = Task(
        methods,
        results,
        machine.device,
        machine.dtype,
        "last",
        None,
        framed,
        overwrite,
        machine.batch_size,
        methods[1:] if compare else (),
        note=terminal.note,
    )
    compared = StepMeans()

    def add_compared(outcome: Outcome, terminal: Terminal) -> None:
        if "against" in outcome.record:
            compared.add(outcome.record["against"], steps)

    done = invert_all(sources, task)
    tally = running.run(sources, missing, done, "inverting", terminal, describe=_as_json, tell=add_compared)
    summary = tally.summary(began)
    values = {"command": "bootstrap", **machine.notes, **result, "images": tally.described, "summary": summary}
    values["notices"] = [pair.notice] if pair.notice else []
    views = running.views(tally, summary, output)
    if compared.images:
        views.append(f"for comparison, {plan.models[-1].name} from its own average latent:")
        views.append(compared.table())
    terminal.result(values, *views)
    running.end(tally)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    values = running.as_json(outcome)
    return values | ({"against": outcome.record["against"]} if "against" in outcome.record else {})
