"""Measure how uploads become pixels: `.venv/bin/python -m tests.measure_decode FOLDER`.

FOLDER holds photos, the more megapixels the better. Prints the times of the fast and the exact way
beside those of the plain reference (Pillow's full decode, torchvision's transform) and of the least
that any way has to do, in turns in this process. Then it prints how far the fast way drifts from the
exact one over all photos and their parts.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from app.images.header_limits import ImageLimits
from app.images.prepare import LEAST_SCALE, prepare
from app.records import Preprocess
from app.runtime.open_session import open_session
from app.serving.ask_classifier import ask_classifier
from app.weights.manifests.catalog import load_catalog
from app.weights.provisioning import Provisioning
from app.weights.pull import pull
from tests.conftest import SHARED_DATA, SQUEEZENET_MANIFEST

try:
    from torchvision.transforms import functional
except (ImportError, RuntimeError):
    functional = None

TURNS = {(4000, 3000): 15, (500, 375): 150}
LIMITS = ImageLimits()
VGG = Preprocess(256, 224, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline 4:2:0": ("RGB", {}),
    "progressive": ("RGB", {"progressive": True}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
}
PARTS = ((0, 0, 1, 1), (0, 0, 0.6, 0.6), (0.4, 0, 1, 0.6), (0, 0.4, 0.6, 1), (0.4, 0.4, 1, 1))
"""Left, top, right and bottom of what is taken of a photo, each a picture of its own."""
SURE = 0.3
"""Where the first probability is less, the first five are often as good as tied."""
MEGAPIXELS = (None, 12, 24)


def reference(data):
    """Decode all of it with Pillow and transform it as torchvision does."""
    with Image.open(BytesIO(data)) as file:
        image = file.convert("RGB")
    if functional is not None:
        return np.asarray(functional.center_crop(functional.resize(image, [256]), [224]))
    ratio = 256 / min(image.size)
    width, height = (256 if side == min(image.size) else int(ratio * side) for side in image.size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def least(data):
    """Decode at an eighth of the size: hardly more than the reading of the codes, which all ways need."""
    with Image.open(BytesIO(data)) as file:
        file.draft(None, (1, 1))
        file.load()


def jpeg(image, mode="RGB", **options):
    """Save a photo as a phone or camera does, unless the options say otherwise."""
    file = BytesIO()
    image.convert(mode).save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def times(data, turns):
    """Return the medians, in milliseconds, of the fast, the exact and the plain way, and the least."""
    ways = (
        partial(prepare, data, VGG, LIMITS),
        partial(prepare, data, VGG, LIMITS, exact=True),
        partial(reference, data),
        partial(least, data),
    )
    took: list[list[float]] = [[] for _ in ways]
    for _ in range(turns):
        for way, kept in zip(ways, took, strict=True):
            began = time.perf_counter()
            way()
            kept.append(1000 * (time.perf_counter() - began))
    return [median(kept[turns // 10 :]) for kept in took]


def print_times(photo):
    """Print a row for each kind of JPEG in each size."""
    name = "torchvision" if functional is not None else "torchvision's arithmetic"
    print(f"ms, medians, ways in turns; plain: Pillow and {name}")  # noqa: T201
    print(  # noqa: T201
        "size       kind              kB    fast   exact   plain  plain/fast  > 1 level  same"
        "    at 1/8  plain/that"
    )
    for size, turns in TURNS.items():
        for kind, (mode, options) in KINDS.items():
            data = jpeg(photo.resize(size, Image.Resampling.LANCZOS), mode, **options)
            fast, exact, plain, bound = times(data, turns)
            pixels, plainly = prepare(data, VGG, LIMITS)[0], reference(data)
            apart = (np.abs(pixels.astype(int) - plainly) > 1).mean()
            same = (prepare(data, VGG, LIMITS, exact=True)[0] == plainly).all()
            print(  # noqa: T201
                f"{size[0]:4}x{size[1]:<5} {kind:15} {len(data) / 1000:5.0f} {fast:7.2f} {exact:7.2f}"
                f" {plain:7.2f} {plain / fast:8.2f} x {apart:9.2%}   {'yes' if same else 'NO '}"
                f" {bound:9.2f} {plain / bound:9.2f} x"
            )


def pictures(path, megapixels) -> Iterator[bytes]:
    """Cut a photo into its parts and bring each to a size; None leaves the size as it is."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    for part in PARTS:
        left, top, right, bottom = part
        width, height = photo.size
        picture = photo.crop((left * width, top * height, right * width, bottom * height))
        if megapixels:
            factor = (megapixels * 1e6 / picture.width / picture.height) ** 0.5
            size = round(picture.width * factor), round(picture.height * factor)
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        if min(picture.size) >= 2 * LEAST_SCALE * 256:
            yield jpeg(picture)


def both_ways(path, megapixels, preprocess):
    """Decode the parts of a photo the fast and the exact way: [[fast, exact], ..]."""
    return [
        [prepare(data, preprocess, LIMITS, exact=exact)[0] for exact in (False, True)]
        for data in pictures(path, megapixels)
    ]


def print_drift(photos):
    """Print how far the fast way is from the exact one, in pixels and in the top five."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "squeezenet.toml").write_text(SQUEEZENET_MANIFEST)
        (folder / "squeezenet1_0.onnx").write_bytes(
            (SHARED_DATA / "squeezenet1_0.onnx").read_bytes()
        )
        manifest = load_catalog(folder)["squeezenet"]
        graph = pull(manifest, Provisioning(folder, ask_classifier, offline=True), lambda *_: None)
        session = open_session(graph.path, device="cpu", threads=os.cpu_count() or 1)
    print("brought to  pictures  mean |d|  worst  top-1 same  top-5 same, in order  change of p1")  # noqa: T201
    for megapixels in MEGAPIXELS:
        work = partial(both_ways, megapixels=megapixels, preprocess=manifest.preprocess)
        with ProcessPoolExecutor() as pool:
            pairs = [pair for found in pool.map(work, photos) for pair in found]
        rows = [compare(fast, exact, session) for fast, exact in pairs]
        label = f"{megapixels} MP" if megapixels else "as it is"
        for least, named in ((0.0, label), (SURE, f"  p1 >= {SURE}")):
            sure = [row for row in rows if row[0] >= least]
            _, drifts, firsts, fives, changes = np.array(sure, float).T
            print(  # noqa: T201
                f"{named:10} {len(sure):9} {drifts.mean():9.3f} {drifts.max():6.2f}"
                f" {firsts.mean():11.1%} {fives.mean():21.1%} {changes.mean():13.4f}"
            )


def compare(fast, exact, session):
    """Return the exact way's first probability, the drift, two agreements, the change of the first."""
    given, true = (session.run(pixels[None])[0] for pixels in (fast, exact))
    orders = [np.argsort(-probabilities)[:5] for probabilities in (given, true)]
    first = orders[1][0]
    return (
        true[first],
        np.abs(fast.astype(int) - exact).mean(),
        orders[0][0] == first,
        (orders[0] == orders[1]).all(),
        abs(given[first] - true[first]),
    )


def main(folder):
    """Measure with the photos of a folder."""
    photos = sorted(path for path in Path(folder).iterdir() if path.suffix in {".jpg", ".jpeg"})
    with Image.open(max(photos, key=lambda path: path.stat().st_size)) as file:
        print_times(file.convert("RGB"))
    print_drift(photos)


if __name__ == "__main__":
    main(sys.argv[1])
