"""Train vgg16-mini: python models/recipes/vgg16_mini.py TINY_IMAGENET MINUTES OUT.safetensors.

TINY_IMAGENET is a folder in Tiny-ImageNet's layout: train/WNID/images/*.JPEG, val/images/*.JPEG and
val/val_annotations.txt, all of 64 x 64 pixels. The network is configuration D with WIDTH of the
channels. It is trained with batch norm, which is folded into the convolutions at the end, so that a
plain VGG comes out. The schedule follows the clock: a slow machine trains fewer epochs and still
ends on time. Runs on a CPU with bfloat16 or on CUDA; needs torch, numpy, Pillow and safetensors.

The published weights took 106 minutes on two cores beside other work, 29.1 epochs.
"""

import argparse
import copy
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

D = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
WIDTH = 0.375
SIDE = 64
EARLY_SIDE = 48
"""Pixels in the first half of the time, when details do not matter yet."""
HIDDEN = 512
BATCH = 128
PEAK_RATE = 0.12
WARM_UP = 0.08
"""Share of the time in which the learning rate rises."""
SMOOTHING = 0.1
AVERAGE = 0.9985
"""Decay of the moving average of the weights, which is what is published."""
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

Photos = NDArray[np.uint8]
"""uint8 [N, 64, 64, 3], RGB."""


class Vgg(nn.Module):
    """Configuration D, narrow, with batch norm after each convolution."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for channels in D:
            if isinstance(channels, str):
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = int(channels * WIDTH)
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(SIDE // 32)
        self.classifier = nn.Sequential(
            *(nn.Linear(inputs * (SIDE // 32) ** 2, HIDDEN), nn.ReLU(), nn.Dropout(0.1)),
            *(nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Dropout(0.1)),
            nn.Linear(HIDDEN, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, [N, classes], of normalised images, [N, 3, side, side]."""
        return self.classifier(self.pool(self.features(images)).flatten(1))


class Data:
    """Photos with their classes, all in memory.

    Attributes:
        wnids: The classes, sorted, in the order of the network's output.
    """

    def __init__(self, folder: Path) -> None:
        self.wnids = sorted(path.name for path in (folder / "train").glob("n*"))
        index = {wnid: number for number, wnid in enumerate(self.wnids)}
        train = [
            (path, index[wnid])
            for wnid in self.wnids
            for path in sorted((folder / "train" / wnid / "images").glob("*.JPEG"))
        ]
        annotations = (folder / "val" / "val_annotations.txt").read_text().splitlines()
        held_back = [line.split()[:2] for line in annotations]
        self.photos = _read([path for path, _ in train])
        self.classes = torch.tensor([number for _, number in train])
        self.held_back = _read([folder / "val" / "images" / name for name, _ in held_back])
        self.held_back_classes = torch.tensor([index[wnid] for _, wnid in held_back])


def _read(paths: list[Path]) -> Photos:
    photos = np.empty((len(paths), SIDE, SIDE, 3), np.uint8)
    for number, path in enumerate(paths):
        photos[number] = np.asarray(Image.open(path).convert("RGB"))
    return photos


def to_tensor(photos: Photos, device: str) -> Tensor:
    """Return photos as float32 [N, 3, side, side], 0 to 255."""
    return torch.from_numpy(photos).to(device).permute(0, 3, 1, 2).float()


def normalised(images: Tensor) -> Tensor:
    """Return (pixel - MEAN) / STD."""
    mean, std = (torch.tensor(one, device=images.device).view(1, 3, 1, 1) for one in (MEAN, STD))
    return ((images - mean) / std).to(memory_format=torch.channels_last)


def augmented(images: Tensor, side: int) -> Tensor:
    """Vary the photos: scale, aspect, turn, shift, flip; brightness, contrast, saturation."""
    count, device = len(images), images.device

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(count, device=device).uniform_(low, high)

    scale, aspect = torch.exp(draw(math.log(0.7), math.log(1.03))), torch.exp(draw(-0.15, 0.15))
    turn, flip = draw(-0.08, 0.08), torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    across, down = (scale * aspect).clamp(max=1.1), (scale / aspect).clamp(max=1.1)
    right, below = (draw(-1, 1) * (1 - one).clamp(min=0.04) for one in (across, down))
    rows = (
        torch.stack([across * flip * turn.cos(), -down * turn.sin(), right], 1),
        torch.stack([across * flip * turn.sin(), down * turn.cos(), below], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), [count, 3, side, side], align_corners=False)
    images = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    images = images * draw(0.8, 1.25).view(-1, 1, 1, 1)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * draw(0.8, 1.25).view(-1, 1, 1, 1) + mean
    grey = images.mean(1, keepdim=True)
    return ((images - grey) * draw(0.7, 1.35).view(-1, 1, 1, 1) + grey).clamp(0, 255)


def accuracy(network: Vgg, data: Data, device: str) -> tuple[float, float]:
    """Return top-1 and top-5 on the photos that are held back, as shares."""
    network.eval()
    first = five = 0
    with torch.no_grad():
        for start in range(0, len(data.held_back), 250):
            images = to_tensor(data.held_back[start : start + 250], device)
            found = network(normalised(images)).cpu().topk(min(5, len(data.wnids))).indices
            hits = found.eq(data.held_back_classes[start : start + 250, None])
            first += int(hits[:, 0].sum())
            five += int(hits.any(1).sum())
    return first / len(data.held_back), five / len(data.held_back)


def train(data: Data, seconds: float, device: str) -> tuple[Vgg, float]:
    """Train for some seconds; return the moving average of the network, and the epochs."""
    random = np.random.default_rng(0)
    network = Vgg(len(data.wnids)).to(device, memory_format=torch.channels_last)
    average = copy.deepcopy(network).eval()
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0}],
        lr=0.01,
        momentum=0.9,
        nesterov=True,
    )
    step, batches = 0, _batches(len(data.photos), random)
    began = time.monotonic()
    while (passed := (time.monotonic() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _rate(passed)
        chosen = next(batches)
        step += 1
        network.train()
        optimizer.zero_grad()
        side = EARLY_SIDE if passed < 0.5 else SIDE
        with torch.autocast(device, dtype=torch.bfloat16):
            images = augmented(to_tensor(data.photos[chosen], device), side)
            logits = network(normalised(images))
        wanted = data.classes[chosen].to(device)
        functional.cross_entropy(logits.float(), wanted, label_smoothing=SMOOTHING).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        _follow(average, network, 1 - min(AVERAGE, (1 + step) / (10 + step)))
    return average, step * BATCH / len(data.photos)


def _rate(passed: float) -> float:
    """Return the learning rate: it rises, and then falls as a cosine does."""
    if passed < WARM_UP:
        return PEAK_RATE * max(passed / WARM_UP, 0.02)
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (passed - WARM_UP) / (1 - WARM_UP)))


def _batches(count: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of indices, every photo once an epoch; the rest of an epoch is left out."""
    while True:
        order = random.permutation(count)
        for start in range(0, max(1, count - BATCH + 1), BATCH):
            yield np.sort(order[start : start + BATCH])


def _follow(average: Vgg, network: Vgg, share: float) -> None:
    with torch.no_grad():
        pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
        for mean, now in pairs:
            if mean.dtype.is_floating_point:
                mean.lerp_(now, share)
            else:
                mean.copy_(now)


def folded(network: Vgg) -> dict[str, Tensor]:
    """Return the weights in float16 by torchvision's names, batch norm folded in float64."""
    tensors: dict[str, Any] = {}
    place = 0
    layers = list(network.cpu().features)
    for layer, following in zip(layers, [*layers[1:], None], strict=True):
        if isinstance(layer, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            variance = following.running_var.double() + following.eps
            scale = following.weight.double() / torch.sqrt(variance)
            mean = following.running_mean.double()
            tensors[f"features.{place}.weight"] = layer.weight.double() * scale.view(-1, 1, 1, 1)
            tensors[f"features.{place}.bias"] = following.bias.double() - mean * scale
        place += not isinstance(layer, nn.BatchNorm2d)
    for number, layer in enumerate(network.classifier):
        if isinstance(layer, nn.Linear):
            tensors[f"classifier.{number}.weight"] = layer.weight
            tensors[f"classifier.{number}.bias"] = layer.bias
    return {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}


def main() -> None:
    """Train, print the accuracy, write the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("minutes", type=float)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    data = Data(options.folder)
    network, epochs = train(data, 60 * options.minutes, device)
    first, five = accuracy(network, data, device)
    print(f"{epochs:.1f} epochs, top-1 {100 * first:.2f} %, top-5 {100 * five:.2f} %")
    described = {
        "configuration": "D",
        "width": str(WIDTH),
        "side": str(SIDE),
        "hidden": f"{HIDDEN},{HIDDEN}",
        "classes": " ".join(data.wnids),
    }
    save_file(folded(network), options.out, described)


if __name__ == "__main__":
    main()
