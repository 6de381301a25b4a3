from itertools import pairwise

import numpy as np
import pytest

from app.errors import RunFailedError
from app.serving.warmup import self_test, warm_up
from app.setup_errors import SessionError

GOLDEN = np.full((4, 4, 3), 9, np.uint8)


class FakeRun:
    """Recognises a cat in everything, and records the batch sizes."""

    def __init__(self, best=285, largest=10**6):
        self.best = best
        self.largest = largest
        self.sizes = []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.largest:
            raise RunFailedError("too many")
        rows = np.zeros((len(batch), 1000), np.float32)
        rows[:, self.best] = 1
        return rows


def measured(run, **options):
    defaults = {"max_batch_size": None, "longest_run": 1e9, "ceiling": 8}
    return warm_up(run, 4, **defaults | options)


def test_every_size_that_is_served_was_run():
    """No batch size is served that warm-up has not seen."""
    run = FakeRun()
    sizes, cost = measured(run, max_batch_size=12)

    assert (1, 2, 4, 8, 12) == sizes
    assert set(sizes) <= set(run.sizes)
    assert sizes == tuple(size for size, _ in cost.measured)


def test_the_largest_size_is_warmed_up_first():
    """The largest size runs first, so that its memory is there for the others."""
    run = FakeRun()
    measured(run, max_batch_size=8)

    assert [8, 4, 2, 1] * (len(run.sizes) // 4) == run.sizes


def test_the_choice_does_not_exceed_the_ceiling():
    """No larger size is even tried."""
    run = FakeRun()
    measured(run, ceiling=4)

    assert 4 == max(run.sizes)


def test_the_choice_does_not_exceed_the_longest_run():
    """A size whose run would take too long is not served."""
    sizes, _ = measured(FakeRun(), longest_run=0)

    assert (1,) == sizes


def test_model_of_fixed_batch_size_is_served_one_by_one():
    """A model that accepts only single images can be served."""
    sizes, _ = measured(FakeRun(largest=1))

    assert (1,) == sizes


def test_a_model_that_fails_on_a_single_image_fails():
    """It is not served."""
    with pytest.raises(RunFailedError):
        measured(FakeRun(largest=0))


def test_a_sound_model_passes_at_every_size():
    """The self-test runs each size."""
    run = FakeRun()
    self_test(run, GOLDEN, (1, 2, 4), known={285})

    assert {1, 2, 4} == set(run.sizes)


def test_a_model_has_to_recognise_a_photo_whose_class_is_known():
    """A model with wrong weights, channels or order of classes does not become ready."""
    with pytest.raises(SessionError, match="class 0"):
        self_test(FakeRun(best=0), GOLDEN, (1,), known=[1, 2])
    self_test(FakeRun(best=0), GOLDEN, (1,))


def broken(change):
    def run(batch):
        rows = np.full((len(batch), 1000), 1e-3, np.float32)
        change(rows)
        return rows

    return run


def not_a_number(rows):
    rows[0, 0] = np.nan


def too_much(rows):
    rows *= 2


def swapped_by_batching(rows):
    rows[-1, 0], rows[-1, 1] = len(rows) * 1e-3, (2 - len(rows)) * 1e-3


@pytest.mark.parametrize("change", [not_a_number, too_much, swapped_by_batching])
def test_unsound_probabilities_fail_the_self_test(change):
    """They are not numbers, do not sum to 1, or depend on the other images of a batch."""
    with pytest.raises(SessionError, match="self-test"):
        self_test(broken(change), GOLDEN, (1, 2))


@pytest.mark.parametrize("most", [1, 12, 64, 65, 300, 1024])
def test_padding_is_less_than_half_of_a_batch(most):
    """Each batch size is at most twice the previous one, whatever the largest is."""
    sizes, _ = measured(FakeRun(), max_batch_size=most)

    assert (1, most) == (sizes[0], sizes[-1])
    assert all(larger <= 2 * smaller for smaller, larger in pairwise(sizes))


def test_a_batch_that_becomes_one_long_row_is_not_served():
    """A last Reshape to [1, -1] joins the answers of all images."""
    sizes, _ = measured(lambda batch: FakeRun()(batch).reshape(1, -1))

    assert (1,) == sizes


def test_answers_of_the_classifier_itself():
    """Each image of theirs has to get their answer, within a tenth of its largest probability."""
    run, images = FakeRun(best=7), np.zeros((2, 4, 4, 3), np.uint8)
    near, far = run(images), run(images)
    near[1, 7] = 0.95
    far[1, 7] = 0.85

    self_test(run, GOLDEN, (1,), own=(images, near))
    with pytest.raises(
        SessionError, match=r"image 1 is of class 7 with probability 1, by the classif.* 0\.85"
    ):
        self_test(run, GOLDEN, (1,), own=(images, far))


def test_rounded_probabilities_need_not_sum_to_one():
    """Those of 8 bits do not, if the classifier's own did not either; others have to."""

    def run(batch):
        rows = np.zeros((len(batch), 1000), np.float32)
        rows[:, 7] = 0.6
        return rows

    images = np.zeros((1, 4, 4, 3), np.uint8)

    self_test(run, GOLDEN, (1, 2), own=(images, run(images)))
    with pytest.raises(SessionError, match="do not sum to 1"):
        self_test(run, GOLDEN, (1, 2))
