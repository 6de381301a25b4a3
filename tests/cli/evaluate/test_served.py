"""What a server says about a model is read, or told to be none of a vgg-serve's."""

import pytest

from app.cli.evaluate.served import PublishedAccuracy, read_served, too_few
from app.client.answer import read_answer, read_model
from app.setup_errors import SetupError

PREPROCESS = {
    "resize": 36,
    "crop": 32,
    "channels": "BGR",
    "mean": [1, 2, 3],
    "std": [1.0, 1.0, 1.0],
}
MODEL = {"name": "two", "title": "Two classes", "state": "ready", "classes": 2, "precision": None,
         "preprocess": PREPROCESS, "accuracy": {"top1": 71.5, "top5": 90.0, "source": "x"}}  # fmt: skip
ROWS = [{"rank": 1, "label": "b", "probability": 0.75, "wnid": None, "class_index": 1},
        {"rank": 2, "label": "a", "probability": 0.25, "wnid": "n1", "class_index": 0}]  # fmt: skip
ANSWER = {"model": {"name": "two", "weights_sha256": "57", "trained": False},
          "image": {"width": 1, "height": 1, "format": "png"}, "predictions": ROWS}  # fmt: skip


def read(**changed):
    return read_served("http://server", read_model(MODEL | changed), read_answer(ANSWER))


def test_a_model_is_as_the_server_describes_it():
    """Classes in the order of their index, preprocessing, accuracy, digest and precision."""
    manifest, graph, classes = read()

    assert ("two", "Two classes", "BGR", (1.0, 2.0, 3.0)) == (
        manifest.name,
        manifest.title,
        manifest.preprocess.channels,
        manifest.preprocess.mean,
    )
    assert PublishedAccuracy(71.5, 90.0) == manifest.accuracy
    assert (False, "57", None) == (graph.trained, graph.weights_sha256, graph.precision)
    assert (0, 1) == (classes.find("n1"), classes.find("b"))
    assert read(accuracy=None)[0].accuracy is None
    assert [1.0, 1.07] == [manifest.temperature, read(temperature=1.07)[0].temperature]


@pytest.mark.parametrize(
    "changed",
    [{"preprocess": None}, {"preprocess": {"resize": 1}}, {"preprocess": PREPROCESS | {"mean": [1]}},
     {"accuracy": {"top1": "x", "top5": 1}}, {"temperature": "warm"}],
)  # fmt: skip
def test_another_description_is_told(changed):
    """The sentence names the server."""
    with pytest.raises(SetupError, match="http://server: does not describe its model"):
        read(**changed)


def test_it_is_said_what_cannot_be_computed():
    """Where a server does not name all classes."""
    assert "names 5 of its 9 classes" in too_few("http://server", 5, 9)
