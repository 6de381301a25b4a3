"""What the photos of one model are like, as counts: nothing here keeps a photo, its digest or its client.

The properties, each with the range of its values:

- brightness, contrast: mean and standard deviation of luma (0.299 R + 0.587 G + 0.114 B), 0 to 1, on a
  grid of about 12 x 12 pixels of what the network sees.
- shorter_side: pixels of the upload.
- entropy: of all probabilities, in bits; 0 to 9.97 for 1,000 classes.
- top1_probability, margin: the largest probability, and how much larger it is than the second.
"""

import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.images.formats import FORMATS
from app.records import ImageInfo, Pixels, Probabilities, ProbabilityBatch
from app.serving.drift.windows import PHOTO, encode, newest
from app.serving.metrics import Family
from app.weights.manifests.baseline import DECIMALS, OF_PHOTO, PROPERTIES, Baseline

COLOURS: Final = ("colour", "grey")
RATE: Final = 50.0
"""Photos per second that are always counted; of more, some: so that a busy server loses less than 1 % of its requests."""
AT_ONCE: Final = 2000.0
"""Photos that are counted faster than that, after a time with fewer."""
_SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_HISTOGRAMS: Final = (
    ("vgg_image_brightness", "Mean luma of what the network sees, 0 to 1.", _SHARES),
    ("vgg_image_contrast", "Standard deviation of luma, 0 to 1.", _SHARES),
    (
        "vgg_image_shorter_side_pixels",
        "Shorter side of the uploads, in pixels.",
        (32.0, 64.0, 128.0, 224.0, 256.0, 384.0, 512.0, 1024.0, 2048.0, 4096.0),
    ),
    (
        "vgg_prediction_entropy_bits",
        "Entropy of the probabilities of all classes.",
        (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0),
    ),
    ("vgg_top1_probability", "Probability of the first class.", (*_SHARES[:-1], 0.95, 0.99, 1.0)),
    ("vgg_margin", "Probability of the first class minus that of the second.", _SHARES),
)
"""Name, meaning and upper bounds of the histogram of each of PROPERTIES."""
_LUMA: Final = np.array([299, 587, 114], np.uint32)
_WHITE: Final = 255_000
_GRID: Final = 12
"""Pixels a side, at most: for more than 500 numbers numpy gives up the interpreter's lock, and in a busy server a
thread waits 25 times as long to have it back as it computes (measured: 12 us of work, 304 us of waiting)."""
_SMALLEST: Final = np.finfo(np.float32).tiny
_BLOCK: Final = 256
"""Photos that are put into their bins at once; of each, the probabilities are kept until then."""


class Look(NamedTuple):
    """What pixels are like: see the properties; and whether red, green and blue are the same."""

    brightness: float
    contrast: float
    grey: bool


def look(pixels: Pixels) -> Look:
    """Look at the input of a network; any thread may.

    Whole numbers and Python's own functions, as each call of numpy's takes 4 us in a busy server.
    """
    step = -(-len(pixels) // _GRID)
    some = pixels[step // 2 :: step, step // 2 :: step].reshape(-1, 3)
    values = some.tobytes()
    grey = values[::3] == values[1::3] == values[2::3]
    luma = (some @ _LUMA).tolist()
    mean = sum(luma) / len(luma)
    contrast = math.dist(luma, [mean] * len(luma)) / len(luma) ** 0.5
    return Look(mean / _WHITE, contrast / _WHITE, grey)


def certainty(rows: ProbabilityBatch) -> NDArray[np.float32]:
    """Return how sure answers are, [N, classes], as the properties [N, 3]."""
    entropy = -(rows * np.log2(np.maximum(rows, _SMALLEST))).sum(axis=1)
    best = rows.argmax(axis=1)[:, None]
    first = np.take_along_axis(rows, best, axis=1)[:, 0]
    others = rows.copy()
    np.put_along_axis(others, best, 0, axis=1)
    return np.stack([entropy, first, first - others.max(axis=1)], axis=1)


class Watch:
    """Counts the photos that a model answers in this process, for the event loop alone."""

    def __init__(
        self,
        model: str,
        *,
        trained: bool,
        baseline: Baseline | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing counted; answers of an untrained model mean nothing, and are not counted."""
        self._unusual = 0
        self._model = {"model": model}
        self._baseline = baseline if trained else None
        self._clock = clock
        self._allowance, self._last = AT_ONCE, clock()
        self._shown = PROPERTIES if trained else PROPERTIES[:OF_PHOTO]
        self._fresh: list[tuple[float, ...]] = []
        self._rows: list[bytes] = []
        bounds = [np.array(uppers) for *_, uppers in _HISTOGRAMS]
        self._bounds = bounds[: len(self._shown)]
        self._counts = [np.zeros(len(uppers) + 1, np.int64) for uppers in self._bounds]
        self._sums = [0.0] * len(self._shown)
        self._kinds = {(one.name, colour): 0 for one in FORMATS for colour in COLOURS}
        self._window = np.zeros(0, PHOTO)

    def wants(self) -> bool:
        """Return whether the next photo is to be counted."""
        now = self._clock()
        self._allowance = min(AT_ONCE, self._allowance + RATE * (now - self._last))
        self._last = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def count(self, seen: Look, image: ImageInfo, probabilities: Probabilities) -> None:
        """Count a photo that was answered."""
        brightness, contrast, grey = seen
        self._kinds[image.format, COLOURS[grey]] += 1
        side = min(image.width, image.height)
        if len(self._shown) > OF_PHOTO:
            self._rows.append(probabilities.tobytes())
        self._fresh.append((self._clock(), brightness, contrast, side))
        if len(self._fresh) >= _BLOCK:
            self._sum_up()

    def is_unusual(self, energy: float | None) -> bool:
        """Return whether a photo is unlike those that the model knows, and count it if so."""
        if self._baseline is None or self._baseline.energy is None or energy is None:
            return False
        unusual = energy < self._baseline.energy
        self._unusual += unusual
        return unusual

    def families(self) -> list[Family]:
        """Return what was counted, and the window for the index, as `Metrics.families` does."""
        self._sum_up()
        kinds = [
            ("vgg_images_total", {**self._model, "format": name, "colour": colour}, count)
            for (name, colour), count in self._kinds.items()
        ]
        families = [
            _family("vgg_images", "counter", "Photos by format, and whether grey.", kinds),
            *(
                _family(name, "histogram", text, self._samples(number))
                for number, (name, text, _) in enumerate(_HISTOGRAMS[: len(self._shown)])
            ),
        ]
        if self._baseline is None:
            return families
        if self._baseline.energy is not None:
            text = "Photos unlike those that the model knows: beyond 1 % of its baseline."
            samples = [("vgg_unusual_total", self._model, self._unusual)]
            families.append(_family("vgg_unusual", "counter", text, samples))
        if not self._baseline.properties:
            return families
        shares = {name: bins.shares for name, bins in self._baseline.properties.items()}
        window = [("vgg_drift_psi", self._model, encode(self._window, shares))]
        text = "Population stability index of the last 1,000 photos; NaN for less than 500."
        return [*families, _family("vgg_drift_psi", "window", text, window) | {"join": "newest"}]

    def _samples(self, number: int) -> list[tuple[str, dict[str, str], float]]:
        name = _HISTOGRAMS[number][0]
        uppers = [*map(str, self._bounds[number].tolist()), "+Inf"]
        counts = np.cumsum(self._counts[number]).tolist()
        buckets = [
            (f"{name}_bucket", {**self._model, "le": upper}, float(count))
            for upper, count in zip(uppers, counts, strict=True)
        ]
        return [
            *buckets,
            (f"{name}_count", self._model, float(counts[-1])),
            (f"{name}_sum", self._model, self._sums[number]),
        ]

    def _sum_up(self) -> None:
        """Put the photos since the last time into their bins."""
        if not self._fresh:
            return
        table, rows = np.array(self._fresh), b"".join(self._rows)
        self._fresh.clear()
        self._rows.clear()
        if rows:
            answers = np.frombuffer(rows, np.float32).reshape(len(table), -1)
            table = np.hstack([table, certainty(answers)])
        times, values = table[:, 0], np.round(table[:, 1:], DECIMALS)
        for number, uppers in enumerate(self._bounds):
            places = np.searchsorted(uppers, values[:, number])
            self._counts[number] += np.bincount(places, minlength=len(uppers) + 1)
            self._sums[number] += float(values[:, number].sum())
        if self._baseline is not None and self._baseline.properties:
            photos = np.zeros(len(times), PHOTO)
            photos["time"] = times
            for number, name in enumerate(PROPERTIES):
                edges = self._baseline.properties[name].edges
                photos["bins"][:, number] = np.searchsorted(edges, values[:, number])
            self._window = newest(self._window, photos)


def _family(name: str, kind: str, text: str, samples: list[Any]) -> Family:
    return {"name": name, "type": kind, "help": text, "join": "sum", "samples": samples}
