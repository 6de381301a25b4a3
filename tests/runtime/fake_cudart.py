"""CUDA's runtime without a GPU, which records every call and every allocation."""

import ctypes


class Function:
    """One function of a library; ctypes lets its result type be set."""

    def __init__(self, library, name):
        self.library, self.name = library, name
        self.restype = None

    def __call__(self, *arguments):
        self.library.calls.append((self.name, *arguments))
        return getattr(self.library, f"do_{self.name}", lambda *_: 0)(*arguments)


class FakeRuntime:
    """CUDA's runtime; the memory of its GPU is this process's memory."""

    def __init__(self):
        self.calls = []
        self.host = {}
        self.device = {}
        self.streams = 0
        self.most_streams = 99
        self.failing = {}

    def __getattr__(self, name):
        if not name.startswith("cuda"):
            raise AttributeError(name)
        function = Function(self, name)
        setattr(self, name, function)
        return function

    def _allocate(self, where, pointer, size):
        memory = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(memory)
        where[pointer._obj.value] = memory
        return 0

    def live(self):
        """Count page-locked arrays, buffers on the device, and streams."""
        return len(self.host), len(self.device), self.streams

    def do_cudaStreamCreateWithFlags(self, _stream, _flags):  # noqa: N802 (CUDA's name)
        if self.streams == self.most_streams:
            return 2
        self.streams += 1
        return 0

    def do_cudaStreamDestroy(self, _stream):  # noqa: N802 (CUDA's name)
        self.streams -= 1
        return 0

    def do_cudaFreeHost(self, pointer):  # noqa: N802 (CUDA's name)
        del self.host[pointer.value]
        return 0

    def do_cudaFree(self, pointer):  # noqa: N802 (CUDA's name)
        if "cudaFree" in self.failing:
            return self.failing["cudaFree"]
        del self.device[pointer.value]
        return 0

    def do_cudaHostAlloc(self, pointer, size, _flags):  # noqa: N802 (CUDA's name)
        return self.failing.get("cudaHostAlloc") or self._allocate(self.host, pointer, size)

    def do_cudaMalloc(self, pointer, size):  # noqa: N802 (CUDA's name)
        return self.failing.get("cudaMalloc") or self._allocate(self.device, pointer, size)

    def do_cudaMemcpyAsync(self, to, origin, size, _kind, _stream):  # noqa: N802 (CUDA's name)
        ctypes.memmove(to, origin, size.value)
        return 0

    def do_cudaStreamSynchronize(self, _stream):  # noqa: N802 (CUDA's name)
        return self.failing.get("cudaStreamSynchronize", 0)

    def do_cudaGetErrorString(self, status):  # noqa: N802 (CUDA's name)
        return {2: b"out of memory", 700: b"an illegal memory access was encountered"}[status]

    def names(self):
        return [call[0] for call in self.calls]
