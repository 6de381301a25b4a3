import asyncio
import gc
import threading
import time
import weakref
from functools import partial

import pytest

from app.errors import CorruptImageError, DeadlineExceededError
from app.images.decode_pool import DecodePool

pytestmark = pytest.mark.anyio

LATER = 1e12


@pytest.fixture
def pool():
    pool = DecodePool(1)
    yield pool
    pool.stop()


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


async def test_work_is_done_in_another_thread(pool):
    """Decoding does not block the event loop, and errors reach the caller."""
    here = threading.current_thread()

    assert await pool.decode(lambda: threading.current_thread() is not here, LATER)
    with pytest.raises(ZeroDivisionError):
        await pool.decode(lambda: 1 / 0, LATER)
    assert 0 == pool.backlog()


async def test_backlog_is_pending_times_the_usual_time(pool, gate):
    """The backlog grows with the number of images and with the time that each takes."""
    await pool.decode(lambda: time.sleep(0.01), LATER)
    one = pool._photos.seconds
    tasks = [asyncio.create_task(pool.decode(gate.wait, LATER)) for _ in range(3)]
    await asyncio.sleep(0)

    assert pytest.approx(3 * one) == pool.backlog()
    assert pytest.approx(5 * one) == pool.backlog(coming=2)
    gate.set()
    await asyncio.gather(*tasks)
    assert 0.0 == pool.backlog()


async def test_pictures_count_before_they_are_drawn(pool, gate):
    """Whoever comes later waits for them too; they take longer than photos, and how long is learned."""
    await pool.decode(lambda: None, LATER)
    with pool.coming_picture():
        coming = pool.backlog()
    task = asyncio.create_task(pool.decode(gate.wait, LATER, picture=True))
    await asyncio.sleep(0)
    drawn = pool.backlog()
    gate.set()
    await task
    with pool.coming_picture():
        learned = pool.backlog()

    assert 0.01 < coming == drawn
    assert 0.0 == pool.backlog() < learned < coming


async def test_cancelled_work_is_never_started(pool, gate):
    """A request that is cancelled while it waits for a thread costs nothing."""
    done = []
    first = asyncio.create_task(pool.decode(gate.wait, LATER))
    second = asyncio.create_task(pool.decode(lambda: done.append(1), LATER))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    gate.set()
    await first

    assert ([], 0) == (done, pool.backlog())


async def test_deadline_is_checked_before_decoding(pool):
    """An image whose deadline has passed is not decoded any more."""
    done = []
    with pytest.raises(DeadlineExceededError):
        await pool.decode(lambda: done.append(1), time.monotonic() - 1)

    assert [] == done


async def test_deadline_ends_the_wait_but_not_the_thread(pool, gate):
    """Past its deadline a request is answered; its thread continues, and counts until it ends."""
    await pool.decode(lambda: None, LATER)
    with pytest.raises(DeadlineExceededError):
        await pool.decode(gate.wait, time.monotonic() + 0.01)

    assert pool.backlog() > 0
    gate.set()
    await pool.decode(lambda: None, LATER)
    assert 0 == pool.backlog()


class Picture:
    """Something large."""


async def test_an_upload_that_fails_is_freed_at_once(pool):
    """So are its pixels, which the error refers to: garbage may not be collected for hours."""
    uploads = []

    def work(upload):
        picture = Picture()
        uploads.append(weakref.ref(picture))
        try:
            int(f"no number, as {picture} is no {upload}")
        except ValueError as exc:
            raise CorruptImageError("No.") from exc

    gc.disable()
    try:
        for _ in range(3):
            upload = Picture()
            uploads.append(weakref.ref(upload))
            with pytest.raises(CorruptImageError) as caught:
                await pool.decode(partial(work, upload), LATER)
            del upload, caught
        await pool.decode(int, LATER)  # so the thread has dropped its earlier work
        left = [one() for one in uploads]
    finally:
        gc.enable()

    assert [None] * 6 == left
