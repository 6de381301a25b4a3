"""Try a plan for the convolutions of a network: what it takes, and what it answers."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from app.graph.conv_plan import ConvPlan
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig
from app.records import Layer, Preprocess, ProbabilityBatch
from app.runtime.cpu_session import CpuSession
from app.runtime.stopwatch import least_seconds

LEFT_BEHIND: Final = ".measuring-"
"""What the folders of candidates begin with, should their process be killed."""
_TOLERANCE: Final = 1e-3
"""Of the greatest probability: lowering changes less than a hundredth of it, another layout a thousand times it."""
_HIDDEN_UNITS: Final = 16
"""What follows the convolutions, and no plan changes, should take no time."""
_NOISE: Final = Preprocess(1, 1, "RGB", (127.5,) * 3, (73.9,) * 3)
"""Pixels of noise have this mean and deviation, so that what comes of them is neither even nor sharp."""
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """What a plan was seen to do.

    Attributes:
        alone: Seconds of an image by itself.
        batch: Seconds of an image in a batch.
        answers: float32 [N, 1000], for pictures that are always the same.
    """

    alone: float
    batch: float
    answers: ProbabilityBatch

    def agrees(self, other: "Trial") -> bool:
        """Say whether two plans compute the same network."""
        greatest = max(self.answers.max(), other.answers.max())
        return bool(np.abs(self.answers - other.answers).max() < _TOLERANCE * greatest)


def try_plan(config: VggConfig, plan: ConvPlan, threads: int, images: int, folder: Path) -> Trial:
    """Run the convolutions of a network, with weights that never saw an image.

    Args:
        config: The network; its fully connected layers are made small.
        plan: How it is computed.
        threads: Of one run.
        images: In a batch.
        folder: Takes the graph meanwhile, up to 300 MB.

    Raises:
        OSError: If the folder cannot be written.
        SessionError: If the plan cannot be loaded.
        RunFailedError: If it cannot be run.
    """
    narrow = replace(config, hidden_units=_HIDDEN_UNITS)
    before = replace(_NOISE, resize=config.side, crop=config.side)
    random = np.random.default_rng(0)
    pixels = random.integers(256, size=(images, config.side, config.side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(dir=folder, prefix=LEFT_BEHIND) as name:
        write_vgg(Path(name), narrow, lively_layers(narrow), before, plan=plan)
        session = CpuSession(Path(name) / GRAPH_FILE, threads)
        session.tune(images)
        alone = least_seconds(lambda: session.run(pixels[:1]), _ROUNDS)
        batch = least_seconds(lambda: session.run(pixels), _ROUNDS) / images
        return Trial(alone, batch, session.run(pixels))


def lively_layers(config: VggConfig) -> Iterator[tuple[str, Layer]]:
    """Draw untrained weights with biases that are not zero, so that a lost one shows."""
    random = np.random.default_rng(1)
    for name, layer in untrained_layers(config):
        yield name, Layer(layer.weight, random.normal(0, 0.1, layer.bias.shape).astype(np.float32))
