"""The command `vgg-serve bench`: its options, and how they are put together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import typer

from app.bench.limit import Limit, open_limit, sample_photos
from app.bench.pictures import DEFAULT_SIZES, Picture, make_pictures, read_pictures
from app.bench.plan import MAX_IN_FLIGHT, Plan, choose_loads
from app.bench.plot import plot_svg
from app.bench.progress import live_progress
from app.bench.report import Report, make_report, to_json
from app.bench.series import measure
from app.bench.tables import report_tables
from app.bench.target import Target, make_target
from app.cli.bench_options import (
    Connections,
    Conv,
    Device,
    Field,
    Header,
    Images,
    JsonFile,
    Key,
    Limits,
    MaxInFlight,
    Model,
    PathOption,
    PlotFile,
    Rate,
    Raw,
    Repeats,
    Seconds,
    Seed,
    Sizes,
    Sweep,
    Threads,
    Timeout,
    Url,
    Warmup,
)
from app.cli.console import err, out, pull_bar
from app.errors import SetupError
from app.images.formats import find_images
from app.service.settings import Settings
from app.web.keys import authorization


def bench_command(read_settings: Callable[[], Settings]) -> Callable[..., None]:
    """Make the command.

    Args:
        read_settings: Reads the environment; asked only for --raw.
    """

    def bench(  # noqa: PLR0913, PLR0917 (options of a command)
        url: Url = None,
        connections: Connections = 16,
        sweep: Sweep = None,
        rate: Rate = None,
        seconds: Seconds = 20,
        warmup: Warmup = 2,
        repeats: Repeats = 3,
        timeout: Timeout = 30,
        max_in_flight: MaxInFlight = MAX_IN_FLIGHT,
        images: Images = None,
        sizes: Sizes = DEFAULT_SIZES,
        path: PathOption = None,
        field: Field = "file",
        header: Header = None,
        key: Key = None,
        seed: Seed = 1,
        *,
        raw: Raw = False,
        model: Model = None,
        device: Device = None,
        limits: Limits = False,
        conv: Conv = None,
        threads: Threads = 0,
        json: JsonFile = None,
        plot: PlotFile = None,
    ) -> None:
        """Load a server, this or another, and say what it does; Ctrl-C ends early and reports."""
        loads = choose_loads(connections, sweep, rate)
        _check(
            url,
            raw=raw or conv is not None,
            files=(json, plot),
            plotted=plot is not None,
            points=len(loads),
        )
        plan = Plan(loads, seconds, warmup, timeout, repeats, max_in_flight, seed)
        pictures, target = [], None
        if url is not None:
            pictures = read_pictures(find_images(images)) if images else make_pictures(sizes)
            headers = [*(header or ()), *([f"Authorization: {authorization(key)}"] if key else [])]
            target = make_target(url, pictures, path=path, field=field, headers=headers, seed=seed)
        limit = None
        if raw or conv:
            limit = open_limit(read_settings(), model, device, threads, conv, shown=pull_bar)
        report = _measure(plan, target, limit, url, pictures)
        if (
            limit is not None
            and report.raw is not None
            and (limits or limit.session.device == "cuda")
        ):
            photos = (
                [picture.data for picture in read_pictures(find_images(images))] if images else None
            )
            report = replace(report, card=limit.card(photos or sample_photos(), repeats))
        out.print(report_tables(report))
        if json is not None:
            json.write_text(to_json(report), encoding="utf-8")
        if plot is not None and report.points:
            plot.write_text(plot_svg(report), encoding="utf-8")
        answered = any(point.median.goodput for point in report.points)
        raise typer.Exit(0 if answered or (url is None and report.raw) else 1)

    return bench


def _check(
    url: str | None, *, raw: bool, files: tuple[Path | None, ...], plotted: bool, points: int
) -> None:
    """Find out now what would only fail after all was measured.

    Raises:
        SetupError: If something would.
    """
    if url is None and not raw:
        raise SetupError("Give the URL of a server, or --raw for session.run alone, or both.")
    if plotted and (url is None or points == 1):
        raise SetupError("--plot draws a sweep: give a URL and --sweep, or several --rate.")
    for file in files:
        if file is not None and not file.resolve().parent.is_dir():
            raise SetupError(f"{file.parent} is not a folder.")


def _measure(
    plan: Plan,
    target: Target | None,
    limit: Limit | None,
    url: str | None,
    pictures: list[Picture],
) -> Report:
    with live_progress(err) as progress:
        series = measure(plan, target, limit.round if limit else None, progress)
    raw = limit.summarise(series.rounds) if limit and series.rounds else None
    return make_report(series, plan, url=url, target=target, pictures=pictures, raw=raw)
