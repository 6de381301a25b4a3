"""What a command takes from its environment: an API key, settings, and the model that they name."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.markup import escape

from app.cli.console import err, pull_bar
from app.errors import SetupError
from app.service.parts import provisioning
from app.service.settings import Settings
from app.weights.manifests import Manifest, load_catalog
from app.weights.pull import pull
from app.weights.store import ServingGraph

Key = Annotated[
    str | None,
    typer.Option(
        envvar="VGG_API_KEY",
        metavar="KEY",
        help="API key. It is never printed, but other users of this machine can see the options"
        " of a process.",
    ),
]


def read_settings() -> Settings:
    """Read the settings VGG_*, and warn of variables that are none."""
    known = {f"VGG_{name.upper()}" for name in Settings.model_fields} | {"VGG_API_KEY"}
    for name in sorted(os.environ):
        if name.startswith("VGG_") and name not in known:
            err.print(f"[yellow]warning:[/] {escape(name)} is not a setting of vgg-serve")
    try:
        return Settings()
    except ValidationError as exc:
        sentences = [_explain(error) for error in exc.errors()]
        raise SetupError("; ".join(sentences)) from exc


def _explain(error: Any) -> str:  # noqa: ANN401 (pydantic's own record)
    sentence = str(error.get("ctx", {}).get("error", error["msg"]))  # without "Value error, "
    if not error["loc"]:
        return sentence
    name = str(error["loc"][0]).upper()
    variable = name if name.startswith(("VGG_", "HF_")) else f"VGG_{name}"
    return f"{variable} is {os.environ.get(variable, error['input'])!r}: {sentence}"


def find_manifest(settings: Settings, name: str | None) -> Manifest:
    """Return the manifest of a model, of the first of VGG_MODELS without a name."""
    catalog = load_catalog(settings.model_dir)
    name = name or settings.models[0]
    if name not in catalog:
        raise SetupError(f"There is no model {name!r}; there are {', '.join(sorted(catalog))}.")
    return catalog[name]


def ready_graph(settings: Settings, manifest: Manifest) -> ServingGraph:
    """Return the serving graph of a model, pulled and built if it is not there, with a bar for it."""
    with pull_bar(manifest.name) as progress:
        return pull(manifest, provisioning(settings), progress)


def started_as(program: str, folder: Path, on_path: str | None) -> str:
    """Return how this command was started, so that the command lines in its help work.

    Args:
        program: The script, `sys.argv[0]`.
        folder: Where the user is.
        on_path: The vgg-serve that a shell finds, if it finds one.
    """
    script = Path(program).absolute()
    if script.name == "__main__.py":
        command, rest = Path(sys.executable), " -m app"
    elif on_path is not None and Path(on_path).absolute() == script:
        return script.name
    else:
        command, rest = script, ""
    near = command.relative_to(folder) if command.is_relative_to(folder) else command
    return f"{near}{rest}"
