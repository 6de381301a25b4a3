"""Measure how well the boxes of a model fit, its class given, on photos with boxes.

    python -m tests.measure_localisation
    python -m tests.measure_localisation --method grad-cam --layers conv5_3
    python -m tests.measure_localisation --model vgg16 --photos FILE.zip

The photos are by default those of ../shared/data (or $VGG_TEST_DATA) for vgg16-mini: 10,100 JPEGs of 64 x 64
pixels, which the network sees whole. FILE.zip has val.csv, with file, wnid, xmin, ymin, xmax and ymax in
pixels, maxima inclusive, and images/FILE. A box is right if its IoU with the photo's is 0.5 or more. The
threshold is the best on a random half of the photos, and so is the size of the centre box; the shares
printed are of the other half.
"""

import argparse
import csv
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.graph.explain import resolved
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.images.crop import crop_of
from app.images.header_limits import ImageLimits
from app.images.map_box import find_box
from app.images.prepare import prepare
from app.records import Area, Explanation, Preprocess
from app.runtime.cpu_session import CpuSession
from app.weights.checkpoints.read import read_checkpoint
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import BUILT_IN, find_file, read_manifest
from tests.conftest import SHARED_DATA

THRESHOLDS = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5]
SHARES = [0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0]
BATCH = 50
RIGHT = 0.5


@dataclass(frozen=True)
class Photo:
    """A photo with a box, xmin, ymin, xmax and ymax, maxima exclusive, and what the network saw."""

    box: NDArray[np.float64]
    size: tuple[int, int]
    evidence: NDArray[np.float32]


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the intersection of two boxes, divided by their union."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    both = sum(np.prod(box[2:] - box[:2]) for box in (one, other))
    return float(shared / (both - shared))


def in_photo(area: Area, size: tuple[int, int], preprocess: Preprocess) -> NDArray[np.float64]:
    """Turn pixels of the crop into pixels of the photo."""
    resized, left, top, _ = crop_of(size, preprocess)
    corners = np.array([[area.xmin, area.ymin], [area.xmax, area.ymax]]) + np.array([left, top])
    return np.asarray(corners * np.array(size) / np.array(resized)).ravel()


def batches(
    archive: Path, preprocess: Preprocess
) -> Iterator[list[tuple[dict[str, str], NDArray[np.uint8], tuple[int, int]]]]:
    """Yield rows of val.csv with their photos, as the network sees them, and their sizes."""
    with zipfile.ZipFile(archive) as files:
        rows = list(csv.DictReader(io.StringIO(files.read("val.csv").decode())))
        for start in range(0, len(rows), BATCH):
            found = []
            for row in rows[start : start + BATCH]:
                data = files.read(f"images/{row['file']}")
                pixels, info = prepare(data, preprocess, ImageLimits(), exact=True)
                found.append((row, pixels, (info.width, info.height)))
            yield found


def look(
    archive: Path, preprocess: Preprocess, session: CpuSession, classes: list[str | None]
) -> list[Photo]:
    """Explain the class of each photo."""
    photos = []
    for found in batches(archive, preprocess):
        _, features = session.run_keeping(np.stack([pixels for _, pixels, _ in found]))
        asked = np.array([[classes.index(row["wnid"])] for row, _, _ in found])
        evidence = session.explain(features, np.arange(len(found)), asked, cells=False)
        for (row, _, size), seen in zip(found, evidence.maps, strict=True):
            box = np.array([float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")])
            photos.append(Photo(box + np.array([0, 0, 1, 1]), size, seen[0]))
    return photos


def share(photos: list[Photo], guess: Callable[[Photo], NDArray[np.float64]]) -> float:
    """Return the share of photos whose box is guessed right."""
    return float(np.mean([overlap(guess(photo), photo.box) >= RIGHT for photo in photos]))


def main() -> None:
    """Print a row for the model and one for each baseline."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="vgg16-mini")
    parser.add_argument("--folder", type=Path, default=BUILT_IN, help="of the checkpoint")
    parser.add_argument("--photos", type=Path, default=SHARED_DATA / "vgg16-mini" / "val.zip")
    parser.add_argument("--method")
    parser.add_argument("--layers", nargs="*", default=[])
    wanted = parser.parse_args()
    path = find_file(f"{wanted.model}.toml", wanted.folder)
    manifest = read_manifest(path)
    labels = load_labels(manifest.labels, wanted.folder)
    config = network_of(manifest, labels)
    assert isinstance(config, VggConfig)
    assert manifest.checkpoint is not None
    assert manifest.explanation is not None
    explanation = manifest.explanation
    if wanted.method:
        explanation = resolved(Explanation(wanted.method, tuple(wanted.layers)), config)
    preprocess = manifest.preprocess
    if wanted.photos.parent.name == "vgg16-mini":
        preprocess = replace(preprocess, resize=preprocess.crop)
    checkpoint = find_file(manifest.checkpoint.file, wanted.folder)
    layers = read_checkpoint(checkpoint, manifest.checkpoint.format, config).items()
    with tempfile.TemporaryDirectory() as name:
        write_vgg(Path(name), config, layers, preprocess, explanation=explanation)
        session = CpuSession(Path(name) / GRAPH_FILE, threads=2)
        photos = look(wanted.photos, preprocess, session, [label.wnid for label in labels])
    order = np.random.default_rng(0).permutation(len(photos))
    first, second = ([photos[i] for i in part] for part in np.array_split(order, 2))

    def boxed(threshold: float) -> Callable[[Photo], NDArray[np.float64]]:
        def guess(photo: Photo) -> NDArray[np.float64]:
            area = find_box(photo.evidence, threshold, preprocess.crop)
            whole = Area(0, 0, preprocess.crop, preprocess.crop)
            return in_photo(area or whole, photo.size, preprocess)

        return guess

    def centre(side: float) -> Callable[[Photo], NDArray[np.float64]]:
        edges = np.array([(1 - side) / 2] * 2 + [(1 + side) / 2] * 2)
        return lambda photo: edges * np.array([*photo.size, *photo.size])

    name = f"{explanation.method} at {' + '.join(explanation.layers)}"
    for title, made, values in (
        (f"{name}, threshold", boxed, THRESHOLDS),
        ("centre box of the photo, share of its sides", centre, SHARES),
        ("whole photo", centre, [1.0]),
    ):
        shares = {value: share(first, made(value)) for value in values}
        best = max(shares, key=shares.__getitem__)
        found = share(second, made(best))
        print(f"{title} {best}: {found:.4f} of {len(second)}; {shares[best]:.4f} of the other half")  # noqa: T201


if __name__ == "__main__":
    main()
