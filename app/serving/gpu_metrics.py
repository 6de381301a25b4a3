"""How full, how busy and how hot a GPU is; the only module that knows NVML."""

import importlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from app.runtime.cudart import pci_address

log = logging.getLogger(__name__)

GPU_GAUGES: Final = {
    "memory_used_bytes": "Memory of the GPU used by all processes.",
    "memory_bytes": "Memory of the GPU.",
    "utilization_ratio": "Share of the last moments in which a kernel ran.",
    "temperature_celsius": "Temperature of the GPU's chip.",
}
"""Name and help of each value that is read."""
_PER_CENT: Final = 100

Read: TypeAlias = Callable[[], Mapping[str, float]]
"""Reads a GPU: the value of each of GPU_GAUGES, or none if that fails."""


def open_gpu(
    device_id: int,
    nvml: Any = None,  # noqa: ANN401 (a module)
    address: Callable[[int], str] = pci_address,
) -> Read | None:
    """Return what reads a GPU, or None without NVML.

    NVML numbers GPUs in another order than CUDA, and finds this one by its PCI address. `nvml` is
    the module `pynvml`; None imports it if it is installed.
    """
    try:
        nvml = nvml or importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(address(device_id))
    except ImportError:
        log.info("no GPU metrics: install the package nvidia-ml-py to get them")
        return None
    except Exception as exc:  # noqa: BLE001 (whatever it is, a model works without metrics)
        log.warning("no metrics of GPU %d: %s", device_id, exc)
        return None

    def read() -> Mapping[str, float]:
        try:
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            values = (
                memory.used,
                memory.total,
                nvml.nvmlDeviceGetUtilizationRates(handle).gpu / _PER_CENT,
                nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            )
        except nvml.NVMLError:
            return {}
        return dict(zip(GPU_GAUGES, values, strict=True))

    return read
