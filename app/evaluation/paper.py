"""The tests of the paper on labelled photos: their options, the views that they take, and the paper's own figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

import numpy as np

from app.images.paper_views import TestName, grid_crops, square, ten_crops, usual_scales
from app.images.prepare import Prepare
from app.images.whole import whole_photos
from app.records import Pixels, Preprocess, ProbabilityBatch, Run
from app.runtime.dense_session import DenseSession
from app.setup_errors import SetupError
from app.weights.manifests.manifest import MAX_SIDE

TESTS: Final[tuple[TestName, ...]] = get_args(TestName)
_SEVERAL: Final = frozenset({"multi-scale", "multi-crop"})
_DENSE: Final = frozenset({"dense", "multi-scale"})

_OXFORD: Final = {
    "sha256:a6196bc498e45ea4cb2637114ae8db9410cf1556fd60a55ae93272371beba197": "D",
    "sha384:86b83739d448a81ddc927922d4d7581e06113478106b5948"
    "0097b02cc63ff51c9da7c3cd8a865b08946d07d0281d5b2e": "E",
}
"""Digests of the files that the authors published, and the columns of the paper's table 1."""
_SCALES: Final = (256, 384, 512)
_ERRORS: Final[dict[str, tuple[tuple[TestName, tuple[int, ...], float, float], ...]]] = {
    "D": (
        ("dense", (384,), 25.6, 8.1),
        ("multi-scale", _SCALES, 24.8, 7.5),
        ("multi-crop", _SCALES, 24.6, 7.5),
    ),
    "E": (
        ("dense", (384,), 25.5, 8.0),
        ("multi-scale", _SCALES, 24.8, 7.5),
        ("multi-crop", _SCALES, 24.6, 7.4),
    ),
}
"""Top-1 and top-5 errors on ImageNet's validation photos, per cent."""
_SOURCE: Final = "arXiv 1409.1556, tables 3 to 5, trained on scales from 256 to 512"
_TORCHVISION: Final = (
    "No figure of the paper's tests has been published for these weights, which torchvision trained;"
    " that of the manifest is of a single centre crop."
)


@dataclass(frozen=True, slots=True)
class PaperTest:
    """How photos are classified.

    Attributes:
        name: `single` is the centre crop, as the service answers.
        scales: Lengths of the shorter side, in pixels; none of `single`, whose scale is the manifest's.
    """

    name: TestName = "single"
    scales: tuple[int, ...] = ()

    @property
    def dense(self) -> bool:
        """Return whether it runs a network on whole photos."""
        return self.name in _DENSE

    def views(self, prepare: Prepare, data: bytes, preprocess: Preprocess) -> list[Pixels]:
        """Return what it sees of a photo, for each scale: all of it, or its crops.

        Raises:
            RequestError: If the photo cannot be decoded, or is a strip.
        """
        crop = preprocess.crop
        if self.name == "ten-crop":
            squares = [prepare(data, square(preprocess, scale))[0] for scale in self.scales]
            return [ten_crops(one, crop) for one in squares]
        wholes, _ = whole_photos(prepare, data, self.scales)
        return wholes if self.dense else [grid_crops(one, crop) for one in wholes]


SINGLE: Final = PaperTest()
"""The centre crop."""


def read_test(name: str, scales: str | None, preprocess: Preprocess) -> PaperTest:
    """Return the test of `--test` and `--scales`.

    Raises:
        SetupError: If there is no such test, or a scale that it cannot have.
    """
    if name not in TESTS:
        raise SetupError(f"--test is {name!r}, expected one of {', '.join(TESTS)}.")
    test = TESTS[TESTS.index(name)]
    if test == "single":
        if scales is not None:
            raise SetupError("--scales is for another --test: `single` takes the manifest's crop.")
        return SINGLE
    if scales is None:
        return PaperTest(test, usual_scales(test, preprocess))
    wanted = tuple(_scale(text.strip(), preprocess.crop) for text in scales.split(","))
    if len({*wanted}) < len(wanted):
        raise SetupError(f"--scales is {scales!r}: a scale is there twice.")
    if len(wanted) > 1 and test not in _SEVERAL:
        raise SetupError(
            f"--scales is {scales!r}: --test {test} has one scale; multi-scale and multi-crop have several."
        )
    return PaperTest(test, wanted)


def _scale(text: str, crop: int) -> int:
    if text.isascii() and text.isdigit() and crop <= int(text) <= MAX_SIDE:
        return int(text)
    raise SetupError(
        f"--scales has {text!r}: expected lengths of the shorter side in pixels, from the model's"
        f" crop, {crop}, to {MAX_SIDE}, separated by commas."
    )


def mean_of_crops(views: Sequence[Pixels], run: Run, batch: int) -> ProbabilityBatch:
    """Classify all crops of a photo, and average their probabilities.

    Args:
        views: uint8 [N, crop, crop, 3] of each scale.
        run: Of the session.
        batch: Crops of a run.

    Returns:
        float32 [1, classes].
    """
    crops = np.concatenate(views)
    rows = np.concatenate([run(crops[at : at + batch]) for at in range(0, len(crops), batch)])
    return _mean(rows)


def mean_of_scales(views: Sequence[Pixels], session: DenseSession) -> ProbabilityBatch:
    """Classify a whole photo at each scale, and average the probabilities: float32 [1, classes]."""
    return _mean(np.stack([session.classify(one).probabilities for one in views]))


def _mean(rows: ProbabilityBatch) -> ProbabilityBatch:
    return np.asarray(rows.mean(axis=0, keepdims=True, dtype=np.float64), np.float32)


def paper_figures(weights: str, source: str, test: PaperTest, *, trained: bool) -> dict[str, Any]:
    """Return the paper's figures, as fractions of right answers, for the weights for which they hold.

    Args:
        weights: Digest of their file: `sha256:` or `sha384:` and hex digits; empty if it is not known.
        source: Who measured the accuracy in their manifest; empty if it is not known.
        test: The user's own.
        trained: Whether they are trained.

    Returns:
        `source`, `rows` and `note`, which says why there are none; each row has `test`, `scales`, `top1`,
        `top5`, and whether it is of this `same` test.
    """
    rows = _ERRORS.get(_OXFORD.get(weights, ""), ()) if trained else ()
    entries = [
        {
            "test": name,
            "scales": [*scales],
            "top1": round(1 - top1 / 100, 4),
            "top5": round(1 - top5 / 100, 4),
            "same": (name, scales) == (test.name, test.scales),
        }
        for name, scales, top1, top5 in rows
    ]
    return {
        "source": _SOURCE if entries else None,
        "rows": entries,
        "note": _TORCHVISION if trained and "torchvision" in source else None,
    }
