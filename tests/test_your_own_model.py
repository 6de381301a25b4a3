"""docs/your-own-model.md does what it says: its script is run, its commands are typed, a photo is answered."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.weights.import_model import preprocess_of
from tests.conftest import PHOTOS, REPOSITORY, running_server

PAGE = (REPOSITORY / "docs" / "your-own-model.md").read_text()

TORCHVISION = """
# Stands for torchvision, which is not installed here: VGG-16 as torchvision lays it out, without weights.
from torch import nn

class models:
    @staticmethod
    def vgg16(weights):
        assert weights == "IMAGENET1K_V1"
        layers, channels = [], 3
        for width in (8, 8, 0, 16, 16, 0, 32, 32, 32, 0, 64, 64, 64, 0, 64, 64, 64, 0):
            if width:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2, 2))
        model = nn.Module()
        model.features = nn.Sequential(*layers)
        model.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        model.classifier = nn.Sequential(
            nn.Linear(64 * 49, 4096), nn.ReLU(), nn.Dropout(),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000),
        )
        return model
"""


@pytest.mark.torch
def test_from_a_training_script_to_an_answer(tmp_path):
    """The probabilities that the service answers with are those of the network in PyTorch, to 1e-5."""
    torch = pytest.importorskip("torch")
    script, commands = re.findall(r"```(?:python)?\n(.*?)```", PAGE, re.DOTALL)[:2]
    (tmp_path / "torchvision.py").write_text(TORCHVISION)
    (tmp_path / "train.py").write_text(script + 'torch.save(model, "model.pt")\n')
    photo = PHOTOS / "coffee.jpg"
    (tmp_path / "rose.jpg").write_bytes(photo.read_bytes())
    models = tmp_path / "models"
    environment = {"VGG_MODEL_DIR": str(models), "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True)
    import_, serve, _ = commands.splitlines()
    typed = import_.replace(".venv/bin/vgg-serve", f"{sys.executable} -m app").split()

    printed = subprocess.run(
        typed, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    ).stdout
    with running_server(models, models="flowers", decode="exact") as server:
        answer = httpx.post(f"{server.url}/predict", content=photo.read_bytes()).json()

    assert "VGG_MODELS=flowers .venv/bin/vgg-serve serve" == serve
    assert "configuration D, 224 x 224 pixels" in printed
    expected = torch_probabilities(torch, tmp_path, photo)
    served = {one["label"]: one["probability"] for one in answer["predictions"]}
    assert {"daisy", "rose", "tulip"} == served.keys()
    assert [None] * 3 == [one["wnid"] for one in answer["predictions"]]
    for name, probability in zip(("daisy", "rose", "tulip"), expected, strict=True):
        assert pytest.approx(probability, abs=1e-5) == served[name]


def torch_probabilities(torch, folder: Path, photo: Path):
    """Run the network that the script saved on the same photo, in PyTorch."""
    preprocess = preprocess_of("torchvision", 224)
    pixels, _ = prepare(photo.read_bytes(), preprocess, ImageLimits(), exact=True)
    values = (pixels.astype(np.float32) - preprocess.mean) / np.asarray(preprocess.std)
    image = torch.tensor(values, dtype=torch.float32).permute(2, 0, 1)[None]
    sys.path.insert(0, str(folder))
    try:
        model = torch.load(folder / "model.pt", weights_only=False).eval()
    finally:
        sys.path.remove(str(folder))
    with torch.no_grad():
        features = model.avgpool(model.features(image)).flatten(1)
        return torch.softmax(model.classifier(features), 1)[0].tolist()
