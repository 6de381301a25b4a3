"""Measure a plan for the convolutions of a network: how long it takes, and what it answers."""

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

FOLDER_PREFIX: Final = ".measuring-"
"""Begins the names of folders with candidates, which a killed process leaves behind."""
_TOLERANCE: Final = 1e-3
"""Share of the greatest probability: lowering changes a hundredth of it, a wrong layout a thousand times it."""
_HIDDEN_UNITS: Final = 16
"""Keeps the fully connected layers, which are the same in every plan, from taking time."""
_NOISE: Final = Preprocess(1, 1, "RGB", (127.5,) * 3, (73.9,) * 3)
"""Mean and deviation of pixels of noise, so that answers are neither even nor sharp."""
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """The measurement of a plan.

    Attributes:
        alone: Seconds per image, alone.
        batch: Seconds per image in a batch.
        answers: float32 [N, 1000], for pictures that are the same in every trial.
    """

    alone: float
    batch: float
    answers: ProbabilityBatch

    def agrees(self, other: "Trial") -> bool:
        """Return whether two plans compute the same network."""
        greatest = max(self.answers.max(), other.answers.max())
        return bool(np.abs(self.answers - other.answers).max() < _TOLERANCE * greatest)


def try_plan(config: VggConfig, plan: ConvPlan, threads: int, images: int, folder: Path) -> Trial:
    """Run the convolutions of a network, with untrained weights and small fully connected layers.

    The folder holds the graph meanwhile, up to 300 MB.

    Raises:
        OSError: If the folder cannot be written.
        SessionError: If the plan cannot be loaded.
        RunFailedError: If it cannot be run.
    """
    narrow = replace(config, hidden_units=_HIDDEN_UNITS)
    preprocess = replace(_NOISE, resize=config.side, crop=config.side)
    random = np.random.default_rng(0)
    pixels = random.integers(256, size=(images, config.side, config.side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(dir=folder, prefix=FOLDER_PREFIX) as name:
        write_vgg(Path(name), narrow, lively_layers(narrow), preprocess, plan=plan)
        session = CpuSession(Path(name) / GRAPH_FILE, threads)
        session.tune(images)
        alone = least_seconds(lambda: session.run(pixels[:1]), _ROUNDS)
        batch = least_seconds(lambda: session.run(pixels), _ROUNDS) / images
        return Trial(alone, batch, session.run(pixels))


def lively_layers(config: VggConfig) -> Iterator[tuple[str, Layer]]:
    """Draw untrained weights with biases that are not zero, so that a missing one is noticed."""
    random = np.random.default_rng(1)
    for name, layer in untrained_layers(config):
        yield name, Layer(layer.weight, random.normal(0, 0.1, layer.bias.shape).astype(np.float32))
