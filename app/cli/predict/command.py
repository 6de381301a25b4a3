"""The options of `vgg-serve predict`."""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from app.cli.console import err, out
from app.cli.environment import Key, find_manifest, read_settings, ready_graph
from app.cli.files import STDIN, File, count, is_photo, walk
from app.cli.predict.classify_all import Nothing, Source, classify_all
from app.cli.predict.here import Here
from app.cli.predict.overlays import Overlays, Places, PlacesError
from app.cli.predict.progress import Report
from app.cli.predict.server import Server
from app.cli.predict.writers import make_writer
from app.client.address import AddressError
from app.images.formats import TITLES
from app.service.parts import preparation
from app.serving.classifier import USUAL
from app.setup_errors import SetupError
from app.weights.labels import MOST, load_labels

_MOST_PIPED: Final = 2**28
"""Bytes that are read from standard input."""
_READER_LEFT: Final = 141
"""Exit status of a command whose reader left, as a shell reports SIGPIPE."""

HELP: Final = (
    "Classify photos, on this machine or on a server.\n\n"
    "Files are found in folders by what they contain. Hidden files, files that are no pictures, and"
    " links to folders are skipped in a folder, never a file that is named. One file that fails"
    " does not end it.\n\n"
    "Exit status: 0 all photos were classified; 1 some were not, or nothing could be done; 2 the"
    " options are wrong; 130 Ctrl-C; 141 the reader of the results left, as `head` does."
)


def predict(  # noqa: PLR0913 (options of a command)
    paths: Annotated[
        list[Path],
        typer.Argument(help="Photos, or folders of photos; - is standard input."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Model (default: first of VGG_MODELS, or the server's)."
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            "-k",
            min=1,
            max=MOST,
            help=f"Classes per photo (default: {USUAL}, or all if the model knows fewer).",
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Server to use in place of this machine: http://HOST:PORT.")
    ] = None,
    key: Key = None,
    connections: Annotated[
        int,
        typer.Option(
            "--connections",
            "-c",
            min=1,
            max=256,
            help="Photos in flight to the server; fewer while it refuses some.",
        ),
    ] = 8,
    patience: Annotated[
        float,
        typer.Option(
            min=0,
            max=86_400,
            help="Seconds to wait for a server that is busy (429, 503) or restarts, for each photo.",
        ),
    ] = 120,
    *,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Draw where the best class is in each photo; needs --output."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for the pictures of --explain, PHOTO.png each."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, one row a file, in UTF-8.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show no progress and no summary.")
    ] = False,
) -> None:
    """Read the options, load the model or find the server, and classify; HELP has the rest."""
    if as_json and as_csv:
        raise typer.BadParameter("choose either --json or --csv", param_hint="--csv")
    if explain != (output is not None):
        raise typer.BadParameter(
            "--explain and --output need each other",
            param_hint="--output" if explain else "--explain",
        )
    places = _places(output, paths) if output is not None else None
    piped = _read_piped() if STDIN in paths else None
    source: Source
    if url is None:
        source = _here(paths, piped, model, top_k, explains=explain)
    else:
        try:
            source = Server(
                url,
                key,
                model=model,
                top_k=top_k,
                connections=connections,
                patience=patience,
                explains=explain,
            )
        except AddressError as exc:
            raise typer.BadParameter(str(exc), param_hint="--url") from exc
    if places is not None:
        source = Overlays(source, places, preparation(read_settings(lambda _: None)))
    report = Report(
        err,
        count(paths),
        bar=err.is_terminal and not out.is_terminal,
        quiet=quiet,
        waiting_for=source.waiting_for,
    )
    try:
        writer = make_writer(top_k or USUAL, as_json=as_json, as_csv=as_csv)
        asyncio.run(classify_all(source, _files(paths, piped), writer, report))
    except BrokenPipeError:
        raise typer.Exit(_READER_LEFT) from None
    if not report.tally.classified and not report.tally.failed:
        raise SetupError(f"These folders contain no {TITLES}.")
    raise typer.Exit(1 if report.tally.failed else 0)


def _places(output: Path, paths: Sequence[Path]) -> Places:
    try:
        return Places(output, paths)
    except PlacesError as exc:
        raise typer.BadParameter(f"{exc}; choose another folder", param_hint="--output") from exc


def _here(
    paths: Sequence[Path],
    piped: bytes | None,
    model: str | None,
    top_k: int | None,
    *,
    explains: bool,
) -> Source:
    if not any(is_photo(file) for file in _files(paths, piped)):
        return Nothing()  # do not load a model for it
    settings = read_settings()
    manifest = find_manifest(settings, model)
    labels = load_labels(manifest.labels, settings.model_dir)
    if top_k is not None and top_k > len(labels):
        raise typer.BadParameter(
            f"{manifest.name} knows {len(labels)} classes", param_hint="--top-k"
        )
    graph = ready_graph(settings, manifest)
    if not graph.trained:
        err.print("[bold yellow]UNTRAINED weights: these predictions are meaningless.[/]")
    return Here(settings, manifest, graph, labels, top_k or USUAL, explains=explains)


def _files(paths: Iterable[Path], piped: bytes | None) -> Iterator[File]:
    for path in paths:
        if path == STDIN:
            yield File(path, named=True, data=piped)
        else:
            yield from walk([path])


def _read_piped() -> bytes:
    if sys.stdin.isatty():
        raise typer.BadParameter("- is standard input, and nothing is piped into it")
    data = sys.stdin.buffer.read(_MOST_PIPED + 1)
    if len(data) > _MOST_PIPED:
        raise SetupError(f"Standard input has more than {_MOST_PIPED / 1e6:,.0f} MB.")
    return data
