"""Classify files: in this process, with the pixels and the graph of the service, or on a server."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from app.errors import RequestError, SetupError
from app.machine import usable_cpus
from app.records import ImageInfo, Prediction
from app.runtime.open_session import open_session
from app.service.parts import gpus, preparation
from app.service.settings import Settings
from app.serving.classifier import top_k as rank
from app.web.keys import authorization
from app.weights.labels import load_labels
from app.weights.manifests import Manifest
from app.weights.store import ServingGraph

_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file: predictions, image and model, or an error.

    Attributes:
        path: The file.
        predictions: Best first.
        image: Size and format.
        model: Name of the model.
        trained: False for untrained weights of the true size.
        error: Why the file failed; None if it did not.
    """

    path: Path
    predictions: tuple[Prediction, ...] = ()
    image: ImageInfo | None = None
    model: str | None = None
    trained: bool | None = None
    error: str | None = None


def classify_here(
    settings: Settings, manifest: Manifest, graph: ServingGraph, paths: Sequence[Path], top_k: int
) -> Iterator[FileResult]:
    """Load a model and classify files one after another; one that fails does not end it.

    The best 1 to 1000 classes of each file are returned.
    """
    labels = load_labels(manifest.labels, settings.model_dir)
    prepare = preparation(settings)
    threads = settings.threads or usable_cpus()
    gpu = gpus(settings)[0]
    session = open_session(graph.path, device=settings.device, threads=threads, gpu=gpu)
    for path in paths:
        try:
            pixels, image = prepare(path.read_bytes(), manifest.preprocess)
        except (RequestError, OSError) as exc:
            yield FileResult(path, error=str(exc))
            continue
        best = rank(session.run(np.ascontiguousarray(pixels[None]))[0], labels, top_k)
        yield FileResult(path, best, image, manifest.name, graph.trained)


def classify_remotely(
    url: str, paths: Sequence[Path], *, model: str | None, top_k: int, key: str | None = None
) -> Iterator[FileResult]:
    """Post files one after another; one that is refused does not end it.

    The URL may lack its scheme; without a model it is the server's default.
    """
    if "://" not in url:
        url = f"http://{url}"  # as curl does
    params: dict[str, str | int] = {"top_k": top_k, **({"model": model} if model else {})}
    headers = {"Authorization": authorization(key)} if key else {}
    with httpx.Client(base_url=url, timeout=_TIMEOUT, headers=headers) as client:
        for path in paths:
            try:
                answer = client.post("/predict", params=params, content=path.read_bytes())
                body = answer.json()
                if answer.status_code == httpx.codes.OK:
                    yield _result(path, body)
                else:
                    yield FileResult(path, error=str(body["detail"]))
            except OSError as exc:
                yield FileResult(path, error=str(exc))
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                raise SetupError(
                    f"No answer from {url}: {exc!r}. Check the URL and that the server runs."
                ) from exc
            except (ValueError, KeyError, TypeError) as exc:
                raise SetupError(f"The server at {url} is not a vgg-serve.") from exc


def _result(path: Path, body: dict[str, dict[str, object]]) -> FileResult:
    return FileResult(
        path,
        predictions=tuple(Prediction(**row) for row in body["predictions"]),  # type: ignore[arg-type] # the call checks its keys
        image=ImageInfo(**body["image"]),  # type: ignore[arg-type] # the same
        model=str(body["model"]["name"]),
        trained=bool(body["model"]["trained"]),
    )
