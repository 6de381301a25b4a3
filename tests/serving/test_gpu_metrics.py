from types import SimpleNamespace

import pytest

from app.runtime.cudart import pci_address
from app.serving.gpu_metrics import open_gpu
from app.serving.metrics import Metrics


class NVMLError(Exception):
    pass


class FakeNvml:
    """NVML on a machine with one GPU."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, address="0000:41:00.0"):
        self.address = address
        self.gone = False
        self.initialised = 0

    def nvmlInit(self):  # noqa: N802 (NVML's name)
        self.initialised += 1

    def nvmlDeviceGetHandleByPciBusId(self, address):  # noqa: N802 (NVML's name)
        if address != self.address:
            raise NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802 (NVML's name)
        assert "handle" == handle
        if self.gone:
            raise NVMLError("GPU is lost")
        return SimpleNamespace(used=3 * 2**30, total=80 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, _handle):  # noqa: N802 (NVML's name)
        return SimpleNamespace(gpu=87, memory=20)

    def nvmlDeviceGetTemperature(self, _handle, sensor):  # noqa: N802 (NVML's name)
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 61


def here(_number):
    return "0000:41:00.0"


def test_a_reading():
    """Bytes, a ratio and degrees of the GPU that has this number in CUDA."""
    read = open_gpu(1, FakeNvml(), here)

    assert read is not None
    assert {
        "memory_used_bytes": 3 * 2**30,
        "memory_bytes": 80 * 2**30,
        "utilization_ratio": 0.87,
        "temperature_celsius": 61,
    } == read()


def test_the_metrics_show_each_gpu():
    """Each value is a gauge labelled with the number of the GPU; it is NaN once the GPU is lost."""
    metrics, nvml = Metrics(), FakeNvml()
    read = open_gpu(1, nvml, here)
    assert read is not None
    metrics.add_gpu(1, read)
    metrics.add_gpu(2, read)

    text = metrics.render().decode()
    assert 'vgg_gpu_memory_used_bytes{gpu="1"} 3.221225472e+09' in text
    assert 'vgg_gpu_memory_bytes{gpu="1"} 8.589934592e+010' in text.replace("e+10", "e+010")
    assert 'vgg_gpu_utilization_ratio{gpu="2"} 0.87' in text
    assert 'vgg_gpu_temperature_celsius{gpu="2"} 61.0' in text
    nvml.gone = True
    assert 'vgg_gpu_temperature_celsius{gpu="1"} NaN' in metrics.render().decode()


def test_without_a_gpu_there_are_no_gpu_metrics():
    """A server on a CPU does not have them."""
    assert b"vgg_gpu" not in Metrics().render()


def test_without_nvml(caplog):
    """If the package, the driver or the GPU is missing, the log says so, and nothing fails."""
    caplog.set_level("INFO", "app.serving.gpu_metrics")

    def missing(_number):
        raise RuntimeError("CUDA failure 35 ; expr=cudaDeviceGetPCIBusId")

    assert open_gpu(0, FakeNvml("elsewhere"), here) is None
    assert open_gpu(0, FakeNvml(), missing) is None
    assert ["no metrics of GPU 0: Not Found"] == caplog.messages[:1]
    assert "CUDA failure 35" in caplog.messages[1]


class Library:
    """The part of CUDA's runtime that knows PCI addresses."""

    @staticmethod
    def cudaDeviceGetPCIBusId(text, size, device_id):  # noqa: N802 (CUDA's name)
        assert len(text) == size
        if device_id:
            return 101
        text.value = b"0000:41:00.0"
        return 0


def test_pci_address():
    """CUDA knows the PCI address of a GPU, and fails for a number without one."""
    assert "0000:41:00.0" == pci_address(0, Library)
    with pytest.raises(RuntimeError, match="CUDA failure 101"):
        pci_address(1, Library)
