"""Progress bars and tables of the command line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from app.graph.vgg import VggConfig
from app.records import Prediction, Step, percent
from app.records import Progress as PullProgress
from app.texts import printable
from app.weights.manifests.manifest import Manifest

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


@contextmanager
def pull_bar(name: str) -> Iterator[PullProgress]:
    """Show the step of a pull, its bytes, speed and remaining time."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
    with bar if err.is_terminal else nullcontext():  # a log would get an empty line of it
        task = bar.add_task(name, total=None)
        shown: Step | None = None

        def progress(step: Step, done: int, total: int | None) -> None:
            nonlocal shown
            if step != shown:
                bar.reset(task, description=f"{name}: {step}")
                shown = step
            if step == "calibrating" and total:  # runs, not bytes
                bar.update(task, description=f"{name}: {step}, {done} of {total} runs")
                return
            bar.update(task, completed=done, total=total)

        yield progress


def predictions_table(title: str, predictions: Sequence[Prediction]) -> Table:
    """Lay out the predictions for one file."""
    table = Table(
        title=escape(printable(title)), title_justify="left", box=None, header_style="bold"
    )
    table.add_column("", justify="right")
    table.add_column("probability", justify="right")
    table.add_column("label")
    table.add_column("wnid", style="dim")
    table.add_column("class", justify="right", style="dim")
    for row in predictions:
        share, index = percent(row.probability), str(row.class_index)
        table.add_row(str(row.rank), share, escape(printable(row.label)), row.wnid or "", index)
    return table


def catalog_table(manifests: Sequence[Manifest]) -> Table:
    """Lay out a list of models."""
    table = Table(box=None, header_style="bold")
    for column in ("name", "title", "top-1", "top-5", "weights"):
        table.add_column(column, justify="right" if column.startswith("top") else "left")
    for manifest in manifests:
        accuracy = manifest.accuracy
        table.add_row(
            manifest.name,
            escape(manifest.title),
            f"{accuracy.top1:.1f} %" if accuracy else "",
            f"{accuracy.top5:.1f} %" if accuracy else "",
            manifest.onnx or (manifest.checkpoint.file if manifest.checkpoint else ""),
        )
    return table


def layer_table(config: VggConfig) -> Table:
    """Lay out the layers of a network of the VGG family, as its paper names them."""
    table = Table(
        title=f"configuration {config.configuration}", box=None, header_style="bold",
        show_footer=True, footer_style="bold",
    )  # fmt: skip
    table.add_column("layer", "sum")
    table.add_column("kernel/stride")
    for column, total in (
        ("output", ""),
        ("parameters", f"{config.parameters():,}"),
        ("multiply-adds", f"{config.multiply_adds():,}"),
        ("sees", ""),
    ):
        table.add_column(column, total, justify="right", no_wrap=True)
    for row in config.layers():
        table.add_row(
            row.name,
            f"{row.kernel}x{row.kernel}/{row.stride}" if row.kernel else "",
            "x".join(str(side) for side in row.output_shape),
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            f"{row.receptive_field}x{row.receptive_field}",
        )
    return table
