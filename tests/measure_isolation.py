"""Measure the slowest files and what processes cost: `.venv/bin/python -m tests.measure_isolation`.

Prints the time of one photo in a thread and in a separate process, in turns, and the memory of that
process; then the processor seconds of files at the limit of bytes (25 MB) whose headers take longest;
and then the processor seconds and the memory of files at the limits (pixels, bytes, scans) of each
format. The whole takes two minutes and 2 GB of memory.
"""

import os
import time
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from app.errors import ImageTooLargeError, RequestError
from app.images.header_limits import MAX_SCANNED_PIXELS, ImageLimits
from app.images.prepare import prepare
from app.images.process_pool import DecodeProcesses
from app.machine import return_freed_memory
from app.service.settings import Settings
from tests.conftest import PHOTOS
from tests.fuzz import resident
from tests.images.crafted import crumbs, run_lengths
from tests.measure_decode import LIMITS, VGG, jpeg

SIZE = (8000, 5000)
"""40 MP."""
PHOTOS_OF_PHONES = {48: (8000, 6000), 50: (8160, 6120), 108: (12_000, 9000), 200: (16_320, 12_240)}
LARGEST = (16_384, 16_384)
MOST_BYTES: int = Settings.model_fields["max_body_bytes"].default
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


def rough(size, grain):
    """Return grey noise of so many levels, which makes a JPEG as large as a photo of much detail."""
    rows = np.random.default_rng(0).integers(0, grain, (512, size[0]), dtype=np.uint8)
    return Image.fromarray(np.resize(rows, size[::-1]))


def as_large_as_allowed(image, most=MOST_BYTES, **options):
    """Return the JPEG of the best quality that has at most so many bytes."""
    for quality in (95, 90, 85, 80, 70, 60, 50, 40, 30, 20, 10):
        data = jpeg(image, quality=quality, **options)
        if len(data) <= most:
            return data
    raise ValueError("no quality is low enough")


def phones():
    """Yield baseline JPEGs as phones write them, and the largest of all, by megapixels and name."""
    for megapixels, size in PHOTOS_OF_PHONES.items():
        most = 15_000_000 if megapixels <= 50 else MOST_BYTES
        yield (
            megapixels,
            "JPEG, baseline",
            as_large_as_allowed(rough(size, 48).convert("RGB"), most),
        )
    flat = Image.new("CMYK", LARGEST, "teal")
    yield 268, "JPEG, baseline, CMYK 4:4:4", jpeg(flat, "CMYK", subsampling=0)
    del flat
    yield 268, "JPEG, baseline, grey", as_large_as_allowed(rough(LARGEST, 40))


def slow_files():
    """Yield files that take long for their bytes, by megapixels and name."""
    yield from phones()
    grain = rough(SIZE, 40).convert("RGB")
    smooth = Image.linear_gradient("L").resize(SIZE).convert("RGBA")
    smooth.putalpha(Image.radial_gradient("L").resize(SIZE))
    for most in (MOST_BYTES, MOST_BYTES // 10):
        progressive = as_large_as_allowed(grain, most, progressive=True, subsampling=0)
        yield 40, "JPEG, progressive 4:4:4", progressive
        yield 40, "  its last scan repeated", many_scans(progressive)
    flat = jpeg(Image.new("RGB", SIZE, "teal"), progressive=True)
    yield 40, "JPEG, progressive, flat, 25 scans", many_scans(flat)
    half = grain.crop((0, 0, SIZE[0], SIZE[1] // 2))
    endless = as_large_as_allowed(half, progressive=True, subsampling=0)[:-2]
    yield 20, "JPEG, progressive, no end", endless
    yield (
        40,
        "JPEG, progressive, CMYK",
        as_large_as_allowed(grain.convert("CMYK"), mode="CMYK", progressive=True),
    )
    yield 40, "PNG, RGBA", saved(smooth, "PNG", compress_level=1)
    yield 40, "PNG, palette with alpha", saved(smooth.quantize(64), "PNG", compress_level=1)
    yield 40, "WebP, alpha", saved(smooth, "WEBP", method=0)
    yield 40, "WebP, lossless, alpha", saved(smooth, "WEBP", method=0, lossless=True)
    yield 40, "GIF", saved(smooth.convert("P"), "GIF")
    yield 40, "BMP, 1 bit", saved(grain.convert("1"), "BMP")
    yield 4, "BMP, run lengths", run_lengths((2000, 2000), (b"\4\0" * 500 + bytes(2)) * 2000)


def peak(work):
    """Return the processor seconds of some work, and by how many bytes memory rose meanwhile."""
    return_freed_memory()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew: proc(5)
    before = resident(os.getpid())
    began = time.process_time()
    work()
    took = time.process_time() - began
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return took, 1024 * int(status.split("VmHWM:")[1].split()[0]) - before


def print_slowest():
    """Print the seconds and the megabytes of the slowest files in both modes, beside the file."""
    print(" MP                                          MB  fast, s     MB  exact, s     MB")  # noqa: T201
    for megapixels, name, data in slow_files():
        columns = []
        for exact in (False, True):
            try:
                took, grown = peak(partial(prepare, data, VGG, ImageLimits(), exact=exact))
                columns.append(f"{took:8.2f} {grown / 1e6:6.0f}")
            except ImageTooLargeError:
                columns.append(" refused       ")
        print(f"{megapixels:3} {name:36} {len(data) / 1e6:6.1f} {'  '.join(columns)}")  # noqa: T201


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
    print(f"{MOST_BYTES / 1e6:g} MB of crumbs                   seconds")  # noqa: T201
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
