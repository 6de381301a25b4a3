"""What a command takes from its environment: an API key, settings, and the model that they name."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.markup import escape

from app.cli.console import err, pull_bar
from app.service.parts import provisioning
from app.service.settings import DEFAULT_PORT, SERVICE_LINK, Settings
from app.setup_errors import SetupError
from app.weights.manifests.catalog import load_catalog
from app.weights.manifests.manifest import Manifest
from app.weights.pull import pull
from app.weights.store import ServingGraph

_OF_A_SERVICE: Final = re.compile(
    r"VGG_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Variables that Kubernetes sets for Services whose names begin with vgg, and Docker for linked containers."""

Key = Annotated[
    str | None,
    typer.Option(
        envvar="VGG_API_KEY",
        metavar="KEY",
        help="API key. It is never printed, but other users of this machine can see the options"
        " of a process.",
    ),
]


def _print_warning(sentence: str) -> None:
    err.print(f"[yellow]warning:[/] {escape(sentence)}")


def read_settings(warn: Callable[[str], None] = _print_warning) -> Settings:
    """Read the settings VGG_*, and warn of variables that are none.

    Raises:
        SetupError: If a setting is wrong; the sentence names it.
    """
    known = {f"VGG_{name.upper()}" for name in Settings.model_fields} | {"VGG_API_KEY", "VGG_URL"}
    for name, value in sorted(os.environ.items()):
        if name == "VGG_PORT" and SERVICE_LINK.fullmatch(value):
            warn(
                f"{name} is {value!r}, the address of a Service called vgg: it is ignored, and the"
                f" port is {DEFAULT_PORT}. Set `enableServiceLinks: false`, or another port."
            )
        elif name.startswith("VGG_") and name not in known and not _OF_A_SERVICE.fullmatch(name):
            warn(f"{name} is not a setting of vgg-serve")
    try:
        settings = Settings()
    except ValidationError as exc:
        sentences = [_explain(error) for error in exc.errors()]
        raise SetupError("; ".join(sentences)) from exc
    _look_into(settings.model_dir)
    return settings


def _look_into(model_dir: Path) -> None:
    """Refuse a folder that is there and cannot be read; one that is missing is made once it is needed."""
    try:
        next(model_dir.iterdir(), None)
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise SetupError(
            f"The model folder cannot be read: {exc}. Set VGG_MODEL_DIR to a folder that can."
        ) from exc


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
