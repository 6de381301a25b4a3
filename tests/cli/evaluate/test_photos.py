"""The photos of a folder are found, whatever else is in it."""

from app.cli.evaluate.photos import find_labelled
from app.evaluation.classes import Classes
from app.records import Label
from tests.conftest import png


def test_a_link_that_leads_nowhere_is_a_photo_that_cannot_be_read(tmp_path):
    """It is reported with the damaged ones; it does not end the run."""
    folder = tmp_path / "cat"
    folder.mkdir()
    (folder / "a.png").write_bytes(png("red"))
    (folder / "gone.png").symlink_to(tmp_path / "gone.png")

    found = find_labelled(tmp_path, None)(Classes([Label(None, "cat")]))

    assert ["cat/a.png", "cat/gone.png"] == [photo.name for photo in found]
