import io

import pytest
from PIL import Image

from app.bench.pictures import make_pictures, read_pictures
from app.errors import SetupError
from tests.conftest import png


def test_pictures_are_the_same_every_time_and_all_different():
    """Each size gives its number of JPEGs, no two with the same bytes, and the same in the next run."""
    pictures = make_pictures("60x40:2,30x50")

    assert ["60x40", "60x40", "30x50"] == [one.name for one in pictures]
    assert [(60, 40), (60, 40), (30, 50)] == [
        Image.open(io.BytesIO(one.data)).size for one in pictures
    ]
    assert 3 == len({one.data for one in pictures})
    assert pictures == make_pictures("60x40:2,30x50")


def test_pictures_are_as_large_as_photos():
    """A picture has 0.1 to 0.4 bytes per pixel, as photos of a camera do."""
    data = make_pictures("500x375")[0].data

    assert 0.1 < len(data) / (500 * 375) < 0.4


@pytest.mark.parametrize("sizes", ["500", "500x", "0x5", "-1x5", "5x5:x", "99999x99999", "5x5:101"])
def test_impossible_sizes_are_refused(sizes):
    """An impossible size is refused with the name of its option."""
    with pytest.raises(SetupError, match="--sizes"):
        make_pictures(sizes)


def test_files_keep_their_bytes_and_type(tmp_path):
    """A file of the user is sent as it is."""
    (tmp_path / "a.png").write_bytes(png())
    picture = read_pictures([tmp_path / "a.png"])[0]

    assert ("a.png", png(), "image/png") == (picture.name, picture.data, picture.mime)


def test_missing_files_are_refused(tmp_path):
    """An empty folder or a missing file is refused."""
    with pytest.raises(SetupError, match="no JPEG"):
        read_pictures([])
    with pytest.raises(SetupError, match="--images"):
        read_pictures([tmp_path / "gone.png"])
