"""Runs with buffers that are bound once: for each batch size the same memory, run after run.

Images are written into page-locked memory, cross the bus once, and the probabilities come back the
same way.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.graph.vgg import CLASSES
from app.records import PixelBatch, ProbabilityBatch
from app.runtime.device_errors import finite, translated_errors


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory of a device that holds one array.

    Attributes:
        kind: `cpu` or `cuda`.
        device_id: Number of the GPU; 0 on a CPU.
        shape: Shape of the array.
        dtype: Type of the array.
        pointer: Address of the memory.
    """

    kind: str
    device_id: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pointer: int


class Memory(Protocol):
    """Allocates and copies batches on both sides of the bus."""

    def host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Allocate an array that the device can copy from by itself."""

    def device(self, host: NDArray[Any]) -> Buffer:
        """Allocate memory on the device for such an array."""

    def upload(self, host: NDArray[Any], buffer: Buffer) -> None:
        """Copy to the device."""

    def download(self, buffer: Buffer, host: NDArray[Any]) -> None:
        """Copy from the device."""


Bind: TypeAlias = Callable[[Buffer, Buffer, int], Callable[[], None]]
"""Binds input and output to a session under a unique number; returns what runs the session on them."""


@dataclass(frozen=True, slots=True)
class _Bound:
    pixels: PixelBatch
    probabilities: ProbabilityBatch
    source: Buffer
    result: Buffer
    run: Callable[[], None]


class Runner:
    """Runs batches, one at a time, in buffers of its own."""

    def __init__(self, memory: Memory, bind: Bind, gate: Executor, numbers: Iterator[int]) -> None:
        """Allocate nothing yet.

        Args:
            memory: Allocates the buffers.
            bind: Binds buffers to the session.
            gate: The single thread in which the session runs for every caller: CUDA graphs belong
                to the thread that recorded them.
            numbers: Numbers the sets of buffers of the session.
        """
        self._memory = memory
        self._bind = bind
        self._gate = gate
        self._numbers = numbers
        self._buffers: dict[tuple[int, ...], _Bound] = {}

    def blank(self, shape: tuple[int, ...]) -> PixelBatch:
        """Return the memory that the next batch of this shape is read from, to be filled."""
        with translated_errors():
            return self._bound(shape).pixels

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch: the array from `blank`, or any other, which is copied there.

        Returns:
            float32 [N, 1000], the caller's own.

        Raises:
            RunFailedError: If onnxruntime or CUDA fails, or a probability is not a number.
        """
        with translated_errors():
            bound = self._bound(batch.shape)
            if batch is not bound.pixels:
                np.copyto(bound.pixels, batch)
            self._memory.upload(bound.pixels, bound.source)
            self._gate.submit(bound.run).result()
            self._memory.download(bound.result, bound.probabilities)
            rows = bound.probabilities.copy()
        return finite(rows)

    def _bound(self, shape: tuple[int, ...]) -> _Bound:
        if shape not in self._buffers:
            pixels = self._memory.host(shape, np.dtype(np.uint8))
            probabilities = self._memory.host((shape[0], CLASSES), np.dtype(np.float32))
            source, result = self._memory.device(pixels), self._memory.device(probabilities)
            run = self._bind(source, result, next(self._numbers))
            self._buffers[shape] = _Bound(pixels, probabilities, source, result, run)
        return self._buffers[shape]
