"""The validation photos of vgg16-mini, faults planted in them, and the same network in PyTorch."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.images.properties import jpeg_quality
from app.weights.checkpoints.read import read_checkpoint
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import BUILT_IN, load_catalog
from tests.conftest import REPOSITORY, SHARED_DATA

ARCHIVE = SHARED_DATA / "vgg16-mini" / "val.zip"
DARK = 0.2
"""Brightness of a photo that was darkened."""


class Photos:
    """Every so many of the photos in a folder, their wnids, and the commands that evaluate them.

    The manifest is changed to resize photos to 64 pixels, their own size, so that every evaluation of the
    same pixels can be compared. Beside the model there is `swapped`, which takes red for blue.
    """

    def __init__(self, folder: Path, every: int = 1) -> None:
        self.folder, self.models = folder / "photos", folder / "models"
        with zipfile.ZipFile(ARCHIVE) as files:
            files.extractall(self.folder)
        rows = [*csv.DictReader(io.StringIO((self.folder / "val.csv").read_text()))][::every]
        self.files, self.wnids = [row["file"] for row in rows], [row["wnid"] for row in rows]
        self.models.mkdir()
        manifest = (BUILT_IN / "vgg16-mini.toml").read_text().replace("resize = 68", "resize = 64")
        (self.models / "vgg16-mini.toml").write_text(manifest)
        swapped = manifest.replace('name = "vgg16-mini"', 'name = "swapped"')
        (self.models / "swapped.toml").write_text(swapped.replace('"RGB"', '"BGR"'))
        weights = BUILT_IN / "vgg16-mini.safetensors"
        (self.models / weights.name).symlink_to(weights)

    @property
    def names(self) -> list[str]:
        """Return the names of the photos in a report."""
        return [f"images/{file}" for file in self.files]

    @property
    def labels(self) -> np.ndarray:
        """Return the true labels, int64 [N]."""
        index = {one.wnid: number for number, one in enumerate(load_labels("vgg16-mini", BUILT_IN))}
        return np.array([index[wnid] for wnid in self.wnids])

    def evaluate(self, wnids: list[str] | None = None, *options: object) -> dict[str, Any]:
        """Evaluate, with other labels if some are given; answers are kept for the next time."""
        table, report = self.folder / "labels.csv", self.folder / "report.json"
        pairs = zip(self.files, wnids or self.wnids, strict=True)
        table.write_text("file,wnid\n" + "".join(f"{file},{wnid}\n" for file, wnid in pairs))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
        command = [sys.executable, "-m", "app", "evaluate", table, "--json", report, *options]
        kept |= {"VGG_MODEL_DIR": str(self.models), "VGG_MODELS": "vgg16-mini"}
        subprocess.run(
            [*map(str, command)], cwd=REPOSITORY, env=kept, check=True, stdout=subprocess.DEVNULL
        )
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    def pixels(self) -> np.ndarray:
        """Decode all photos, uint8 [N, 64, 64, 3]."""
        paths = [self.folder / name for name in self.names]
        return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])

    def swap(self, many: int, seed: int) -> dict[str, str]:
        """Give so many photos the labels of each other; return those that are wrong then, by name."""
        chosen = np.random.default_rng(seed).permutation(len(self.wnids))[:many]
        return {
            self.names[one]: self.wnids[other]
            for one, other in zip(chosen, np.roll(chosen, 1), strict=True)
            if self.wnids[one] != self.wnids[other]
        }

    def shuffled(self, seed: int = 0) -> list[str]:
        """Return the wnids in another order."""
        return [str(one) for one in np.random.default_rng(seed).permutation(self.wnids)]

    def darken(self, many: int, seed: int = 0) -> None:
        """Darken so many of the files, until `restore`."""
        for one in np.random.default_rng(seed).permutation(len(self.files))[:many]:
            path = self.folder / self.names[one]
            quality = jpeg_quality(path.read_bytes()) or 0  # the same, which is a property too
            dark = Image.open(path).convert("RGB").point(lambda value: DARK * value)
            dark.save(path, "JPEG", quality=quality)

    def restore(self) -> None:
        """Bring the files back."""
        with zipfile.ZipFile(ARCHIVE) as files:
            for name in self.names:
                files.extract(name, self.folder)


def torch_logits(torch: Any, pixels: np.ndarray, *, swapped: bool = False) -> np.ndarray:
    """Run the network layer by layer in PyTorch, from the published weights: [N, classes]."""
    functional = torch.nn.functional
    manifest = load_catalog(BUILT_IN)["vgg16-mini"]
    network = network_of(manifest, load_labels(manifest.labels, BUILT_IN))
    assert network is not None
    layers = read_checkpoint(BUILT_IN / "vgg16-mini.safetensors", "safetensors", network)
    tensors = {n: (torch.tensor(one.weight), torch.tensor(one.bias)) for n, one in layers.items()}
    mean, std = (torch.tensor(one) for one in (manifest.preprocess.mean, manifest.preprocess.std))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), 100):
            batch = pixels[start : start + 100]
            values = torch.tensor(batch[..., ::-1].copy() if swapped else batch)
            values = ((values - mean) / std).permute(0, 3, 1, 2)
            for group, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
                for number in range(1, convolutions + 1):
                    weight, bias = tensors[f"conv{group}_{number}"]
                    values = functional.conv2d(values, weight, bias, padding=1).relu()
                values = functional.max_pool2d(values, 2)
            values = values.flatten(1)
            for name in ("fc6", "fc7"):
                values = functional.linear(values, *tensors[name]).relu()
            parts.append(functional.linear(values, *tensors["fc8"]).numpy())
    return np.concatenate(parts)
