"""The error messages of CUDA and onnxruntime are understood as they really are."""

import ctypes
from pathlib import Path

import pytest

from app.runtime.device_errors import _STICKY, is_out_of_memory, is_sticky, why_not


def failure(number, text, expression="cudaStreamSynchronize(stream)"):
    """Format an error of CUDA in a run as onnxruntime 1.31 does (cuda_call.cc)."""
    return (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node. "
        "Name:'conv1_1' Status Message: /onnxruntime_src/onnxruntime/core/providers/cuda/"
        f"cuda_call.cc:114 CUDA failure {number}: {text} ; GPU=0 ; hostname=host ; file="
        f"cuda_execution_provider.cc ; line=448 ; expr={expression}; "
    )


STICKY = [
    failure(700, "an illegal memory access was encountered"),
    failure(719, "unspecified launch failure"),
    failure(710, "device-side assert triggered"),
    failure(214, "uncorrectable ECC error encountered"),
    failure(46, "CUDA-capable device(s) is/are busy or unavailable"),
    failure(999, "unknown error"),
    "Status Message: CUDA error cudaErrorLaunchFailure:unspecified launch failure",
    "CUDNN failure 5000: an illegal memory access was encountered ; GPU=0 ; hostname=h",
]
OUT_OF_MEMORY = [
    failure(2, "out of memory", "cudaMalloc((void**)&p, size)"),
    "bfc_arena.cc:376 Available memory of 1048576 is smaller than requested bytes of 411041792",
    "bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 411041792",
    "Failed to find a free memory block despite calling Extend. rounded_bytes=256",
    "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=host ; expr=cublasCreate",
    "CUDNN failure 5003: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ; GPU=0",
    "CUDA failure 2: out of memory ; expr=cudaHostAlloc",
    "std::bad_alloc",
]
OTHERS = [
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: image",
    failure(701, "too many resources requested for launch"),
    failure(1, "invalid argument"),
    "CUDNN failure 3000: CUDNN_STATUS_NOT_SUPPORTED ; GPU=0",
]


@pytest.mark.parametrize("sentence", STICKY)
def test_sticky(sentence):
    """After these the process has to be restarted; a smaller batch would not help."""
    assert is_sticky(sentence)
    assert not is_out_of_memory(sentence)


@pytest.mark.parametrize("sentence", OUT_OF_MEMORY)
def test_out_of_memory(sentence):
    """After these a smaller batch may succeed, in the same process."""
    assert is_out_of_memory(sentence)
    assert not is_sticky(sentence)


@pytest.mark.parametrize("sentence", OTHERS)
def test_neither(sentence):
    """Any other failure fails its batch only."""
    assert not is_out_of_memory(sentence)
    assert not is_sticky(sentence)


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        (failure(35, "CUDA driver version is insufficient for CUDA runtime version"), "too old"),
        (failure(803, "system has unsupported display driver"), "too old"),
        (failure(100, "no CUDA-capable device is detected"), "sees no GPU"),
        (failure(209, "no kernel image is available for execution on the device"), "architecture"),
        (
            "CUDA error cudaErrorNoKernelImageForDevice:no kernel image is available for execution",
            "architecture",
        ),
        (failure(101, "invalid device ordinal"), "VGG_DEVICE_IDS"),
        ("Invalid device ID: 3, must be between 0 (inclusive) and 1 (exclusive).", "VGG_DEVICE_I"),
        (failure(46, "CUDA-capable device(s) is/are busy or unavailable"), "another process"),
        (failure(802, "system not yet initialized"), "Fabric Manager"),
        (failure(2, "out of memory"), "VGG_GPU_MEMORY_LIMIT_MB"),
        ("This session contains graph nodes that are assigned to the default CPU EP", "libraries"),
    ],
)
def test_start(sentence, words):
    """The reason why CUDA cannot be used comes with the remedy."""
    assert words in why_not(sentence)
    assert "expr=" not in why_not(sentence)


def test_unknown_start():
    """An unknown message is passed on, in one line, shortened."""
    assert "first second" == why_not("first\n  second")
    assert 300 == len(why_not("x" * 9999))


def test_numbers_and_names_are_those_of_cuda():
    """CUDA's own runtime has these names for these numbers."""
    found = [*Path("/usr/local").glob("cuda*/lib*/libcudart.so.13")]
    if not found:
        pytest.skip("CUDA's runtime is not installed")
    library = ctypes.CDLL(str(found[0]))
    library.cudaGetErrorName.restype = ctypes.c_char_p
    library.cudaGetErrorString.restype = ctypes.c_char_p

    for number, name in _STICKY.items():
        assert name == library.cudaGetErrorName(number).decode()
        assert is_sticky(failure(number, library.cudaGetErrorString(number).decode()))
