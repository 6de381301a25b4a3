"""The same network in PyTorch on the same device, where PyTorch is installed: a second yardstick."""

import importlib
from types import ModuleType
from typing import Any

from app.graph.float16 import Precision
from app.graph.vgg import VggConfig
from app.records import PixelBatch, Preprocess, ProbabilityBatch
from tests.gpu.agreement import RunBatch


def find_torch(device: str) -> ModuleType | str:
    """Return PyTorch if it can use the device, or a few words why not."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return "PyTorch is not installed"
    if device == "cuda" and not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} sees no GPU"
    return torch


def torch_run(
    torch: Any,
    config: VggConfig,
    preprocess: Preprocess,
    *,
    device: str,
    precision: Precision,
    compiled: bool = True,
) -> RunBatch:
    """Make the network with random weights: channels last, compiled, from pixels to probabilities.

    A run does what our own runs do: uint8 from page-locked memory to the device, the network,
    probabilities back.

    Args:
        torch: The module.
        config: The network.
        preprocess: The preprocessing in front of the network.
        device: `cpu` or `cuda`.
        precision: Precision of the layers.
        compiled: Whether to use torch.compile.
    """
    kind = getattr(torch, precision)
    network = _network(torch, config).to(device, kind).to(memory_format=torch.channels_last).eval()
    shape = (1, 3, 1, 1)
    mean = torch.tensor(preprocess.mean, device=device).reshape(shape)
    std = torch.tensor(preprocess.std, device=device).reshape(shape)

    def forward(pixels: Any) -> Any:
        # [N, H, W, 3] in memory, viewed as [N, 3, H, W], is channels last already.
        planes = (pixels.permute(0, 3, 1, 2).float() - mean) / std
        return torch.softmax(network(planes.to(kind)).float(), 1)

    work = torch.compile(forward) if compiled else forward

    def run(batch: PixelBatch) -> ProbabilityBatch:
        with torch.inference_mode():
            pixels = torch.from_numpy(batch)
            if device == "cuda":
                pixels = pixels.pin_memory()
            rows: ProbabilityBatch = work(pixels.to(device, non_blocking=True)).cpu().numpy()
        return rows

    return run


def _network(torch: Any, config: VggConfig) -> Any:
    nn, layers, channels = torch.nn, [], 3
    for row in config.layers():
        if row.kind == "max-pooling":
            layers.append(nn.MaxPool2d(2))
            continue
        if row.kind == "convolution":
            width = row.weight_shape[0]
            layers.append(nn.Conv2d(channels, width, row.kernel, padding=row.kernel // 2))
            channels = width
        else:
            if row.name == "fc6":
                layers.append(nn.Flatten())
            layers.append(nn.Linear(row.weight_shape[1], row.weight_shape[0]))
        if row.name != "fc8":
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
