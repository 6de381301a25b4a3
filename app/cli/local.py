"""Classify files without a server: the same weights, the same pixels, the same graph."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from app.errors import RequestError
from app.images.prepare import Prepare
from app.records import ImageInfo, Prediction
from app.runtime.cuda_tuning import Gpu
from app.runtime.session import Session
from app.serving.ranking import top_k
from app.weights.labels import load_labels
from app.weights.manifests import Manifest
from app.weights.provisioning import Progress, Provisioning
from app.weights.pull import pull


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file.

    Attributes:
        path: The file.
        predictions: The best first; empty if it failed.
        image: What it is; None if it failed.
        model: Who says so.
        trained: False if that was a stand-in that never saw an image; None if it failed.
        error: Why it failed; None if it did not.
    """

    path: Path
    predictions: tuple[Prediction, ...] = ()
    image: ImageInfo | None = None
    model: str | None = None
    trained: bool | None = None
    error: str | None = None


class LocalModel:
    """A model in this process, one image at a time."""

    def __init__(
        self,
        manifest: Manifest,
        provisioning: Provisioning,
        progress: Progress,
        *,
        device: Literal["auto", "cpu", "cuda"],
        threads: int,
        prepare: Prepare,
        gpu: Gpu | None = None,
    ) -> None:
        """Fetch and load whatever is needed.

        Args:
            manifest: Of the model.
            provisioning: Where its weights come from.
            progress: Told what is being done.
            device: `auto`, `cpu` or `cuda`.
            threads: Of a run, on a CPU.
            prepare: Makes pixels of a file.
            gpu: Which, on CUDA; None for the first.

        Raises:
            SetupError: If that fails.
        """
        self.manifest = manifest
        graph = pull(manifest, provisioning, progress)
        self.trained = graph.trained
        self.weights_sha256 = graph.weights_sha256
        self._labels = load_labels(manifest.labels, provisioning.model_dir)
        self._session = Session(graph.path, device=device, threads=threads, gpu=gpu)
        self._prepare = prepare

    def classify(self, paths: Sequence[Path], k: int) -> Iterator[FileResult]:
        """Classify files in order; one that fails does not keep the others.

        Args:
            paths: Image files.
            k: How many classes to return, 1 to 1000.

        Raises:
            RunFailedError: If the model fails.
        """
        for path in paths:
            try:
                pixels, image = self._prepare(path.read_bytes(), self.manifest.preprocess)
            except (RequestError, OSError) as exc:
                yield FileResult(path, error=str(exc))
                continue
            probabilities = self._session.run(np.ascontiguousarray(pixels[None]))[0]
            yield FileResult(
                path,
                predictions=top_k(probabilities, self._labels, k),
                image=image,
                model=self.manifest.name,
                trained=self.trained,
            )
