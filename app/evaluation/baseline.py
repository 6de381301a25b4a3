"""The usual photos of a model, gathered while they are classified: the baseline of drift."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from app.evaluation.answers import Answer
from app.records import LastEnergies, PixelBatch, Pixels, ProbabilityBatch, Run
from app.serving.drift.watch import Look, certainty, look
from app.setup_errors import SetupError
from app.weights.manifests.baseline import LEAST, Baseline, Facts, make_baseline
from app.weights.manifests.manifest import Manifest

UNTRAINED: Final = (
    "The weights are untrained: their answers mean nothing, and there is no baseline."
)


class UsualPhotos:
    """What photos and their answers are like, with the functions of the service.

    Attributes:
        wanted: Whether anything is gathered.
    """

    def __init__(self, *, wanted: bool = True) -> None:
        """Start with no photo."""
        self.wanted = wanted
        self._looks: dict[str, Look] = {}
        self._facts: dict[str, tuple[float, ...]] = {}
        self._energies: list[float] = []

    def decoded(self, name: str, pixels: Pixels) -> None:
        """Look at the pixels of a photo; called in any thread."""
        if self.wanted:
            self._looks[name] = look(pixels)

    def watching(self, run: Run, last: Sequence[LastEnergies]) -> Run:
        """Return a run that adds the energies of each batch, if its graph has logits."""
        if not (self.wanted and last):
            return run

        def watched(batch: PixelBatch) -> ProbabilityBatch:
            rows = run(batch)
            energies = last[0]()
            if energies is not None:  # it may have run an image twice, see `even`
                self._energies += energies[: len(rows)].tolist()
            return rows

        return watched

    def answered(self, answer: Answer) -> None:
        """Add an answer, unless the photo has none."""
        if self.wanted and not answer.trouble:
            brightness, contrast, _ = self._looks.pop(answer.name)
            side = min(answer.size)
            sure = certainty(answer.row[None])[0].tolist()
            self._facts[answer.name] = (brightness, contrast, side, *sure)

    def baseline(self, manifest: Manifest, weights_sha256: str) -> Baseline:
        """Return the baseline of these photos.

        Raises:
            SetupError: If they are too few.
        """
        if len(self._facts) < LEAST:
            raise SetupError(
                f"--baseline: {len(self._facts)} photos were classified, expected {LEAST} at least,"
                " better some thousands, of those that the model will see."
            )
        facts: Facts = np.array([*self._facts.values()], np.float64)
        energies = np.array(self._energies) if self._energies else None
        return make_baseline(facts, energies, manifest, weights_sha256)
