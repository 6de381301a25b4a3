"""The command `vgg-serve`."""

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import track

from app.cli.bench import bench
from app.cli.classify import FileResult, classify_here, classify_remotely
from app.cli.console import (
    catalog_table,
    err,
    layer_table,
    out,
    predictions_table,
    pull_bar,
)
from app.cli.environment import Key, find_manifest, read_settings
from app.cli.import_model import import_
from app.errors import SetupError, VggServeError
from app.graph.vgg import CLASSES
from app.images.formats import TITLES, find_images
from app.service.logs import configure_logs
from app.service.owner import serve_with_fronts
from app.service.parts import provisioning
from app.service.server import serve as run_server
from app.service.settings import Settings
from app.web.keys import make_key
from app.weights.labels import load_labels, network_of
from app.weights.manifests import Manifest, load_catalog
from app.weights.pull import pull as pull_weights
from app.weights.store import ServingGraph

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
    try:
        cli()
    except VggServeError as exc:
        err.print(f"[bold red]error:[/] {escape(str(exc))}", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@cli.command()
def serve() -> None:
    """Serve models over HTTP. Settings are environment variables VGG_* (see README.md)."""
    settings = read_settings()
    configure_logs(settings.log_level, settings.log_format)
    try:
        start = serve_with_fronts if settings.front_processes else run_server
        status = start(settings)
    except SetupError as exc:
        log.error("%s", exc)  # as every other event of the service
        status = 1
    raise typer.Exit(status)


@cli.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models (default: VGG_MODELS).")] = None,
) -> None:
    """Download the weights of models, verify them, and build their serving graphs."""
    settings = read_settings()
    for name in names or settings.models:
        graph = _pull(settings, find_manifest(settings, name))
        note = "" if graph.trained else ", UNTRAINED"
        out.print(f"{name}: ready{note}; SHA-256 of the weights: {graph.weights_sha256}")


@cli.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Photos, or folders of photos.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Model (default: first of VGG_MODELS, or the server's)."
        ),
    ] = None,
    top_k: Annotated[
        int, typer.Option("--top-k", "-k", min=1, max=CLASSES, help="Classes per photo.")
    ] = 5,
    url: Annotated[
        str | None, typer.Option(help="Server to use in place of this machine: http://HOST:PORT.")
    ] = None,
    key: Key = None,
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Classify photos, on this machine or on a server."""
    files = find_images(paths)
    if not files:
        raise SetupError(f"These folders contain no {TITLES}.")
    if url is not None:
        results = classify_remotely(url, files, model=model, top_k=top_k, key=key)
    else:
        settings = read_settings()
        manifest = find_manifest(settings, model)
        graph = _pull(settings, manifest)
        if not graph.trained:
            err.print("[bold yellow]UNTRAINED weights: these predictions are meaningless.[/]")
        results = classify_here(settings, manifest, graph, files, top_k)
    failures = 0
    one = len(files) == 1  # a bar for one file is noise
    for result in track(
        results, "classifying", len(files), console=err, transient=True, disable=one
    ):
        failures += result.error is not None
        _show(result, as_json=as_json)
    raise typer.Exit(1 if failures else 0)


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
    if manifest.accuracy is not None:
        accuracy = manifest.accuracy
        out.print(f"top-1 {accuracy.top1} %, top-5 {accuracy.top5} % ({escape(accuracy.source)})")
    network = network_of(manifest, load_labels(manifest.labels, settings.model_dir))
    if network is not None:
        out.print(layer_table(network))


@cli.command()
def key(name: Annotated[str, typer.Argument(help="Name of the client that gets the key.")]) -> None:
    """Make an API key. `vgg-serve key alice >> keys` adds its line to a file and shows the key."""
    secret, line = make_key(name)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    err.print(
        f"The key of {name}, which is not shown again: {secret}", soft_wrap=True, highlight=False
    )


cli.command(no_args_is_help=True)(bench)
cli.command("import", no_args_is_help=True)(import_)


def _pull(settings: Settings, manifest: Manifest) -> ServingGraph:
    with pull_bar(manifest.name) as progress:
        return pull_weights(manifest, provisioning(settings), progress)


def _show(result: FileResult, *, as_json: bool) -> None:
    if as_json:
        row = {
            "file": str(result.path),
            "model": result.model,
            "trained": result.trained,
            "predictions": [asdict(prediction) for prediction in result.predictions],
            "image": asdict(result.image) if result.image else None,
            "error": result.error,
        }
        sys.stdout.write(json.dumps(row) + "\n")
    elif result.error is not None:
        err.print(f"[bold red]{escape(str(result.path))}:[/] {escape(result.error)}")
    else:
        note = "  (UNTRAINED)" if result.trained is False else ""
        out.print(predictions_table(f"{result.path}{note}", result.predictions))
