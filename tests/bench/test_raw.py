from functools import partial

import numpy as np

from app.bench.raw import SIZES, measure_round, summarise_rounds

summarise = partial(summarise_rounds, model="m", trained=True, device="cpu", threads=2)


def test_every_batch_size_is_run():
    """Each size is run at least four times, of which the first is a warm-up."""
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
    raw = summarise([{None: one} for one in rounds])

    assert tuple(rounds) == raw.rounds
    assert {"1": 12.0, "8": 31.0} == raw.images_per_second
    assert (8, 31.0, None, {}) == (raw.best_size, raw.best, raw.way, raw.beside)


def test_other_ways_are_medians_too():
    """Each way has its median, not its mean, which one slow round would move."""
    raw = summarise([{"direct": {"1": 2.0}, "winograd": {"1": rate}} for rate in (3.0, 99.0, 4.0)])

    assert ("direct", {"1": 2.0}) == (raw.way, raw.images_per_second)
    assert {"winograd": {"1": 4.0}} == raw.beside
