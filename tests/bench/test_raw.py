import numpy as np

from app.bench.raw import SIZES, measure_round, summarise_rounds


def test_every_batch_size_is_run():
    """Each size is run at least four times, the first of which is not counted."""
    shapes = []

    def run(batch):
        shapes.append(batch.shape)
        return np.zeros((len(batch), 1000), np.float32)

    rates = measure_round(run, 8, sizes=(1, 4))

    assert ["1", "4"] == list(rates)
    assert {(1, 8, 8, 3), (4, 8, 8, 3)} == set(shapes)
    assert all(shapes.count(shape) >= 4 for shape in set(shapes))
    assert all(rate > 0 for rate in rates.values())
    assert (1, 2, 4, 8, 16) == SIZES


def test_best_size_is_that_of_the_median():
    """A single lucky round does not make the limit."""
    rounds = [{"1": 10.0, "8": 30.0}, {"1": 99.0, "8": 32.0}, {"1": 12.0, "8": 31.0}]
    raw = summarise_rounds(rounds, model="m", trained=True, device="cpu", threads=2)

    assert {"1": 12.0, "8": 31.0} == raw.images_per_second
    assert (8, 31.0) == (raw.best_size, raw.best)
