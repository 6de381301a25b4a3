"""A `.part` is what has come, counted and hashed, and becomes the file in one step."""

import asyncio
import errno
import hashlib
import logging
import os
import threading
import time

import pytest

from app.setup_errors import DownloadError
from app.weights.download.part_file import PartFile, hash_file, locked, on_disk, require_room

CONTENT = bytes(range(256)) * 10_000


def ignore(_count, _total):
    """Take progress and do nothing."""


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
    digest = part.digest
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
    assert part.digest == "sha256:" + hashlib.sha256(b"abcd").hexdigest()


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
    assert open_part(path).digest == part.digest


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


@pytest.fixture
def file(path):
    """Write a file of more than one piece."""
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_digest_names_its_algorithm(file, algorithm):
    """A digest is the algorithm, a colon and hex digits."""
    digits = hashlib.new(algorithm, CONTENT).hexdigest()

    assert hash_file(file, f"{algorithm}:", ignore).digest == f"{algorithm}:{digits}"


def test_sha384_comes_with_the_sha256(file):
    """The file is read once for both."""
    calls = []

    tally = hash_file(file, "sha384:", lambda *call: calls.append(call))

    assert tally.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert len(calls) == len(set(calls))


def test_hashing_reports_progress(file):
    """Hashing reports each piece and ends with the whole size."""
    calls = []

    hash_file(file, None, lambda *call: calls.append(call))

    assert len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_digest_needs_a_file(file):
    """A missing file is a DownloadError."""
    file.unlink()

    with pytest.raises(DownloadError, match=r"vgg\.bin: No such file"):
        hash_file(file, None, ignore)


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
