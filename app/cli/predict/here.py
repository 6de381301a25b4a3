"""Classify files in this process, with the pixels and the graph of the service."""

import asyncio
from collections.abc import Sequence

import numpy as np

from app.cli.files import File, Trouble, TroubleError, read_photo
from app.cli.predict.result import FileResult
from app.errors import DeviceLostError, RequestError, ServiceError
from app.machine import usable_cpus
from app.records import (
    Evidence,
    Explainer,
    ImageInfo,
    Label,
    PixelBatch,
    Pixels,
    Probabilities,
    Seen,
)
from app.runtime.open_session import open_session
from app.service.parts import gpus, preparation
from app.service.settings import Settings
from app.serving.classifier import top_k as rank
from app.serving.explanation import explain, marks_of
from app.setup_errors import SetupError
from app.weights.manifests.manifest import Manifest
from app.weights.store import ServingGraph


class Here:
    """A loaded model; the next files are decoded while it runs.

    Attributes:
        ahead: Files to work on at a time.
    """

    def __init__(
        self,
        settings: Settings,
        manifest: Manifest,
        graph: ServingGraph,
        labels: Sequence[Label],
        top_k: int,
        *,
        explains: bool = False,
    ) -> None:
        """Load a model; the best `top_k` classes of each file are returned, or all it knows.

        Raises:
            SetupError: If `explains`, to say where the best class is, and the model cannot.
        """
        threads = settings.threads or usable_cpus()
        self._labels = labels
        self._prepare = preparation(settings)
        self._session = open_session(
            graph.path, device=settings.device, threads=threads, gpu=gpus(settings)[0]
        )
        self._explainer = self._find_explainer(manifest, graph) if explains else None
        self._manifest, self._trained, self._top_k = manifest, graph.trained, top_k
        self._precision = graph.precision if graph.precision == "int8" else None
        self._most_bytes = settings.all_upload_bytes
        self._running = asyncio.Lock()
        self.ahead = usable_cpus() + 1

    def waiting_for(self) -> str:
        """Return nothing: only a server has to be waited for."""
        return ""

    async def close(self) -> None:
        """Leave the model to the end of the process."""

    async def classify(self, file: File) -> FileResult:
        """Classify one file."""
        try:
            pixels, image = await asyncio.to_thread(self._decode, file)
            async with self._running:
                row, evidence = await asyncio.to_thread(self._run, pixels[None])
        except TroubleError as exc:
            return FileResult(file.path, trouble=exc.trouble)
        except DeviceLostError:
            raise
        except (RequestError, ServiceError) as exc:
            return FileResult(file.path, trouble=Trouble(exc.title, str(exc)))
        best = rank(row, self._labels, self._top_k)
        marks = None
        if evidence is not None:
            seen = Seen(np.array([best[0].class_index]), evidence.maps[0], None, 0.0)
            marks = marks_of(explain(seen, self._manifest, image, ()), best, {"heat"})
        name, trained = self._manifest.name, self._trained
        return FileResult(file.path, best, image, name, trained, self._precision, marks=marks)

    def _find_explainer(self, manifest: Manifest, graph: ServingGraph) -> Explainer:
        if not graph.trained:
            raise SetupError(
                f"--explain: the weights of {manifest.name} are untrained, so there is nothing to"
                " locate."
            )
        if graph.precision == "int8":
            raise SetupError(
                f"--explain: {manifest.name} computes in int8, and only float32 and float16 are explained."
                " Set VGG_PRECISION=float32, or leave --explain out."
            )
        if not self._session.explainers:
            raise SetupError(
                f"--explain: {manifest.name} cannot say where it sees a class, as only networks"
                " built here from a checkpoint can. Leave --explain out, or choose another --model."
            )
        return self._session.explainers[0]

    def _run(self, batch: PixelBatch) -> tuple[Probabilities, Evidence | None]:
        """Run one image, and explain its best class if that is wanted."""
        if self._explainer is None:
            return self._session.run(batch)[0], None
        rows, features = self._explainer.run_keeping(batch)
        best = np.array([[rows[0].argmax()]], np.int64)
        evidence = self._explainer.explain(features, np.zeros(1, np.int64), best, cells=False)
        return rows[0], evidence

    def _decode(self, file: File) -> tuple[Pixels, ImageInfo]:
        data = read_photo(file, self._most_bytes)
        pixels, image = self._prepare(data, self._manifest.preprocess)
        return np.ascontiguousarray(pixels), image
