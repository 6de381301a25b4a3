"""The command `vgg-serve bench`."""

from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import typer

from app.bench.loops import Plan, choose_loads
from app.bench.plot import figure_class, save_plot
from app.bench.progress import LiveProgress
from app.bench.raw import Comparable, RawSessions, open_served, open_ways
from app.bench.report import make_report, report_tables, to_json
from app.bench.series import measure
from app.bench.target import DEFAULT_SIZES, make_pictures, make_target, read_pictures
from app.cli.console import err, out, pull_bar
from app.cli.environment import Key, find_manifest, read_settings
from app.cli.files import find_photos
from app.client.address import authorization
from app.runtime.conv_choice import ConvChoice
from app.service.settings import Settings
from app.setup_errors import SetupError


def bench(  # noqa: PLR0913, PLR0917 (options of a command)
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="[URL]",
            help="http://HOST:PORT; not needed for --raw, --conv or --precision alone.",
        ),
    ] = None,
    connections: Annotated[
        int,
        typer.Option("--connections", "-c", min=1, max=10_000, help="Clients of a closed loop."),
    ] = 16,
    sweep: Annotated[
        str | None,
        typer.Option(metavar="N,N,..", help="Several closed loops, with these numbers of clients."),
    ] = None,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="R,R,..",
            help="Open loops with these rates (requests per second, Poisson arrivals)."
            " Latency counts from when a request was due.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", "-s", min=0.1, max=86_400, help="Seconds per run that count."),
    ] = 20,
    warmup: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds of load before, which do not count.")
    ] = 2,
    repeats: Annotated[
        int, typer.Option(min=1, max=100, help="Rounds; the median of each load is shown.")
    ] = 3,
    timeout: Annotated[
        float, typer.Option(min=0.01, max=3600, help="Seconds after which a request fails.")
    ] = 30,
    max_in_flight: Annotated[
        int,
        typer.Option(
            min=1, max=100_000, help="Most requests of an open loop at a time; more are not sent."
        ),
    ] = 1000,
    images: Annotated[
        list[Path] | None,
        typer.Option("--images", "-i", exists=True, help="Files or folders to send, in turn."),
    ] = None,
    sizes: Annotated[
        str,
        typer.Option(
            metavar="WxH:N,..", help="Without --images: make N JPEGs of each size from one photo."
        ),
    ] = DEFAULT_SIZES,
    path: Annotated[
        str | None, typer.Option(help="Path to post to (default: that of the URL, or /predict).")
    ] = None,
    field: Annotated[
        str, typer.Option(metavar="NAME", help="Form field; '' posts the image itself.")
    ] = "file",
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="A further header.")
    ] = None,
    key: Key = None,
    seed: Annotated[int, typer.Option(help="Seed of the arrivals and the order of images.")] = 1,
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Also time session.run alone, before each round.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model for --raw (default: first of VGG_MODELS)."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        typer.Option(help="Device for --raw (default: VGG_DEVICE)."),
    ] = None,
    conv: Annotated[
        str | None,
        typer.Option(
            metavar="WAY,WAY,..",
            help="Like --raw, for several ways to compute convolutions on a CPU, side by side:"
            " direct, winograd, auto.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="P,P,..",
            help="Like --raw, for several number formats on a CPU, side by side: float32 (in each way of"
            " --conv), int8.",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, max=1024, help="CPU threads for --raw (0: VGG_THREADS).")
    ] = 0,
    json: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write all results to this file.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Draw a sweep into this file, .svg or .png (needs matplotlib).",
        ),
    ] = None,
) -> None:
    """Load a server and measure it; Ctrl-C ends early and reports the results up to then."""
    loads = choose_loads(connections, sweep, rate)
    timed = raw or conv is not None or precision is not None
    if url is None and not timed:
        raise SetupError("Give the URL of a server, or --raw for session.run alone, or both.")
    for file in (json, plot):
        if file is not None and not file.resolve().parent.is_dir():
            raise SetupError(f"{file.parent} is not a folder. Create it first.")
    if plot is not None:
        if url is None or len(loads) == 1:
            raise SetupError("--plot draws a sweep. Give a URL and --sweep, or several --rate.")
        figure_class(plot)
    plan = Plan(loads, seconds, warmup, timeout, repeats, max_in_flight, seed)
    target = None
    if url is not None:
        pictures = read_pictures(find_photos(images)) if images else make_pictures(sizes)
        headers = [*(header or ()), *([f"Authorization: {authorization(key)}"] if key else [])]
        target = make_target(url, pictures, path=path, field=field, headers=headers, seed=seed)
    sessions = None
    if timed:
        chosen = {"device": device, "threads": threads}
        settings = read_settings().model_copy(update={k: v for k, v in chosen.items() if v})
        sessions = _open(settings, model, conv, precision)
    with LiveProgress(err) as progress:
        series = measure(plan, target, sessions.round if sessions else None, progress)
    summary = sessions.summarise(series.rounds) if sessions and series.rounds else None
    report = make_report(series, plan, target, summary)
    out.print(report_tables(report))
    if json is not None:
        json.write_text(to_json(report), encoding="utf-8")
    if plot is not None and report.points:
        save_plot(report, plot)
    answered = any(point.median.goodput for point in report.points)
    raise typer.Exit(0 if answered or (url is None and report.raw) else 1)


def _open(
    settings: Settings, model: str | None, conv: str | None, precision: str | None
) -> RawSessions:
    manifest = find_manifest(settings, model)
    if conv is None and precision is None:
        with pull_bar(manifest.name) as progress:
            return open_served(settings, manifest, progress)
    ways = _listed("--conv", conv or "auto", get_args(ConvChoice))
    precisions = _listed("--precision", precision or "float32", get_args(Comparable))
    return open_ways(
        settings,
        manifest,
        cast("tuple[ConvChoice, ...]", ways),
        cast("tuple[Comparable, ...]", precisions),
    )


def _listed(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a list, each of which has to be known, once."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if not set(words) <= set(known):
        raise SetupError(f"{option}: {text!r} is not a list of {', '.join(known)}.")
    return words
