"""Somebody's own classifier is imported by a command, and served by the next."""

import os
import subprocess
import sys

import httpx
import numpy as np
import pytest

from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.weights.import_model import preprocess_of
from tests.conftest import PHOTOS, REPOSITORY, running_server
from tests.weights.own_training import FORMS, NAMES, NETWORK, probabilities, trained


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["flowers.onnx", "model.onnx"])
def test_an_export_of_pytorch_is_served_with_its_labels(tmp_path, form):
    """One file or with its weights beside it; its probabilities are those of PyTorch, to 1e-5."""
    preprocess = preprocess_of("torchvision", NETWORK.side)
    model = trained(preprocess)
    FORMS[form](tmp_path / form, model)
    (tmp_path / "flowers.txt").write_text("\n".join(NAMES))
    photo, models = PHOTOS / "coffee.jpg", tmp_path / "models"
    arguments = [form, "--labels", "flowers.txt", "--name", "flowers", "--check", str(photo)]

    printed = subprocess.run(
        [sys.executable, "-m", "app", "import", *arguments],
        cwd=tmp_path,
        env=os.environ
        | {"VGG_MODEL_DIR": str(models), "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with running_server(models, models="flowers", decode="exact") as server:
        answer = httpx.post(
            f"{server.url}/predict?top_k={len(NAMES)}", content=photo.read_bytes()
        ).json()

    pixels, _ = prepare(photo.read_bytes(), preprocess, ImageLimits(), exact=True)
    (expected,) = probabilities(model, pixels[np.newaxis], preprocess)
    served = {one["label"]: one["probability"] for one in answer["predictions"]}
    assert "flowers: configuration D, 64 x 64 pixels, preprocessing of torchvision" in printed
    assert NAMES[expected.argmax()] in printed
    assert answer["model"]["trained"]
    assert {*NAMES} == served.keys()
    assert pytest.approx(expected.tolist(), abs=1e-5) == [served[name] for name in NAMES]
