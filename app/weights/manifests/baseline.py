"""The photos that a model is used to, as histograms: what drift is measured against (`NAME.baseline.json`).

`vgg-serve evaluate FOLDER --baseline FILE` writes the file. It has counts of photos and no photo.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from stat import S_ISREG
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from app.records import Preprocess
from app.setup_errors import ManifestError
from app.weights.manifests.catalog import find_file
from app.weights.manifests.manifest import Manifest

Facts: TypeAlias = NDArray[np.float64]
"""float64 [photos, properties], in the order of PROPERTIES; not a number for what is not known."""

PROPERTIES: Final = (
    *("brightness", "contrast", "shorter_side"),  # of the photo
    *("entropy", "top1_probability", "margin"),  # of the answer
)
"""What is compared; `app.serving.drift.watch` computes and explains each."""
OF_PHOTO: Final = 3
"""How many of PROPERTIES are of the photo alone."""
DECIMALS: Final = 5
"""Of each value, so that values that differ by the rounding of a device are the same."""
LEAST: Final = 100
"""Photos that a baseline is made of at least."""
ADVISED: Final = 1000
"""Photos below which chance alone moves the index: by about 9 / photos."""
OUTSIDE: Final = 0.01
"""Share of the baseline's photos that count as unusual."""

_FORMAT: Final = "vgg-serve baseline 1"
_PARTS: Final = 10
_MOST_BYTES: Final = 2**20
_MOST_EDGES: Final = 100
_MOST_PHOTOS: Final = 10**12
_NO_OTHERS: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_NO_OTHERS)
class Bins:
    """How one property is distributed.

    Attributes:
        up_to: The largest value of each bin, ascending; one more bin holds what is larger.
        photos: In each bin.
    """

    up_to: Annotated[
        tuple[Annotated[float, Field(strict=True, allow_inf_nan=False)], ...],
        Field(min_length=1, max_length=_MOST_EDGES),
    ]
    photos: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=_MOST_PHOTOS)], ...], Field(min_length=2)
    ]

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """Return `up_to` as an array."""
        return np.array(self.up_to)

    @cached_property
    def shares(self) -> list[float]:
        """Return the share of the photos in each bin."""
        total = sum(self.photos)
        return [count / total for count in self.photos]


@dataclass(frozen=True, config=_NO_OTHERS)
class Baseline:
    """What a model's usual photos are like.

    Attributes:
        model: Its name.
        weights_sha256: Of the weights that answered.
        preprocess: How photos became its input.
        photos: How many there were.
        energy: The first percentile of the log of the sum of exponentials of the logits: a photo
            below it is unusual. None for a graph that gives no logits.
        properties: Each of PROPERTIES; none of a baseline that was made at another temperature.
        temperature: Of the model that answered; the energy does not depend on it.
    """

    model: str
    weights_sha256: str
    preprocess: dict[str, Any]
    photos: Annotated[int, Field(strict=True, ge=LEAST, le=_MOST_PHOTOS)]
    energy: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None
    properties: dict[Literal[PROPERTIES], Bins]  # type: ignore[valid-type] # from the tuple
    format: Literal["vgg-serve baseline 1"] = _FORMAT
    temperature: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 1.0

    def fits(self, weights_sha256: str, preprocess: Preprocess) -> bool:
        """Return whether it was made with these weights and this preprocessing."""
        return weights_sha256 == self.weights_sha256 and self.preprocess == _plain(preprocess)

    def at(self, temperature: float) -> "Baseline":
        """Return what holds at a temperature: of one that is not its own, the energy alone."""
        return self if temperature == self.temperature else replace(self, properties={})


def make_baseline(
    facts: Facts, energies: NDArray[np.float64] | None, manifest: Manifest, weights_sha256: str
) -> Baseline:
    """Return the baseline of photos: ten bins a property that hold about as many photos each.

    A value that a tenth of the photos share, such as a usual size, gets a bin of its own.
    """
    values = np.round(facts, DECIMALS)
    return Baseline(
        manifest.name,
        weights_sha256,
        _plain(manifest.preprocess),
        len(facts),
        None if energies is None else float(np.quantile(energies, OUTSIDE)),
        {name: _bins(values[:, number]) for number, name in enumerate(PROPERTIES)},
        temperature=manifest.temperature,
    )


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write a file that `read_baseline` reads; OSError if that cannot be."""
    text = json.dumps({"format": _FORMAT} | asdict(baseline), indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")


def find_baseline(manifest: Manifest, model_dir: Path) -> Baseline | None:
    """Read the file that a manifest names, or `NAME.baseline.json` if that is there.

    Raises:
        ManifestError: If the file that is named is missing, or a file is no baseline.
    """
    path = find_file(manifest.baseline or f"{manifest.name}.baseline.json", model_dir)
    if manifest.baseline is None and not path.exists():
        return None
    return read_baseline(path)


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        ManifestError: If the file is missing or malformed; the sentence names the key.
    """
    try:
        if not S_ISREG(path.stat().st_mode):  # never wait for a pipe
            raise ManifestError(path, "", "is not a file, expected a baseline")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ManifestError(path, "", f"is larger than {_MOST_BYTES} bytes, as no baseline is")
        content = json.loads(data)
    except OSError as exc:
        raise ManifestError(path, "", f"cannot be read as a baseline: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise ManifestError(path, "", f"is not JSON, expected a baseline: {exc}") from exc
    try:
        baseline = TypeAdapter(Baseline).validate_python(content)
    except ValidationError as exc:
        first = exc.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ManifestError(path, place, f"{first['msg']}. {_REMEDY}") from exc
    if problem := next(_contradictions(baseline), None):
        raise ManifestError(path, *problem)
    return baseline


_REMEDY: Final = "Make it with: vgg-serve evaluate FOLDER --baseline FILE"


def _contradictions(baseline: Baseline) -> Iterator[tuple[str, str]]:
    for name in PROPERTIES:
        if name not in baseline.properties:
            yield f"properties.{name}", f"is missing. {_REMEDY}"
            continue
        bins = baseline.properties[name]
        if any(low >= high for low, high in pairwise(bins.up_to)):
            yield f"properties.{name}.up_to", "has to ascend"
        if len(bins.photos) != len(bins.up_to) + 1:
            yield (
                f"properties.{name}.photos",
                f"has {len(bins.photos)} counts, expected {len(bins.up_to) + 1}, one more than up_to",
            )
        if sum(bins.photos) != baseline.photos:
            yield (
                f"properties.{name}.photos",
                f"adds up to {sum(bins.photos)}, expected {baseline.photos}, the photos of the file",
            )


def _bins(values: NDArray[np.float64]) -> Bins:
    ways = np.linspace(0, 1, _PARTS + 1)[1:-1]
    found, times = np.unique(np.quantile(values, ways, method="inverted_cdf"), return_counts=True)
    edges = np.unique(np.concatenate([found, np.nextafter(found[times > 1], -np.inf)]))
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return Bins(tuple(edges.tolist()), tuple(counts.tolist()))


def _plain(preprocess: Preprocess) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(preprocess)))
    return plain
