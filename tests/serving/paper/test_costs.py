"""What a test costs is predicted from its images, learned, and never a reason to refuse for ever."""

from types import SimpleNamespace

import pytest

from app.errors import DeadlineExceededError
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.loading import Loaded
from app.serving.paper.costs import PaperCosts, counted_as, images_of, usual_images
from app.weights.manifests.catalog import BUILT_IN, load_catalog


def loaded(device="cpu", seconds=0.1):
    policy = BatchPolicy((1, 4), RunCost.fit({1: seconds}), queue_budget=2.0)
    queue = SimpleNamespace(policy=policy)
    return Loaded(load_catalog(BUILT_IN)["vgg16"], (), queue, device, "ab", trained=True)  # type: ignore[arg-type] # a fake


def test_a_photo_is_worth_its_area_twice():
    """256 x 341 pixels are 3.5 images of 224, with the mirror image."""
    assert 3.48 == pytest.approx(images_of(loaded(), 256 * 341), abs=0.01)


def test_what_a_test_is_worth_is_known_before_its_photo():
    """Ten crops, or all of a photo of 4 : 3."""
    assert 10 == usual_images(loaded(), "ten-crop")
    assert 3.48 == pytest.approx(usual_images(loaded(), "dense"), abs=0.01)


@pytest.mark.parametrize(
    ("device", "seconds", "expected"), [("cpu", 0.01, 4), ("cpu", 0.25, 2), ("cuda", 0.01, 0)]
)
def test_photos_see_what_it_delays_them(device, seconds, expected):
    """As its images, for a quarter of the queue budget at most; on a GPU it delays nothing."""
    assert expected == counted_as(loaded(device, seconds), 3.5)


def test_seconds_are_predicted_and_learned():
    """At first by the share of the threads; then half of it from the last one."""
    costs, model = PaperCosts(4.0), loaded()
    assert 0.4 * 3.5 == pytest.approx(costs.of_images(model, 3.5))
    assert 1.0 == pytest.approx(costs.of_crops(model, 10))

    costs.learn(model, 2, 0.6, done=True)
    assert 0.3 == pytest.approx(costs.of_images(model, 1))
    costs.learn(model, 2, 0.2, done=True)
    assert 0.2 == pytest.approx(costs.of_images(model, 1))


def test_one_that_was_given_up_teaches_only_that_it_takes_longer():
    """A client that leaves early makes nothing faster."""
    costs, model = PaperCosts(4.0), loaded()
    costs.learn(model, 2, 0.6, done=True)

    costs.learn(model, 2, 0.1, done=False)
    assert 0.3 == pytest.approx(costs.of_images(model, 1))
    costs.learn(model, 2, 1.6, done=False)
    assert 0.8 == pytest.approx(costs.of_images(model, 1))


def test_nothing_is_known_of_a_gpu_s_machine_at_first():
    """There is no prediction, and no refusal by it."""
    costs, model = PaperCosts(4.0), loaded("cuda")

    assert 0 == costs.of_images(model, 100)
    costs.learn(model, 2, 3.0, done=True)
    assert 1.5 == pytest.approx(costs.of_images(model, 1))


def test_a_refusal_is_not_for_ever():
    """Each makes the next prediction smaller, since the machine may have been busy."""
    costs, model = PaperCosts(4.0), loaded()
    costs.learn(model, 1, 20.0, done=True)

    for _ in range(14):
        with pytest.raises(DeadlineExceededError, match="leave test out"):
            costs.check(model, costs.of_images(model, 1), 5.0)

    costs.check(model, costs.of_images(model, 1), 5.0)  # 20 times 0.9 to the 14th is below 5
