"""Measure beside ncnn, which filters as Winograd does too: `.venv/bin/python -m tests.measure_ncnn [MODEL]`.

Needs `.venv/bin/python -m pip install ncnn`. The same untrained weights of the true size in both,
float32, as many threads; session.run in batches and ncnn, which takes one image at a time, in turns. The
answers of both are compared first. Prints ms an image, the medians of nine rounds.
"""

import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import ncnn
import numpy as np

from app.bench.raw import open_ways
from app.graph.untrained import untrained_layers
from app.graph.vgg import architecture
from app.machine import usable_cpus
from app.service.settings import Settings
from app.weights.manifests.catalog import BUILT_IN, load_catalog

ROUNDS = 9
SIZES = (1, 4, 8, 16)
TOLERANCE = 1e-5
PARAMETERS = {
    "convolution": "Convolution {io} 0={out} 1=3 4=1 5=1 6={size} 9=1",
    "max-pooling": "Pooling {io} 0=0 1=2 2=2",
    "fully connected": "InnerProduct {io} 0={out} 1=1 2={size} 9={relu}",
}
"""ncnn's own words for the layers, numbers by its documentation of each operator."""


def ncnn_files(folder, config):
    """Write a network as ncnn reads it: a table of layers, and their weights."""
    rows = config.layers()
    values = ["pixels", *(row.name for row in rows), "probabilities"]
    lines = ["Input input 0 1 pixels"]
    for row, before in zip(rows, values, strict=False):
        kind, _, rest = PARAMETERS[row.kind].partition(" {io}")
        numbers = rest.format(
            out=row.output_shape[0], size=np.prod(row.weight_shape), relu=int(row.name != "fc8")
        )
        lines.append(f"{kind} {row.name} 1 1 {before} {row.name}{numbers}")
    lines.append("Softmax softmax 1 1 fc8 probabilities 0=0")
    text = "\n".join(["7767517", f"{len(lines)} {len(values)}", *lines])
    (folder / "vgg.param").write_text(text + "\n")
    with (folder / "vgg.bin").open("wb") as file:
        for _, layer in untrained_layers(config):
            file.write(b"\0\0\0\0")  # plain float32
            file.write(layer.weight.astype("<f4").tobytes())
            file.write(layer.bias.astype("<f4").tobytes())


def opened(folder, threads):
    """Load it with all that ncnn does for float32."""
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    assert net.load_param(str(folder / "vgg.param")) == 0
    assert net.load_model(str(folder / "vgg.bin")) == 0
    return net


def classify(net, values):
    """Run one image, float32 [3, side, side]."""
    extractor = net.create_extractor()
    extractor.input("pixels", ncnn.Mat(values))
    _, found = extractor.extract("probabilities")
    return np.array(found)


def seconds(work):
    """Return how long the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(name="vgg16"):
    """Measure one network and print a table."""
    manifest, threads = load_catalog(BUILT_IN)[name], usable_cpus()
    pixels = np.random.default_rng(0).integers(256, size=(max(SIZES), 224, 224, 3), dtype=np.uint8)
    before = manifest.preprocess
    values = (pixels - np.array(before.mean)) / np.array(before.std)
    planes = np.ascontiguousarray(values.transpose(0, 3, 1, 2), np.float32)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ncnn_files(folder, architecture(name))
        net = opened(folder, threads)
        settings = Settings(model_dir=folder, threads=threads, max_batch_size=4, device="cpu")
        ways = open_ways(settings, manifest, ("direct", "winograd")).sessions
    theirs = np.stack([classify(net, image) for image in planes[:4]])
    for way, session in ways.items():
        difference = np.abs(session.run(pixels[:4]) - theirs).max()
        assert difference < TOLERANCE, (way, difference)
    rounds = []
    for _ in range(ROUNDS):
        one: dict[tuple[str | None, int], float] = {
            (way, size): seconds(lambda run=session.run, size=size: run(pixels[:size])) / size
            for size in SIZES
            for way, session in ways.items()
        }
        one["ncnn", 1] = median(seconds(lambda i=i: classify(net, planes[i])) for i in range(8))
        rounds.append(one)
    print(f"{name}, {threads} threads, ncnn {version('ncnn')}, ms an image")  # noqa: T201
    for key in rounds[0]:
        print(f"{key[0]:10} {key[1]:3} {1000 * median(one[key] for one in rounds):7.1f}")  # noqa: T201
    best = min(median(one["winograd", size] for one in rounds) for size in SIZES)
    print(f"ncnn / best {median(one['ncnn', 1] for one in rounds) / best:.2f}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
