"""Digests are those of the whole file, and waiting for them is told."""

import hashlib

import pytest

from app.errors import DownloadError
from app.weights.download.digest import digest_of

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

    assert digest_of(path, algorithm) == f"{algorithm}:{digits}"


def test_digest_of_tells_how_far_it_is(path):
    """Hashing tells each piece and ends with the whole size."""
    calls = []

    digest_of(path, progress=lambda *call: calls.append(call))

    assert len(calls) > 1
    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_digest_needs_a_file(path):
    """A missing file is a DownloadError."""
    path.unlink()

    with pytest.raises(DownloadError, match=r"vgg\.bin: No such file"):
        digest_of(path)
