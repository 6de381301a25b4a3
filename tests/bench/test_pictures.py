import io

import pytest
from PIL import Image

from app.bench.pictures import make_pictures, read_pictures
from app.errors import SetupError
from tests.conftest import png


def test_pictures_are_the_same_every_time_and_all_different():
    """So many JPEGs of each size, no two with the same bytes, and the same in the next run."""
    pictures = make_pictures("60x40:2,30x50")

    assert ["60x40", "60x40", "30x50"] == [one.name for one in pictures]
    assert [(60, 40), (60, 40), (30, 50)] == [
        Image.open(io.BytesIO(one.data)).size for one in pictures
    ]
    assert 3 == len({one.data for one in pictures})
    assert pictures == make_pictures("60x40:2,30x50")


def test_pictures_weigh_what_photos_weigh():
    """About 0.1 to 0.4 bytes a pixel, as photos of a camera have."""
    data = make_pictures("500x375")[0].data

    assert 0.1 < len(data) / (500 * 375) < 0.4


@pytest.mark.parametrize("sizes", ["500", "500x", "0x5", "-1x5", "5x5:x", "99999x99999", "5x5:101"])
def test_impossible_sizes_are_told(sizes):
    """A size that cannot be is refused with the name of its option."""
    with pytest.raises(SetupError, match="--sizes"):
        make_pictures(sizes)


def test_files_keep_their_bytes_and_type(tmp_path):
    """What a user gives is sent as it is."""
    (tmp_path / "a.png").write_bytes(png())
    picture = read_pictures([tmp_path / "a.png"])[0]

    assert ("a.png", png(), "image/png") == (picture.name, picture.data, picture.mime)


def test_no_file_is_told(tmp_path):
    """An empty folder, or a file that went away, is refused."""
    with pytest.raises(SetupError, match="no JPEG"):
        read_pictures([])
    with pytest.raises(SetupError, match="--images"):
        read_pictures([tmp_path / "gone.png"])
