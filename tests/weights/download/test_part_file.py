"""A `.part` is what has come, counted and hashed, and becomes the file in one step."""

import asyncio
import hashlib
import logging
import threading
import time

import pytest

from app.errors import DownloadError
from app.weights.download.digest import ignore
from app.weights.download.part_file import PartFile, locked


@pytest.fixture
def path(tmp_path):
    """Name a file that is not there yet."""
    return tmp_path / "vgg.bin"


def open_part(path):
    """Take over what is there."""
    return PartFile(path, None, None, ignore)


def extend(part, pieces):
    """Append pieces as they would come; the whole file has 5 bytes."""

    async def body():
        for piece in pieces:
            yield piece

    asyncio.run(part.extend(body(), 5))


def test_part_grows_and_becomes_the_file(path):
    """There is no file under its final name before the end."""
    part = open_part(path)
    extend(part, [b"ab", b"c"])
    between = path.exists()
    extend(part, [b"de"])
    digest = part.tally.digest
    part.finish()

    assert not between
    assert digest == "sha256:" + hashlib.sha256(b"abcde").hexdigest()
    assert [path] == list(path.parent.iterdir())
    assert path.read_bytes() == b"abcde"


def test_earlier_bytes_are_counted_but_not_gained(path):
    """What an earlier process left is hashed, and known not to be of this one."""
    extend(open_part(path), [b"abc"])
    part = open_part(path)
    extend(part, [b"d"])

    assert (part.count, part.gained, part.joined) == (4, 1, True)
    assert part.tally.digest == "sha256:" + hashlib.sha256(b"abcd").hexdigest()


def test_one_answer_is_not_joined(path):
    """A file from one answer has no seam, also after others were thrown away."""
    part = open_part(path)
    extend(part, [b"ab"])
    extend(part, [b"c"])
    part.clear()
    extend(part, [b"abcde"])

    assert (part.count, part.gained, part.joined) == (5, 5, False)


def test_interrupt_keeps_what_has_come(path):
    """Count, digest and disk agree after whatever the body raises."""

    def body():
        yield b"abc"
        raise KeyboardInterrupt

    part = open_part(path)
    with pytest.raises(KeyboardInterrupt):
        extend(part, body())

    assert part.count == 3
    assert open_part(path).tally.digest == part.tally.digest


def test_body_that_is_too_long_is_deleted(path):
    """A body cannot fill the disk."""
    part = open_part(path)

    with pytest.raises(DownloadError, match="more than its 5 bytes"):
        extend(part, [b"abc"] * 1000)
    assert part.count == 0
    assert [] == list(path.parent.iterdir())


def test_lock_makes_others_wait(path, caplog):
    """The second one logs that it waits; other files are not blocked."""
    caplog.set_level(logging.INFO)
    order = []

    def second():
        with locked(path):
            order.append("second")

    with locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        with locked(path.with_name("other.bin")):
            order.append("other")
        deadline = time.monotonic() + 5
        while "waiting for it" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.001)
        order.append("first")
    thread.join()

    assert order == ["other", "first", "second"]


def test_lock_is_out_of_sight(path):
    """It litters no folder, not even one that it had to make."""
    path = path.parent / "new" / "folder" / path.name

    with locked(path):
        pass

    assert [".locks"] == [file.name for file in path.parent.iterdir()]


def test_lock_needs_a_folder(path):
    """A file in the place of the folder is a DownloadError."""
    path.write_bytes(b"")

    with pytest.raises(DownloadError, match="Not a directory"), locked(path / "vgg.bin"):
        pass
