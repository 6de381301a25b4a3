"""The only file that knows NVML: how full, how busy and how hot a GPU is."""

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
    """One look at a GPU, whoever uses it.

    Attributes:
        memory_used: Bytes.
        memory_total: Bytes.
        utilization: Part of the last moments in which a kernel ran, 0 to 1.
        celsius: Of its chip.
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
    """Return what reads a GPU: a Reading, or None for one that has gone; None without NVML.

    Args:
        device_id: CUDA's number. NVML counts all GPUs and in another order, so it is asked by the
            place on the bus.
        nvml: The module `pynvml`; None takes it where it is installed.
        address: Gives that place for a number of CUDA's.
    """
    try:
        nvml = nvml or importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(address(device_id))
    except ImportError:
        log.info("no metrics of the GPU: the package nvidia-ml-py is not installed")
        return None
    except Exception as exc:  # noqa: BLE001 (metrics are no reason to fail, whatever it is)
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
