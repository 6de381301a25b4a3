import pytest

from app.graph.vgg import VggConfig
from tests.bench.conftest import raw_of
from tests.gpu.agreement import Agreement
from tests.gpu.roofline import Peaks
from tests.measure_gpu import lines

RAW = raw_of({None: {"1": 600.0, "8": 1616.0}}, model="vgg16", device="cuda")
AGREEMENT = Agreement(42, 0.002, 1.0, 1.0)
PEAKS = Peaks("float16", operations=100e12, bandwidth=1e30)


def cells(torch):
    """Return the cells of the table by the names of the rows."""
    shown = lines(RAW, AGREEMENT, VggConfig("D"), PEAKS, torch)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown if "|" in line]
    return {name: values for name, *values in rows}


def test_rates_stand_beside_their_limits():
    """A VGG-16 takes 30.94 GFLOP per image, so that 100 TFLOP/s allow 3232 images per second."""
    found = cells({"1": 500.0, "8": 1000.0})

    assert ["1", "8"] == found["batch size"]
    assert ["1.67", "4.95"] == found["ms per batch"]
    assert ["600.0", "1,616.0"] == found["images/s"]
    assert [3232, 3232] == [
        pytest.approx(float(cell.replace(",", "")), abs=1) for cell in found["limit of the device"]
    ]
    assert ["19%", "50%"] == found["share of that limit"] == found["share of the matrix rate"]
    assert ["1.20", "1.62"] == found["ratio to torch.compile"]


def test_missing_parts_are_named():
    """Without PyTorch the reason is printed; the agreement and the peaks are there all the same."""
    text = "\n".join(lines(RAW, AGREEMENT, VggConfig("D"), PEAKS, "PyTorch is not installed"))

    assert "not measured, PyTorch is not installed" in text
    assert "on 42 pictures" in text
    assert "within the bounds" in text
    assert "100.00 TFLOP/s" in text
