"""`vgg-serve import`: serve one's own training of a VGG."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from app.cli.console import out, predictions_table
from app.cli.environment import read_settings, ready_graph
from app.cli.files import File
from app.cli.predict.here import Here
from app.serving.ask_classifier import ask_classifier, run_alone
from app.serving.classifier import USUAL
from app.weights.import_model import Trained, import_model
from app.weights.labels import load_labels


def import_(
    file: Annotated[
        Path, typer.Argument(help="Weights: .pth, .safetensors, .h5, .caffemodel or .onnx.")
    ],
    labels: Annotated[
        Path, typer.Option(help="Text file of the classes, in the order of the output.")
    ],
    name: Annotated[str, typer.Option(help="What requests will call the model.")],
    preprocess: Annotated[
        Trained, typer.Option(help="Whose preprocessing it was trained with.")
    ] = "torchvision",
    license_: Annotated[
        str, typer.Option("--license", help="SPDX identifier of the weights' licence.")
    ] = "unknown",
    check: Annotated[Path | None, typer.Option(help="Photo to classify with it at once.")] = None,
) -> None:
    """Import your own training of a VGG: the network is recognised by its weights.

    Writes NAME.safetensors, NAME.txt and NAME.toml into the model folder. Nothing of a checkpoint is run.
    An ONNX file is run on a few images. If it computes a VGG, it is served as one; any other network is
    copied to NAME.onnx and served as it is.
    """
    settings = read_settings()
    imported = import_model(
        file,
        labels,
        name,
        settings.model_dir,
        ask=ask_classifier,
        run_alone=run_alone,
        trained=preprocess,
        license_=license_,
    )
    manifest, why = imported.manifest, imported.why_as_it_is
    network, side = manifest.architecture, manifest.preprocess.crop
    what = f"configuration {network.configuration}" if network else "an ONNX graph as it is"
    out.print(
        f"{escape(name)}: {what}, {side} x {side} pixels, preprocessing of {preprocess}. Serve it with VGG_MODELS={escape(name)}.",
        soft_wrap=True,
    )
    if why:
        out.print(f"No VGG was recognised in it: the file {escape(why)}.", soft_wrap=True)
    if check is not None:
        names = load_labels(manifest.labels, settings.model_dir)
        here = Here(settings, manifest, ready_graph(settings, manifest), names, USUAL)
        result = asyncio.run(here.classify(File(check, named=True)))
        out.print(result.error or predictions_table(str(check), result.predictions))
