"""The paper's dense evaluation of one photo: a graph of app/graph/dense.py, run on the photo and its mirror image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnxruntime import RunOptions

from app.errors import RunFailedError
from app.graph.dense import SCORES, dense_graph
from app.graph.serving_graph import INPUT
from app.graph.vgg import VggConfig
from app.records import Pixels, Preprocess, Probabilities, Tensor
from app.runtime.device_errors import NOT_NUMBERS, run_error
from app.runtime.ort import channel_block
from app.runtime.run_once import open_apart


@dataclass(frozen=True, slots=True)
class Dense:
    """What a dense evaluation gave.

    Attributes:
        probabilities: float32 [classes].
        positions: Places of the crop that were averaged, those of the mirror image included.
    """

    probabilities: Probabilities
    positions: int


class DenseSession:
    """A dense graph on the CPU; what runs need besides the weights is freed after each of them."""

    device: Literal["cpu"] = "cpu"

    def __init__(
        self, model: bytes, weights: Path, threads: int = 1, temperature: float = 1.0
    ) -> None:
        """Open the graph; the files of its tensors are in the folder `weights`.

        The temperature divides what softmax is computed of.

        Raises:
            RunFailedError: If it cannot be opened.
        """
        self._session = open_apart(model, weights, threads)
        self._options = RunOptions()
        self._temperature = temperature

    def scores(self, pixels: Pixels) -> Tensor:
        """Return the scores of the classes at all positions, float32 [classes, rows, columns].

        Args:
            pixels: uint8 [H, W, 3], RGB; no side shorter than the network's.

        Raises:
            RunFailedError: If onnxruntime fails, or a score is not a number, or it was stopped.
        """
        image = np.ascontiguousarray(pixels)[np.newaxis]
        try:
            scores: Tensor = self._session.run([SCORES], {INPUT: image}, self._options)[0][0]
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            raise run_error(exc) from exc
        if not np.isfinite(scores).all():
            raise RunFailedError(NOT_NUMBERS)
        return scores

    def classify(self, pixels: Pixels) -> Dense:
        """Average the scores over the positions, then softmax; and that over the mirror image as well.

        Args:
            pixels: As of `scores`, which raises the same.
        """
        both = [self.scores(one) for one in (pixels, pixels[:, ::-1])]
        means = [one.mean(axis=(1, 2), dtype=np.float64) for one in both]
        rows = np.stack([softmax(one / self._temperature) for one in means])
        mean: Probabilities = rows.mean(axis=0).astype(np.float32)
        return Dense(mean, sum(one[0].size for one in both))

    def stop(self) -> None:
        """End the run that is going on after its current layer, and let no other begin."""
        self._options.terminate = True


def open_dense(
    graph: Path,
    config: VggConfig,
    preprocess: Preprocess,
    threads: int,
    temperature: float = 1.0,
) -> DenseSession:
    """Open the dense graph of a model.

    Args:
        graph: The file of its serving graph, which may be for another device.
        config: Its network.
        preprocess: As the serving graph has it.
        threads: Of a run.
        temperature: Of the model.

    Raises:
        NoMapsError: If its weights are in no known form, such as whole numbers.
        CheckpointError: If the serving graph is damaged.
        RunFailedError: If it cannot be opened.
    """
    model = dense_graph(graph, config, preprocess, channel_block())
    return DenseSession(model, graph.parent, threads, temperature)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn scores into probabilities, along the last axis."""
    powers: NDArray[np.float64] = np.exp(scores - scores.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
