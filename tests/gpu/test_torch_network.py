import pytest

from tests.gpu.torch_network import find_torch, torch_run
from tests.graph.test_serving_graph import RGB, photos, small


@pytest.mark.torch
@pytest.mark.parametrize("configuration", ["A", "C", "D", "E"])
def test_torch_runs_the_same_network(configuration):
    """Each network of the family turns pixels into probabilities in PyTorch."""
    torch = pytest.importorskip("torch", reason="needs PyTorch", exc_type=ImportError)
    run = torch_run(
        torch, small(configuration), RGB, device="cpu", precision="float32", compiled=False
    )
    rows = run(photos(3))

    assert (3, 1000) == rows.shape
    assert pytest.approx([1, 1, 1], abs=1e-5) == rows.sum(axis=1)


def test_missing_torch_has_a_reason():
    """Without PyTorch, or without its GPU, the reason is given in words."""
    found = find_torch("cuda")

    assert not isinstance(found, str) or "PyTorch" in found
