"""Digests are those of the whole file, and hashing reports its progress."""

import hashlib

import pytest

from app.errors import DownloadError
from app.weights.download.digest import hash_file, ignore

CONTENT = bytes(range(256)) * 10_000


@pytest.fixture
def path(tmp_path):
    """Write a file of more than one piece."""
    path = tmp_path / "vgg.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_digest_names_its_algorithm(path, algorithm):
    """A digest is the algorithm, a colon and hex digits."""
    digits = hashlib.new(algorithm, CONTENT).hexdigest()

    assert hash_file(path, f"{algorithm}:", ignore).digest == f"{algorithm}:{digits}"


def test_sha384_comes_with_the_sha256(path):
    """The file is read once for both."""
    calls = []

    tally = hash_file(path, "sha384:", lambda *call: calls.append(call))

    assert tally.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert len(calls) == len(set(calls))


def test_hashing_reports_progress(path):
    """Hashing reports each piece and ends with the whole size."""
    calls = []

    hash_file(path, None, lambda *call: calls.append(call))

    assert len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_digest_needs_a_file(path):
    """A missing file is a DownloadError."""
    path.unlink()

    with pytest.raises(DownloadError, match=r"vgg\.bin: No such file"):
        hash_file(path, None, ignore)
