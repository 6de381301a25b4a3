"""Whatever a disk refuses is a sentence with a way out."""

import errno
import os

import pytest

from app.errors import DownloadError
from app.weights.download.disk import on_disk, require_room


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room there"),
        (errno.EDQUOT, "make room there"),
        (errno.EACCES, "give this process access"),
        (errno.EROFS, "give this process access"),
    ],
)
def test_refusal_is_one_sentence(tmp_path, number, advice):
    """The file, what the system says, and what to do about it."""
    with pytest.raises(DownloadError) as caught, on_disk(tmp_path):
        raise OSError(number, os.strerror(number))

    assert str(caught.value).startswith(f"{tmp_path}: {os.strerror(number)}; {advice}")


def test_room_is_asked_for_beforehand(tmp_path):
    """A disk that is too small is named with what is needed."""
    require_room(tmp_path / "vgg.bin", 1)

    with pytest.raises(DownloadError, match=r"vgg\.bin needs 1,000,000,000\.0 MB more in"):
        require_room(tmp_path / "vgg.bin", 10**15)
