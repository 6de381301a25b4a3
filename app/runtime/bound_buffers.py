"""Runs with buffers that are bound once: for each batch size the same memory, run after run.

Images are written into page-locked memory, cross the bus once, and the probabilities come back the
same way. On a CPU all of it is the same memory and nothing is copied: what is bound there is bound
by this very code.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.graph.vgg import CLASSES
from app.records import PixelBatch, ProbabilityBatch


@dataclass(frozen=True, slots=True)
class Place:
    """Memory that a session reads or writes.

    Attributes:
        kind: `cpu` or `cuda`.
        device_id: Number of the GPU; 0 on a CPU.
        shape: Of the array in it.
        dtype: Of the array in it.
        pointer: Its address.
    """

    kind: str
    device_id: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pointer: int


class Memory(Protocol):
    """Where batches lie, on both sides of the bus."""

    def host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array that the device can copy from by itself."""

    def device(self, host: NDArray[Any]) -> Place:
        """Return memory on the device for such an array."""

    def upload(self, host: NDArray[Any], place: Place) -> None:
        """Copy to the device."""

    def download(self, place: Place, host: NDArray[Any]) -> None:
        """Copy from the device."""


class HostMemory:
    """A CPU's: the session works in the caller's arrays."""

    def host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a new array."""
        return np.zeros(shape, dtype)

    def device(self, host: NDArray[Any]) -> Place:
        """Return the memory of the array itself."""
        return Place("cpu", 0, host.shape, host.dtype, host.ctypes.data)

    def upload(self, host: NDArray[Any], place: Place) -> None:
        """Do nothing: it is there."""

    def download(self, place: Place, host: NDArray[Any]) -> None:
        """Do nothing: it is there."""


Bind: TypeAlias = Callable[[Place, Place, int], Callable[[], None]]
"""Binds input and output to a session, under a number of their own; what it gives runs them."""


@dataclass(frozen=True, slots=True)
class _Buffers:
    pixels: PixelBatch
    probabilities: ProbabilityBatch
    source: Place
    result: Place
    run: Callable[[], None]


class Runner:
    """Makes runs, one at a time, in buffers that no other runner has."""

    def __init__(self, memory: Memory, bind: Bind, gate: Executor, numbers: Iterator[int]) -> None:
        """Take no memory yet.

        Args:
            memory: Where the buffers are.
            bind: Of the session that the runs are made with.
            gate: The one thread in which that session runs, whoever asks: CUDA graphs belong to
                the thread that recorded them.
            numbers: Gives each set of buffers of the session its number.
        """
        self._memory = memory
        self._bind = bind
        self._gate = gate
        self._numbers = numbers
        self._buffers: dict[tuple[int, ...], _Buffers] = {}

    def blank(self, shape: tuple[int, ...]) -> PixelBatch:
        """Return the memory that the next batch of this shape is read from, to be filled."""
        return self._of(shape).pixels

    def run(self, batch: PixelBatch) -> ProbabilityBatch:
        """Classify a batch: what `blank` gave, or any other, which is copied there.

        Returns:
            float32 [N, 1000], the caller's own.
        """
        buffers = self._of(batch.shape)
        if batch is not buffers.pixels:
            np.copyto(buffers.pixels, batch)
        self._memory.upload(buffers.pixels, buffers.source)
        self._gate.submit(buffers.run).result()
        self._memory.download(buffers.result, buffers.probabilities)
        return buffers.probabilities.copy()

    def _of(self, shape: tuple[int, ...]) -> _Buffers:
        if shape not in self._buffers:
            pixels = self._memory.host(shape, np.dtype(np.uint8))
            probabilities = self._memory.host((shape[0], CLASSES), np.dtype(np.float32))
            source, result = self._memory.device(pixels), self._memory.device(probabilities)
            run = self._bind(source, result, next(self._numbers))
            self._buffers[shape] = _Buffers(pixels, probabilities, source, result, run)
        return self._buffers[shape]
