"""The few calls of CUDA's runtime that onnxruntime does not offer: page-locked memory and copies.

The GPU itself reads page-locked memory, at the speed of the bus; from other memory CUDA copies
everything a second time. Copies have a stream of their own, so that they run beside onnxruntime's
kernels, and `ctypes` releases the interpreter lock meanwhile.
"""

import ctypes
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.setup_errors import SessionError

_LIBRARIES: Final = (
    ("cudart64_13.dll", "cudart64_12.dll")
    if sys.platform == "win32"
    else ("libcudart.so.13", "libcudart.so.12")
)
_ADDRESS_BYTES: Final = 32
_TO_DEVICE: Final = 1
_TO_HOST: Final = 2
_NON_BLOCKING: Final = 1
"""Flag of a stream that neither waits for the default stream nor keeps that one waiting."""


class Buffer(NamedTuple):
    """Memory of a device that holds one array, as onnxruntime's `bind_input` takes it."""

    kind: str
    device_id: int
    dtype: type[np.generic]
    shape: tuple[int, ...]
    pointer: int


def load_cudart(names: Sequence[str] = _LIBRARIES) -> Any:  # noqa: ANN401 (ctypes has no better type)
    """Load CUDA's runtime, as onnxruntime's CUDA part does.

    Raises:
        SessionError: If it is not installed.
    """
    for name in names:
        with suppress(OSError):
            return ctypes.CDLL(name)
    raise SessionError(f"CUDA's runtime ({names[0]}) cannot be loaded")


def pci_address(device_id: int, library: Any | None = None) -> str:  # noqa: ANN401
    """Return the address of a GPU on the PCI bus: `0000:41:00.0`.

    Raises:
        RuntimeError: With CUDA's error number, if there is no such GPU.
    """
    library = library if library is not None else load_cudart()
    text = ctypes.create_string_buffer(_ADDRESS_BYTES)
    status = library.cudaDeviceGetPCIBusId(text, _ADDRESS_BYTES, device_id)
    if status:
        raise RuntimeError(f"CUDA failure {status} ; expr=cudaDeviceGetPCIBusId")
    return text.value.decode()


class CudaMemory:
    """Memory of one GPU and page-locked memory beside it; `close` frees both."""

    def __init__(self, device_id: int, library: Any | None = None) -> None:  # noqa: ANN401
        """Make a stream for the copies; `library` is CUDA's runtime, None to load it.

        Raises:
            RuntimeError: With CUDA's number and text, as onnxruntime writes them.
        """
        self._library = library if library is not None else load_cudart()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._device_id = device_id
        self._to_free: list[tuple[str, ctypes.c_void_p]] = []
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreateWithFlags", ctypes.byref(stream), _NON_BLOCKING)
        self._to_free.append(("cudaStreamDestroy", stream))
        self._stream = stream

    def host(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a page-locked array with arbitrary contents; it must not be used after `close`."""
        size = dtype.itemsize * int(np.prod(shape))
        pointer = ctypes.c_void_p()
        self._call("cudaHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(size), 0)
        self._to_free.append(("cudaFreeHost", pointer))
        memory = (ctypes.c_ubyte * size).from_address(pointer.value or 0)
        array: NDArray[Any] = np.ctypeslib.as_array(memory).view(dtype).reshape(shape)
        return array

    def device(self, host: NDArray[Any]) -> Buffer:
        """Allocate memory of the GPU for such an array."""
        pointer = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(host.nbytes))
        self._to_free.append(("cudaFree", pointer))
        return Buffer("cuda", self._device_id, host.dtype.type, host.shape, pointer.value or 0)

    def upload(self, host: NDArray[Any], buffer: Buffer) -> None:
        """Copy to the GPU; done when it returns."""
        self._copy(buffer.pointer, host.ctypes.data, host.nbytes, _TO_DEVICE)

    def download(self, buffer: Buffer, host: NDArray[Any]) -> None:
        """Copy from the GPU; done when it returns."""
        self._copy(host.ctypes.data, buffer.pointer, host.nbytes, _TO_HOST)

    def close(self) -> None:
        """Free everything that was allocated, the last first, and the stream."""
        while self._to_free:
            with suppress(RuntimeError):  # a GPU that has failed frees nothing any more
                self._call(*self._to_free.pop())

    def _copy(self, to: int, origin: int, size: int, kind: int) -> None:
        where = (ctypes.c_void_p(to), ctypes.c_void_p(origin), ctypes.c_size_t(size))
        self._call("cudaMemcpyAsync", *where, kind, self._stream)
        self._call("cudaStreamSynchronize", self._stream)

    def _call(self, name: str, *arguments: object) -> None:
        for function, given in (("cudaSetDevice", (self._device_id,)), (name, arguments)):
            status = getattr(self._library, function)(*given)
            if status:
                words = self._library.cudaGetErrorString(status).decode()
                raise RuntimeError(f"CUDA failure {status}: {words} ; expr={function}")
