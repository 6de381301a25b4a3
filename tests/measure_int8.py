"""Measure what whole numbers cost vgg16-mini: `.venv/bin/python -m tests.measure_int8`.

The photos are those of ../shared/data (or $VGG_TEST_DATA): 10,100 JPEGs of 64 x 64 pixels, seen whole.
The network is calibrated on views of the built-in samples, on 100 and on 1,000 of the photos; the
last 9,100, on which nothing is ever calibrated, are measured. For the samples alone, all of them are.

Prints, for each way: top-1 and top-5 in percent and their distance to float32; the share of photos
with the same first answer as float32, and with the same five; the greatest and the mean of the largest
difference of a probability. `--rescaled` is the same network with factors, drawn from e**N(0, 2),
between its channels, as a training or a folded batch norm may leave them.
"""

import argparse
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.graph.int8.calibration import PROBE_FILE, Photos, calibrate, write_probes
from app.graph.int8.int8_graph import write_int8
from app.graph.serving_graph import GRAPH_FILE, INPUT, OUTPUT, write_vgg
from app.graph.vgg import LAST_LAYER
from app.images.header_limits import ImageLimits
from app.images.views import views
from app.machine import usable_cpus
from app.records import Layer
from app.runtime.ort import CPU, open_graph
from app.weights.checkpoints.read import read_checkpoint
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import BUILT_IN, read_manifest
from tests.conftest import REPOSITORY, SHARED_DATA
from tests.measure_accuracy import NAME, photos

Array: TypeAlias = NDArray[Any]

SAMPLES = REPOSITORY / "app/web/page/static/samples"
HELD_BACK = slice(1000, None)
TOGETHER = 20  # images in a run


def rescaled(layers: dict[str, Layer]) -> Iterator[tuple[str, Layer]]:
    """Yield another network that computes the same."""
    random, before = np.random.default_rng(0), np.ones(3, np.float32)
    for name, layer in layers.items():
        out = len(layer.bias)
        deviation = 0 if name == LAST_LAYER else 2
        factors = np.exp(random.normal(0, deviation, out)).astype(np.float32)
        weight = layer.weight.reshape(out, len(before), -1) / before[:, np.newaxis]
        weight *= factors.reshape(out, 1, 1)
        yield name, Layer(weight.reshape(layer.weight.shape), layer.bias * factors)
        before = factors


def probe(path: Path):
    """Load a graph; return a function that runs it and gives all outputs by name."""
    session = open_graph(path, CPU, usable_cpus())
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(None, {INPUT: batch}), strict=True))


def answers(path: Path, images: Array) -> Array:
    """Return the probabilities of all images."""
    run = probe(path)
    parts = [images[i : i + TOGETHER] for i in range(0, len(images), TOGETHER)]
    return np.concatenate([run(part)[OUTPUT] for part in parts])


def best(rows: Array) -> Array:
    """Return the five most probable classes of each row, the first one first."""
    return np.argsort(-rows, axis=1, kind="stable")[:, :5]


def accuracy(rows: Array, truth: Array) -> Array:
    """Return top-1 and top-5 in percent."""
    right = best(rows) == truth[:, np.newaxis]
    return 100 * np.array([right[:, 0].mean(), right.any(axis=1).mean()])


def report(way: str, rows: Array, exact: Array, truth: Array) -> None:
    """Print a line of the table."""
    one, five = accuracy(rows, truth)
    off_one, off_five = accuracy(rows, truth) - accuracy(exact, truth)
    same = best(rows) == best(exact)
    first = 100 * same[:, 0].mean()
    all_five = 100 * (np.sort(best(rows)) == np.sort(best(exact))).all(axis=1).mean()
    off = np.abs(rows - exact).max(axis=1)
    print(  # noqa: T201
        f"{way:<37} {one:.2f} ({off_one:+.2f})  {five:.2f} ({off_five:+.2f})  {first:.2f}  {all_five:.1f}"
        f"  {off.max():.3f}  {off.mean():.4f}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rescaled", action="store_true", help="factors between the channels")
    options = parser.parse_args()
    manifest = read_manifest(BUILT_IN / f"{NAME}.toml")
    labels = load_labels(manifest.labels, BUILT_IN)
    config = network_of(manifest, labels)
    assert config is not None
    assert manifest.checkpoint is not None
    checkpoint = manifest.checkpoint
    layers = read_checkpoint(BUILT_IN / checkpoint.file, checkpoint.format, config)
    if options.rescaled:
        layers = dict(rescaled(layers))
    found = list(photos(SHARED_DATA / NAME / "val.zip"))
    index = {label.wnid: number for number, label in enumerate(labels)}
    truth = np.array([index[wnid] for wnid, _ in found])
    images = np.stack(
        [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for _, data in found]
    )
    seen = [
        views(path.read_bytes(), manifest.preprocess, ImageLimits())
        for path in sorted(SAMPLES.glob("*.jpg"))
    ]
    sources = (
        Photos("samples", np.concatenate(seen)),
        Photos("100 photos", images[:100]),
        Photos("1,000 photos", images[:1000]),
    )
    print(f"{'':<37} top-1  top-5  same first  same five  greatest  mean")  # noqa: T201
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_vgg(folder, config, layers.items(), manifest.preprocess)
        write_probes(folder, config)
        exact = answers(folder / GRAPH_FILE, images)
        looked = [calibrate(probe(folder / PROBE_FILE), source, config) for source in sources]
    held_back = exact[HELD_BACK], truth[HELD_BACK]
    report("float32, all", exact, exact, truth)
    report("float32", held_back[0], *held_back)
    for ranges, source in zip(looked, sources, strict=True):
        for equalised, corrected in ((False, False), (True, False), (False, True), (True, True)):
            with tempfile.TemporaryDirectory() as name:
                write_int8(
                    Path(name),
                    config,
                    layers.items(),
                    manifest.preprocess,
                    ranges,
                    equalised=equalised,
                    corrected=corrected,
                )
                rows = answers(Path(name) / GRAPH_FILE, images)
            way = (
                source.source
                + (", equalised" if equalised else "")
                + (", corrected" if corrected else "")
            )
            report(way, rows[HELD_BACK], *held_back)
            if source is sources[0] and equalised and corrected:
                report(f"{way}, all", rows, exact, truth)


if __name__ == "__main__":
    main()
