"""The way of one photo in CONTRIBUTING.md is the way that a photo takes."""

import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from app.service.app import create_app
from app.service.settings import Settings
from tests.conftest import PHOTOS, REPOSITORY, client_of

pytestmark = pytest.mark.anyio

MOST: Final = 18
"""Modules that a photo may pass, so that one person can read them all."""

WAY: Final = (
    "app/web/connection/protocol.py",  # bytes of a connection become a request, within limits
    "app/web/middleware/envelope.py",  # the request gets an id, and later a log line and headers
    "app/web/middleware/admission.py",  # it is refused before its body is read, or counted
    "app/serving/hosted_models.py",  # the model that it names is found
    "app/web/predict.py",  # the body is read, and the file in it found
    "app/serving/classifier.py",  # place, pixels, row and ranking: the story of one request
    "app/serving/batching/queue.py",  # the photo gets a place, later a place in line
    "app/images/decode_pool.py",  # a thread decodes it
    "app/images/prepare.py",  # bytes become pixels of the model's size
    "app/images/formats.py",  # the format is recognised by its first bytes
    "app/images/header_limits.py",  # the header is read: is it too large to decode?
    "app/images/crop.py",  # the centre is cut out, upright
    "app/images/resize.py",  # and resized
    "app/serving/batching/batcher.py",  # a run loop takes the images that wait as one batch
    "app/serving/batching/costs.py",  # the wait is predicted from what runs cost
    "app/serving/batching/lanes.py",  # the batch is stacked in the thread of a device
    "app/runtime/cpu_session.py",  # onnxruntime runs it
    "app/serving/metrics.py",  # every stage is counted
)
"""The modules, in the order in which a photo reaches them."""

NEEDS_A_SOCKET: Final = {"app/web/connection/protocol.py"}
"""What a request inside this process does not pass."""


class Recorder:
    """Records the modules of app/ whose functions are called, in all threads started meanwhile."""

    def __init__(self) -> None:
        self.recording = False
        self.modules: set[str] = set()

    def __enter__(self):
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame, event: str, _argument: object) -> None:
        if self.recording and event == "call":
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(REPOSITORY / "app"):
                self.modules.add(path.relative_to(REPOSITORY).as_posix())


async def test_a_photo_passes_the_modules_that_contributing_names(model_dir):
    """One JPEG, a real model, no API keys: these modules and no others, at most MOST."""
    photo = (PHOTOS / "coffee.jpg").read_bytes()
    with Recorder() as recorder:
        app = create_app(Settings(models=("colours",), model_dir=model_dir))
        async with app.router.lifespan_context(app), client_of(app) as client:
            await app.state.loading
            await client.post("/predict", content=photo)  # later ones start no thread
            recorder.recording = True
            answer = await client.post("/predict", content=photo)
            recorder.recording = False

    assert 200 == answer.status_code
    assert set(WAY) == recorder.modules | NEEDS_A_SOCKET
    assert len(WAY) <= MOST
