"""Compare JPEG decoders: `python -m tests.measure_decoders PHOTO`, in an environment that has them.

Each that can be imported decodes the photo at 12 MP and at 500x375, in a process of its own: whole,
and at its smallest scale whose shorter side is at least 1024. pip install simplejpeg PyTurboJPEG
pyvips pyvips-binary opencv-python-headless imagecodecs kornia-rs ajpegli, beside what we need.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from statistics import median
from typing import Any

import numpy as np
from PIL import Image

from tests.measure_decode import jpeg
from tests.measure_idle import peak_memory

SIDE = 1024
SIZES = {(4000, 3000): 11, (500, 375): 101}


def pillow(_: Any, data: bytes, side: int) -> Any:
    image = Image.open(BytesIO(data))
    if side:
        image.draft(None, (side, side))
    image.load()
    return image


def simplejpeg(module: Any, data: bytes, side: int) -> Any:
    return module.decode_jpeg(data, min_height=side, min_width=side, min_factor=1)


def turbojpeg(module: Any, data: bytes, side: int) -> Any:
    return module.TurboJPEG().decode(data, scaling_factor=(1, 2) if side else None)


def pyvips(module: Any, data: bytes, side: int) -> Any:
    return module.Image.jpegload_buffer(data, shrink=2 if side else 1).write_to_memory()


def cv2(module: Any, data: bytes, side: int) -> Any:
    flag = module.IMREAD_REDUCED_COLOR_2 if side else module.IMREAD_COLOR
    return module.imdecode(np.frombuffer(data, np.uint8), flag)


def imagecodecs(module: Any, data: bytes, side: int) -> Any:
    return None if side else module.jpeg8_decode(data)


def kornia_rs(module: Any, data: bytes, side: int) -> Any:
    return None if side else module.io.decode_image_jpeg(data)


def ajpegli(module: Any, data: bytes, side: int) -> Any:
    return None if side else module.decode(data)


DECODERS: dict[str, Callable[[Any, bytes, int], Any]] = {
    "PIL": pillow,
    "simplejpeg": simplejpeg,
    "turbojpeg": turbojpeg,
    "pyvips": pyvips,
    "cv2": cv2,
    "imagecodecs": imagecodecs,
    "kornia_rs": kornia_rs,
    "ajpegli": ajpegli,
}


def measure(name: str, data: bytes, side: int, turns: int) -> tuple[float, float] | None:
    """Return the median in milliseconds and how far memory grew, in MB; None if it cannot."""
    decode, module = DECODERS[name], importlib.import_module(name)
    if name == "cv2":
        module.setNumThreads(1)
    before = peak_memory(os.getpid())
    if decode(module, data, side) is None:
        return None
    grown = peak_memory(os.getpid()) - before
    took = []
    for _ in range(turns):
        began = time.perf_counter()
        decode(module, data, side)
        took.append(1000 * (time.perf_counter() - began))
    return median(took), grown / 1e6


def main(path: str) -> None:
    """Print a row for each decoder."""
    with Image.open(path) as file:
        photo = file.convert("RGB")
    cases = []
    for size, turns in SIZES.items():
        data = jpeg(photo.resize(size, Image.Resampling.LANCZOS))
        cases += [(data, side, turns) for side in (0, SIDE) if side < min(size)]
    print("ms and MB more      12 MP whole        12 MP at 1/2            500x375")  # noqa: T201
    for name in DECODERS:
        cells = []
        for case in cases:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                try:
                    result = pool.submit(measure, name, *case).result()
                except Exception as exc:  # noqa: BLE001 (whatever it is, the others go on)
                    result = None
                    print(f"  {name}: {exc!r}"[:120])  # noqa: T201
            cells.append(f"{result[0]:8.2f} ms {result[1]:4.0f}" if result else f"{'-':>16}")
        print(f"{name:12}", *cells, sep="  ")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
