"""A front process, before it serves."""

from app.service.front_process import share_of
from app.service.settings import Settings


def test_limits_per_process_are_divided():
    """Several fronts together have the limits of one process."""
    whole = Settings(
        front_processes=3, decode_threads=4, max_connections=100, max_upload_bytes=90_000_001
    )
    part = share_of(whole)

    assert (2, 34, 30_000_001) == (
        part.decode_threads,
        part.max_connections,
        part.max_upload_bytes,
    )
    assert whole == part.model_copy(
        update={
            name: getattr(whole, name)
            for name in ("decode_threads", "max_connections", "max_upload_bytes")
        }
    )


def test_each_front_decodes():
    """More fronts than threads get one thread each."""
    several = Settings(front_processes=16, decode_threads=2, max_upload_bytes=400_000_000)

    assert 1 == share_of(several).decode_threads
