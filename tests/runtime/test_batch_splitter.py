"""Each image of a batch is run once, rows come back in order, and errors reach the caller."""

import threading

import numpy as np
import pytest

from app.runtime.batch_splitter import BatchSplitter

BATCH = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)


class Recorder:
    """Gives the value of an image as its row; notes the images and the threads."""

    def __init__(self, together=1, bad=None):
        """Let as many callers as `together` wait for each other once, and fail at `bad`."""
        self.images = []
        self.threads = set()
        self._meeting = threading.Barrier(together)
        self._bad = bad

    def __call__(self, image):
        """Run one image."""
        number = int(image[0, 0, 0, 0])
        self.images.append(number)
        if threading.get_ident() not in self.threads:
            self.threads.add(threading.get_ident())
            self._meeting.wait(10)
        if number == self._bad:
            raise ValueError(number)
        return np.full((1, 2), number, np.float32)


@pytest.mark.parametrize("threads", [2, 3, 9])
def test_each_image_is_run_once_and_rows_are_in_order(threads):
    """Whichever thread runs an image, its row has the place of the image."""
    run_one = Recorder()

    rows = BatchSplitter(run_one, threads).run(BATCH)
    np.testing.assert_array_equal(np.repeat(np.arange(7.0), 2).reshape(7, 2), rows)
    assert sorted(run_one.images) == list(range(7))


def test_threads_work_at_the_same_time():
    """Three threads meet during their first images: none waits for another to finish."""
    run_one = Recorder(together=3)

    BatchSplitter(run_one, 3).run(BATCH)

    assert len(run_one.threads) == 3


@pytest.mark.parametrize("bad", [0, 3, 6])
def test_an_error_reaches_the_caller(bad):
    """Whichever thread it happened in; the next batch runs as usual."""
    splitter = BatchSplitter(Recorder(bad=bad), 2)

    with pytest.raises(ValueError, match=str(bad)):
        splitter.run(BATCH)
    assert len(splitter.run(BATCH[:1] + 7)) == 1
