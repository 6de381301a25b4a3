"""What the error messages of onnxruntime and CUDA mean; Python sees nothing but their text.

Sources: onnxruntime writes `CUDA failure 700: TEXT ; GPU=0 ; hostname=...` (cuda_call.cc) and
`CUDA error NAME:TEXT`, its arena the messages about memory (bfc_arena.cc); numbers, names and
texts are those of CUDA 13.0's runtime (cudaGetErrorName, cudaGetErrorString).
"""

import re
from typing import Final

from app.errors import DeviceLostError, OutOfMemoryError, RunFailedError

NOT_NUMBERS: Final = "The model returned values that are not numbers."
"""Such values must never become an answer."""

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "bad_alloc",
    "cudaErrorMemoryAllocation",
    "Failed to allocate memory",
    "is smaller than requested bytes",  # the arena has reached gpu_mem_limit
    "Failed to find a free memory block",
    "ALLOC_FAILED",  # of cuBLAS and cuDNN
    "ALLOCATION_FAILED",
)

_STICKY: Final = {
    46: "cudaErrorDevicesUnavailable",
    100: "cudaErrorNoDevice",
    214: "cudaErrorECCUncorrectable",
    220: "cudaErrorNvlinkUncorrectable",
    226: "cudaErrorContained",
    700: "cudaErrorIllegalAddress",
    702: "cudaErrorLaunchTimeout",
    709: "cudaErrorContextIsDestroyed",
    710: "cudaErrorAssert",
    714: "cudaErrorHardwareStackError",
    715: "cudaErrorIllegalInstruction",
    716: "cudaErrorMisalignedAddress",
    717: "cudaErrorInvalidAddressSpace",
    718: "cudaErrorInvalidPc",
    719: "cudaErrorLaunchFailure",
    721: "cudaErrorTensorMemoryLeak",
    999: "cudaErrorUnknown",
}
"""After one of these every further call of this process fails as well."""
_STICKY_TEXTS: Final = (
    "an illegal memory access was encountered",
    "unspecified launch failure",
    "device-side assert triggered",
    "uncorrectable ECC error",
    "an illegal instruction was encountered",
    "misaligned address",
    "the launch timed out and was terminated",
    "hardware stack error",
)

_AT_START: Final = (
    (
        r"assigned to the default CPU EP",  # it fell back by itself
        "the libraries of onnxruntime's CUDA part (CUDA 13, cuDNN 9) cannot be loaded",
    ),
    (
        (
            r"CUDA failure (35|803|804)\b|driver version is insufficient"
            r"|unsupported display driver|forward compatibility was attempted"
        ),
        "its NVIDIA driver is too old for CUDA 13: install release 580 or newer",
    ),
    (
        r"CUDA failure 100\b|no CUDA-capable device is detected",
        "the driver sees no GPU, or this container has no access to one",
    ),
    (
        r"CUDA failure 209\b|no kernel image is available|ARCH_MISMATCH",
        (
            "onnxruntime-gpu has no code for a GPU of this architecture: use another GPU or another"
            " release of onnxruntime-gpu"
        ),
    ),
    (
        r"CUDA failure 101\b|Invalid device ID|invalid device ordinal",
        "there is no GPU with that number: see VGG_DEVICE_IDS and `nvidia-smi -L`",
    ),
    (
        r"CUDA failure 46\b|busy or unavailable",
        "the GPU is used by another process, or is in exclusive mode",
    ),
    (
        r"CUDA failure 802\b|system not yet initialized",
        "the driver is not ready: is NVIDIA's Fabric Manager running?",
    ),
)
"""Patterns of messages at the start, and what to say instead; the first that matches counts."""


def run_error(error: Exception) -> RunFailedError:
    """Return the error of ours for what onnxruntime or CUDA raised in a run."""
    if is_sticky(str(error)):
        return DeviceLostError("The GPU has failed for good.")
    if is_out_of_memory(str(error)):
        return OutOfMemoryError("The device is out of memory.")
    return RunFailedError("The model failed on this batch.")


def is_out_of_memory(message: str) -> bool:
    """Return whether a run failed for lack of memory, so that a smaller one may succeed."""
    return any(sign in message for sign in _OUT_OF_MEMORY)


def is_sticky(message: str) -> bool:
    """Return whether this process cannot use the GPU any more and has to be restarted."""
    found = re.search(r"CUDA failure (\d+)", message)
    signs = (*(f"{name}:" for name in _STICKY.values()), *_STICKY_TEXTS)
    return bool(found and int(found[1]) in _STICKY) or any(sign in message for sign in signs)


def why_not(message: str) -> str:
    """Return in a few words why CUDA cannot be used; an unknown message itself, shortened."""
    for pattern, words in _AT_START:
        if re.search(pattern, message):
            return words
    if is_out_of_memory(message):
        return "the GPU has too little free memory: see VGG_GPU_MEMORY_LIMIT_MB and `nvidia-smi`"
    return " ".join(message.split())[:300]


def no_cuda(reason: str) -> str:
    """Return the message that CUDA cannot be used, why, and what to do."""
    return (
        f"CUDA cannot be used: {reason}. Install requirements/cuda.txt and a"
        " driver for CUDA 13, or set VGG_DEVICE=auto or VGG_DEVICE=cpu."
    )
