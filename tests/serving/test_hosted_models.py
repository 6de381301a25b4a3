"""What is told of a model while it loads."""

import pytest

from app.serving.hosted_models import HostedModel
from app.weights.manifests import load_catalog
from tests.conftest import REPOSITORY


@pytest.fixture
def model():
    return HostedModel(load_catalog(REPOSITORY / "models")["vgg16"])


def test_a_download_is_logged_ten_times(model, caplog):
    """Whoever watches the log of a first start sees each tenth of the weights come in."""
    caplog.set_level("INFO", "app.serving.hosted_models")
    total = 553_000_000
    for done in range(0, total + 1, 1_000_000):
        model.note("fetching", done, total)

    assert 11 == len(caplog.messages)
    assert "vgg16: fetching, 0 of 553 MB" == caplog.messages[0]
    assert "vgg16: fetching, 56 of 553 MB" == caplog.messages[1]
    assert "vgg16: fetching, 553 of 553 MB" == caplog.messages[-1]


def test_each_step_is_logged_once(model, caplog):
    """A step that takes seconds is told when it begins, however often it reports."""
    caplog.set_level("INFO", "app.serving.hosted_models")
    for step in ("verifying", "building", "loading", "warming up"):
        model.note(step, 0, None)
        for done in range(100):
            model.note(step, done, 100)

    assert [
        "vgg16: verifying",
        "vgg16: building",
        "vgg16: loading",
        "vgg16: warming up",
    ] == caplog.messages
    assert "warming up" == model.describe_progress()


def test_a_size_that_is_not_known(model, caplog):
    """Without a total the bytes are not told, and nothing fails."""
    caplog.set_level("INFO", "app.serving.hosted_models")
    model.note("fetching", 0, None)
    model.note("fetching", 1000, None)

    assert ["vgg16: fetching"] == caplog.messages
