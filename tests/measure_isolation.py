"""Measure the slowest files and what processes cost: `.venv/bin/python -m tests.measure_isolation`.

Prints the time of one photo in a thread and in a separate process, in turns, and the memory of that
process; then the processor seconds of 10 MB files whose headers take longest, and those of files at
the limits (40 MP, 10 MB, 25 scans) for each format.
"""

import os
import time
from functools import partial
from io import BytesIO
from statistics import median

import numpy as np
from PIL import Image

from app.errors import RequestError
from app.images.header_limits import MAX_SCANNED_PIXELS, ImageLimits
from app.images.prepare import prepare
from app.images.process_pool import DecodeProcesses
from tests.conftest import PHOTOS
from tests.fuzz import resident
from tests.images.crafted import crumbs
from tests.measure_decode import LIMITS, VGG, jpeg

SIZE = (8000, 5000)
MOST_BYTES = 10_000_000
TURNS = 200


def saved(image, name, **options):
    """Return the file that Pillow makes of an image."""
    file = BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def many_scans(data):
    """Repeat the last scan of a progressive JPEG as often as the limits allow."""
    scan = data[data.rindex(b"\xff\xda") : -2]
    allowed = MAX_SCANNED_PIXELS // (SIZE[0] * SIZE[1]) - data.count(b"\xff\xda")
    return data[:-2] + scan * min(allowed, (MOST_BYTES - len(data)) // len(scan)) + data[-2:]


def slow_files():
    """Yield files of 40 MP that take long for their bytes, by name."""
    grain = np.random.default_rng(0).integers(0, 40, (SIZE[1], SIZE[0]), dtype=np.uint8)
    rough = Image.fromarray(grain).convert("RGB")
    smooth = Image.linear_gradient("L").resize(SIZE).convert("RGBA")
    smooth.putalpha(Image.radial_gradient("L").resize(SIZE))
    for quality in (30, 60):
        progressive = jpeg(rough, quality=quality, progressive=True)
        if len(progressive) < MOST_BYTES:
            yield f"JPEG, progressive, quality {quality}", progressive
            yield "  the same, its last scan repeated", many_scans(progressive)
    flat = jpeg(Image.new("RGB", SIZE, "teal"), progressive=True)
    yield "JPEG, progressive, flat, 25 scans", many_scans(flat)
    yield "JPEG, baseline 4:4:4", jpeg(rough, quality=30, subsampling=0)
    yield "JPEG, CMYK", jpeg(rough, "CMYK", quality=20)
    yield "PNG, RGBA", saved(smooth, "PNG", compress_level=1)
    yield "PNG, palette with alpha", saved(smooth.quantize(64), "PNG", compress_level=1)
    yield "WebP, alpha", saved(smooth, "WEBP", method=0)
    yield "WebP, lossless, alpha", saved(smooth, "WEBP", method=0, lossless=True)
    yield "GIF", saved(smooth.convert("P"), "GIF")
    yield "BMP, 1 bit", saved(rough.convert("1"), "BMP")


def print_slowest():
    """Print the seconds of the slowest files in both modes."""
    print("40 MP (8000x5000)                        MB   fast, s  exact, s")  # noqa: T201
    for name, data in slow_files():
        took = []
        for exact in (False, True):
            began = time.process_time()
            prepare(data, VGG, ImageLimits(), exact=exact)
            took.append(time.process_time() - began)
        print(f"{name:36} {len(data) / 1e6:6.1f} {took[0]:9.2f} {took[1]:9.2f}")  # noqa: T201


def print_crumbs():
    """Print the seconds of files that consist of as many pieces as possible, the slowest first."""
    rows = []
    for name, data in crumbs(MOST_BYTES).items():
        began = time.process_time()
        try:
            prepare(data, VGG, LIMITS)
            outcome = "decoded"
        except RequestError as exc:
            outcome = str(exc)
        rows.append((time.process_time() - began, name, outcome))
    print("10 MB of crumbs                   seconds")  # noqa: T201
    for seconds, name, outcome in sorted(rows, reverse=True):
        print(f"{name:34}{seconds:7.3f}  {outcome[:60]}")  # noqa: T201


def print_cost():
    """Print what one photo costs in a thread and in a process."""
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    here = partial(prepare, photo, VGG, LIMITS)
    processes = DecodeProcesses(partial(prepare, limits=LIMITS))
    began = time.perf_counter()
    processes(photo, VGG)
    first = time.perf_counter() - began
    took: list[list[float]] = [[], []]
    for _ in range(TURNS):
        for way, kept in zip((here, partial(processes, photo, VGG)), took, strict=True):
            began = time.perf_counter()
            way()
            kept.append(1000 * (time.perf_counter() - began))
    thread, process = map(median, took)
    with_it = resident(os.getpid())
    processes.stop()
    memory = (with_it - resident(os.getpid())) / 1e6
    print(f"one photo in a thread {thread:.2f} ms, in a process {process:.2f} ms")  # noqa: T201
    print(f"a process: {1000 * first:.0f} ms to its first answer, {memory:.0f} MB resident")  # noqa: T201


if __name__ == "__main__":
    print_cost()
    print_crumbs()
    print_slowest()
