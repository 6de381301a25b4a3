"""Measure how long a fresh machine waits for its first answer: python -m tests.measure_first_answer.

Starts the service as `make serve` does, with an empty model folder and no network, and posts a photo
until it is answered. Prints the seconds from the start of the process, and the answer.
"""

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

import httpx

from tests.conftest import PHOTOS, REPOSITORY

REPEATS = 5
PORT = 8397


def first_answer(model_dir: str) -> tuple[float, str]:
    """Return the seconds until the first answer, and its best label with the model's name."""
    settings = {
        "VGG_STAND_IN": "vgg16-mini",
        "VGG_MODEL_DIR": model_dir,
        "VGG_PORT": str(PORT),
        "HF_ENDPOINT": "http://127.0.0.1:1",
    }
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "app", "serve"],
        cwd=REPOSITORY,
        env=os.environ | settings,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            while True:
                try:
                    answer = httpx.post(f"http://127.0.0.1:{PORT}/predict", content=photo)
                except httpx.TransportError:
                    continue
                if answer.is_success:
                    break
            seconds = time.perf_counter() - began
        finally:
            server.terminate()
    body = answer.json()
    return seconds, f"{body['predictions'][0]['label']} by {body['model']['name']}"


def main() -> None:
    """Print the median of some starts."""
    found = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            found.append(first_answer(folder))
    seconds = [one for one, _ in found]
    print(  # noqa: T201
        f"first answer after {median(seconds):.2f} s (median of {REPEATS},"
        f" {min(seconds):.2f} to {max(seconds):.2f}): {found[0][1]}"
    )


if __name__ == "__main__":
    main()
