"""Classify files in this process, with the weights, the pixels and the graph of the service."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import RequestError
from app.machine import usable_cpus
from app.records import ImageInfo, Prediction, Progress
from app.runtime.open_session import open_session
from app.service.parts import gpus, preparation, provisioning
from app.service.settings import Settings
from app.serving.ranking import top_k
from app.weights.labels import load_labels
from app.weights.manifests import Manifest
from app.weights.pull import pull


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


class LocalModel:
    """A model in this process, which classifies one image at a time."""

    def __init__(self, settings: Settings, manifest: Manifest, progress: Progress) -> None:
        """Fetch the weights if they are missing, and load the model.

        Raises:
            SetupError: If the weights or the device are missing.
        """
        graph = pull(manifest, provisioning(settings), progress)
        self.trained = graph.trained
        self._manifest = manifest
        self._labels = load_labels(manifest.labels, settings.model_dir)
        self._prepare = preparation(settings)
        self._session = open_session(
            graph.path,
            device=settings.device,
            threads=settings.threads or usable_cpus(),
            gpu=gpus(settings)[0],
        )

    def classify(self, paths: Sequence[Path], k: int) -> Iterator[FileResult]:
        """Classify image files in order; after one that fails the next ones follow all the same.

        Args:
            paths: Image files.
            k: Number of classes to return, 1 to 1000.

        Raises:
            RunFailedError: If the model fails.
        """
        for path in paths:
            try:
                pixels, image = self._prepare(path.read_bytes(), self._manifest.preprocess)
            except (RequestError, OSError) as exc:
                yield FileResult(path, error=str(exc))
                continue
            probabilities = self._session.run(np.ascontiguousarray(pixels[None]))[0]
            yield FileResult(
                path,
                predictions=top_k(probabilities, self._labels, k),
                image=image,
                model=self._manifest.name,
                trained=self.trained,
            )
