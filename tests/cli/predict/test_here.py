"""Files are classified in this process as the service does it."""

import asyncio

import pytest

from app.cli.environment import ready_graph
from app.cli.files import STDIN, File
from app.cli.predict.here import Here
from app.service.settings import Settings
from app.weights.labels import load_labels
from app.weights.manifests.catalog import load_catalog
from tests.conftest import png


@pytest.fixture
def here(model_dir):
    """The network `colours`, with two classes a photo."""
    settings = Settings(model_dir=model_dir, models=("colours",), max_upload_bytes=26_000_000)
    manifest = load_catalog(model_dir)["colours"]
    return Here(
        settings,
        manifest,
        ready_graph(settings, manifest),
        load_labels("imagenet-1k", model_dir),
        2,
    )


def test_a_photo_is_classified(here, tmp_path):
    """From a file and from standard input."""
    (tmp_path / "green").write_bytes(png("green"))
    first = asyncio.run(here.classify(File(tmp_path / "green")))
    second = asyncio.run(here.classify(File(STDIN, named=True, data=png("red"))))

    assert [1, 0] == [one.predictions[0].class_index for one in (first, second)]
    assert ("colours", False, "png") == (first.model, first.trained, first.image.format)
    assert 2 == len(first.predictions)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0broken", "The image is damaged"),
        (png(size=(4, 4)), "The image has too few pixels"),
        (b"a text", "not an image"),
        (b"\xff\xd8\xff\xe0" + bytes(26_000_001), "too large"),
    ],
)
def test_what_cannot_be_classified_is_a_failure(here, tmp_path, data, kind):
    """It is named by its kind, and the next file is classified."""
    (tmp_path / "a.jpg").write_bytes(data)
    result = asyncio.run(here.classify(File(tmp_path / "a.jpg")))

    assert kind == result.trouble.kind
    assert result.error
    assert asyncio.run(here.classify(File(STDIN, data=png()))).error is None
