"""Make an int8 graph: look at photos in float32, build it, and compare its answers before it is kept."""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from app.graph.conv_plan import DIRECT
from app.graph.int8.calibration import (
    PROBE_FILE,
    Probe,
    Ranges,
    calibrate,
    save_ranges,
    write_probes,
)
from app.graph.int8.int8_graph import int8_size, write_int8
from app.graph.serving_graph import GRAPH_FILE, OUTPUT, graph_size, write_vgg
from app.graph.vgg import VggConfig
from app.records import Layer, PixelBatch, Preprocess, ProbabilityBatch, Tensor
from app.weights.calibration.agreement import Agreement, compare, save_agreement
from app.weights.calibration.photos import PhotoFiles, Sets

OpenProbe: TypeAlias = Callable[[Path], Probe]
"""Loads a graph on the CPU; what it returns runs a batch, and gives all outputs by name."""

_EXACT: Final = ".float32"
"""Folder of the float32 graph while it is needed."""


@dataclass(frozen=True, slots=True)
class CalibratedGraph:
    """An int8 graph that is wanted.

    Attributes:
        config: The network.
        layers: Gives its layers, in order; called once for each of two graphs.
        preprocess: Of the weights.
        trained: Whether answers mean something, so that they have to agree.
        files: The photos.
        open_probe: Loads a graph.
        progress: Called with the runs done, of how many; there are two for each image.
        temperature: Of the model; both graphs answer at it.
    """

    config: VggConfig
    layers: Callable[[], Iterable[tuple[str, Layer]]]
    preprocess: Preprocess
    trained: bool
    files: PhotoFiles
    open_probe: OpenProbe
    progress: Callable[[int, int], None]
    temperature: float = 1.0

    @property
    def size(self) -> int:
        """Estimate how many bytes will be written, those of the float32 graph among them."""
        return int8_size(self.config) + graph_size(self.config, "float32", DIRECT)

    def write(self, place: Path) -> None:
        """Write the graph, its ranges and how far it agrees with float32 into an existing folder.

        Raises:
            CalibrationError: If no photo can be decoded, or trained weights answer too differently.
        """
        sets = self.files.read(self.preprocess)
        photos, held_back = sets
        images = np.concatenate([photos.images, held_back])
        ranges, exact = self._in_float32(place / _EXACT, sets, 2 * len(images))
        write_int8(
            place,
            self.config,
            self.layers(),
            self.preprocess,
            ranges,
            temperature=self.temperature,
        )
        save_ranges(place, ranges)
        asked = _Asked(self.open_probe(place / GRAPH_FILE), self.progress, 2 * len(images))
        asked.done = len(images)
        for image in images:
            asked(image[np.newaxis])
        agreement = Agreement(
            source=photos.source,
            photos_sha256=self.files.digest,
            calibrated=len(photos.images),
            held_back=len(held_back),
            **compare(exact, asked.answers),
        )
        if self.trained:
            agreement.check()
        save_agreement(place, agreement)

    def _in_float32(self, folder: Path, sets: Sets, runs: int) -> tuple[Ranges, ProbabilityBatch]:
        """Return what goes into each layer, and the answers to the photos and to those held back."""
        folder.mkdir()
        try:
            write_vgg(
                folder,
                self.config,
                self.layers(),
                self.preprocess,
                temperature=self.temperature,
            )
            write_probes(folder, self.config)
            asked = _Asked(self.open_probe(folder / PROBE_FILE), self.progress, runs)
            photos, held_back = sets
            ranges = calibrate(asked, photos, self.config)
            for image in held_back:
                asked(image[np.newaxis])
            return ranges, asked.answers
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class _Asked:
    """A graph that is run on one image after the other; its answers are kept."""

    def __init__(self, probe: Probe, progress: Callable[[int, int], None], runs: int) -> None:
        self.done = 0
        self._probe = probe
        self._progress = progress
        self._runs = runs
        self._rows: list[ProbabilityBatch] = []

    @property
    def answers(self) -> ProbabilityBatch:
        """Return the probabilities, in the order of the runs."""
        return np.concatenate(self._rows)

    def __call__(self, batch: PixelBatch) -> Mapping[str, Tensor]:
        outputs = self._probe(batch)
        self._rows.append(outputs[OUTPUT])
        self.done += len(batch)
        self._progress(self.done, self._runs)
        return outputs
