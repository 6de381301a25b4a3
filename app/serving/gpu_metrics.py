"""How full, how busy and how hot a GPU is; the only module that knows NVML."""

import importlib
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from app.runtime.cudart import pci_address

log = logging.getLogger(__name__)

_PER_CENT = 100


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a GPU, including what other processes do on it.

    Attributes:
        memory_used: Bytes.
        memory_total: Bytes.
        utilization: Share of the last moments in which a kernel ran, 0 to 1.
        celsius: Temperature of the chip.
    """

    memory_used: float
    memory_total: float
    utilization: float
    celsius: float


Read: TypeAlias = Callable[[], Reading | None]


def open_gpu(
    device_id: int,
    nvml: Any = None,  # noqa: ANN401 (a module)
    address: Callable[[int], str] = pci_address,
) -> Read | None:
    """Return a function that reads a GPU, or None without NVML; it returns None if that fails.

    Args:
        device_id: CUDA's number of the GPU; NVML numbers GPUs in another order, and finds this
            one by its PCI address.
        nvml: The module `pynvml`; None imports it if it is installed.
        address: Returns the PCI address of CUDA's number.
    """
    try:
        nvml = nvml or importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(address(device_id))
    except ImportError:
        log.info("no GPU metrics: install the package nvidia-ml-py to have them")
        return None
    except Exception as exc:  # noqa: BLE001 (whatever it is, a model works without metrics)
        log.warning("no metrics of GPU %d: %s", device_id, exc)
        return None

    def read() -> Reading | None:
        with suppress(nvml.NVMLError):
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            return Reading(
                memory_used=float(memory.used),
                memory_total=float(memory.total),
                utilization=nvml.nvmlDeviceGetUtilizationRates(handle).gpu / _PER_CENT,
                celsius=float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            )
        return None

    return read
