"""The command `vgg-serve`."""

import logging
import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app import __version__
from app.cli.bench import bench
from app.cli.console import catalog_table, err, layer_table, out
from app.cli.environment import find_manifest, read_settings, ready_graph
from app.cli.evaluate.command import HELP as EVALUATE_HELP
from app.cli.evaluate.command import evaluate
from app.cli.import_model import import_
from app.cli.predict.command import HELP, predict
from app.command_line import started_as
from app.errors import VggServeError
from app.graph.float16 import PrecisionChoice
from app.runtime.ort import VERSION, has_cuda
from app.service.logs import configure_logs
from app.service.owner_process import serve_with_fronts
from app.service.server import serve as run_server
from app.service.signals import end_with, interrupt_commands
from app.setup_errors import SetupError
from app.texts import printable
from app.web.keys import make_key
from app.weights.calibration.agreement import read_agreement
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import load_catalog

log = logging.getLogger(__name__)

cli = typer.Typer(
    name="vgg-serve",
    help="Classify photos with VGG-16 and VGG-19, here, on a server, or as a server.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; report an error in one sentence and exit with status 1."""
    interrupt_commands()
    try:
        cli(prog_name=started_as(sys.argv[0], Path.cwd(), shutil.which("vgg-serve")))
    except VggServeError as exc:
        sentence = "\n".join(printable(line) for line in str(exc).splitlines())
        err.print(f"[bold red]error:[/] {escape(sentence)}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 (a callback of typer)
    if wanted:
        runs = "CPU and CUDA" if has_cuda() else "CPU"
        out.print(
            f"vgg-serve {__version__}, onnxruntime {VERSION} ({runs}),"
            f" Python {platform.python_version()}, {platform.platform()}",
            soft_wrap=True,
        )
        raise typer.Exit


@cli.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of no command; the help of `cli` stands for this."""


@cli.command()
def serve() -> None:
    """Serve models over HTTP. Settings are environment variables VGG_* (see README.md)."""
    warnings: list[str] = []
    settings = read_settings(warnings.append)
    configure_logs(settings.log_level, settings.log_format)
    log.info("models are kept in %s", settings.model_dir.absolute())
    for sentence in warnings:  # as events of the service
        log.warning("%s", sentence)
    try:
        start = serve_with_fronts if settings.front_processes else run_server
        status = start(settings)
    except SetupError as exc:
        log.error("%s", exc)  # as every other event of the service
        status = 1
    except KeyboardInterrupt:  # a model may be loading in a thread
        end_with(130)
    raise typer.Exit(status)


@cli.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models (default: VGG_MODELS).")] = None,
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(help="Number format of the graphs (default: VGG_PRECISION)."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Photos to calibrate int8 with (default: VGG_CALIBRATION_DIR, or built-in samples).",
        ),
    ] = None,
) -> None:
    """Download the weights of models, verify them, and build their serving graphs."""
    chosen = {"precision": precision, "calibration_dir": calibrate}
    settings = read_settings().model_copy(update={k: v for k, v in chosen.items() if v})
    if calibrate is not None and settings.precision != "int8":
        raise SetupError("--calibrate is for whole numbers. Add --precision int8.")
    for name in names or settings.models:
        graph = ready_graph(settings, find_manifest(settings, name))
        note = "" if graph.trained else ", UNTRAINED"
        out.print(f"{name}: ready{note}; SHA-256 of the weights: {graph.weights_sha256}")
        agreement = read_agreement(graph.path.parent)
        if agreement is not None:
            out.print(f"{name}: {escape(str(agreement))}", soft_wrap=True)


@cli.command()
def models(
    name: Annotated[str | None, typer.Argument(help="Model to describe, layer by layer.")] = None,
) -> None:
    """List the models, or describe one."""
    settings = read_settings()
    if name is None:
        out.print(catalog_table([*load_catalog(settings.model_dir).values()]))
        return
    manifest = find_manifest(settings, name)
    out.print(f"[bold]{name}[/]: {escape(manifest.title)}, {manifest.license}")
    out.print(f"manifest: {manifest.path}", soft_wrap=True)
    preprocess = ", ".join(f"{key} {value}" for key, value in asdict(manifest.preprocess).items())
    out.print(f"preprocessing: {preprocess}", soft_wrap=True)
    if manifest.temperature != 1:
        out.print(f"temperature: {manifest.temperature:g}, divides the logits before softmax")
    if manifest.accuracy is not None:
        accuracy = manifest.accuracy
        out.print(f"top-1 {accuracy.top1} %, top-5 {accuracy.top5} % ({escape(accuracy.source)})")
    network = network_of(manifest, load_labels(manifest.labels, settings.model_dir))
    if network is not None:
        out.print(layer_table(network))


@cli.command()
def key(name: Annotated[str, typer.Argument(help="Name of the client that gets the key.")]) -> None:
    """Make an API key. With `>> keys` behind it, its line goes to a file; the key itself is shown."""
    secret, line = make_key(name)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    err.print(
        f"The key of {name}, which is not shown again: {secret}", soft_wrap=True, highlight=False
    )


cli.command(help=HELP)(predict)
cli.command(help=EVALUATE_HELP, no_args_is_help=True)(evaluate)
cli.command(no_args_is_help=True)(bench)
cli.command("import", no_args_is_help=True)(import_)
