"""What CUDA's and onnxruntime's sentences mean; in Python there is nothing but these sentences.

Sources: onnxruntime writes `CUDA failure 700: TEXT ; GPU=0 ; hostname=...` (cuda_call.cc) and
`CUDA error NAME:TEXT`, its arena the sentences about memory (bfc_arena.cc); numbers, names and
texts are those of CUDA 13.0's runtime (cudaGetErrorName, cudaGetErrorString).
"""

import re
from typing import Final

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "bad_alloc",
    "cudaErrorMemoryAllocation",
    "Failed to allocate memory",
    "is smaller than requested bytes",  # the arena at its limit, gpu_mem_limit
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
"""After these every further call of the process fails as well."""
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
_FAILURE: Final = re.compile(r"CUDA failure (\d+)")

_DRIVER_TOO_OLD: Final = "its NVIDIA driver is too old for CUDA 13: install release 580 or newer"
_NO_DEVICE: Final = "the driver sees no GPU, or this container was not given one"
_ARCHITECTURE: Final = (
    "onnxruntime-gpu has no code for a GPU of this architecture: take another GPU, or another"
    " release of it"
)
_LIBRARIES: Final = "the libraries of onnxruntime's CUDA part (CUDA 13, cuDNN 9) cannot be loaded"
_AT_START: Final = (
    (re.compile(r"assigned to the default CPU EP"), _LIBRARIES),  # it has fallen back by itself
    (re.compile(r"CUDA failure 35\b|driver version is insufficient"), _DRIVER_TOO_OLD),
    (re.compile(r"CUDA failure 803\b|unsupported display driver"), _DRIVER_TOO_OLD),
    (re.compile(r"CUDA failure 804\b|forward compatibility was attempted"), _DRIVER_TOO_OLD),
    (re.compile(r"CUDA failure 100\b|no CUDA-capable device is detected"), _NO_DEVICE),
    (re.compile(r"CUDA failure 209\b|no kernel image is available"), _ARCHITECTURE),
    (re.compile(r"ARCH_MISMATCH"), _ARCHITECTURE),
    (
        re.compile(r"CUDA failure 101\b|Invalid device ID|invalid device ordinal"),
        "there is no GPU of that number: see VGG_DEVICE_IDS and `nvidia-smi -L`",
    ),
    (
        re.compile(r"CUDA failure 46\b|busy or unavailable"),
        "the GPU is taken by another process, or is in exclusive mode",
    ),
    (
        re.compile(r"CUDA failure 802\b|system not yet initialized"),
        "the driver is not ready: is NVIDIA's Fabric Manager running?",
    ),
)


def is_out_of_memory(sentence: str) -> bool:
    """Tell whether a run failed for lack of memory, so that a smaller one may succeed."""
    return any(sign in sentence for sign in _OUT_OF_MEMORY)


def is_sticky(sentence: str) -> bool:
    """Tell whether the process can use the GPU no more and has to be started anew."""
    found = _FAILURE.search(sentence)
    return (
        (found is not None and int(found[1]) in _STICKY)
        or any(f"{name}:" in sentence for name in _STICKY.values())
        or any(text in sentence for text in _STICKY_TEXTS)
    )


def why_not(sentence: str) -> str:
    """Say in a few words what keeps CUDA from being used; the sentence itself if that is new."""
    for pattern, words in _AT_START:
        if pattern.search(sentence):
            return words
    if is_out_of_memory(sentence):
        return "the GPU has too little free memory: see VGG_GPU_MEMORY_LIMIT_MB and `nvidia-smi`"
    return " ".join(sentence.split())[:300]
