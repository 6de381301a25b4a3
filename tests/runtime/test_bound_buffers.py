"""A batch size keeps its buffers, pixels are copied once, and two runs never share memory."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from app.errors import OutOfMemoryError
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.runtime.bound_buffers import Buffer, Runner
from app.runtime.ort import CPU, binder, open_graph, run
from tests.graph.test_serving_graph import RGB, SIDE, lively, photos, small


class FakeCard:
    """Memory of a GPU that is not there, and a session on it; records every call."""

    def __init__(self):
        self.calls: list[tuple[Any, ...]] = []
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: list[np.ndarray] = []
        self.threads: set[str] = set()
        self.addresses = itertools.count(1000)
        self.failure: Exception | None = None

    def host(self, shape, dtype):
        self.calls.append(("host", shape))
        array = np.full(shape, 99, dtype)
        self.pinned.append(array)
        return array

    def device(self, host):
        address = next(self.addresses)
        self.calls.append(("device", host.shape))
        self.memory[address] = np.zeros_like(host)
        return Buffer("cuda", 0, host.shape, host.dtype, address)

    def upload(self, host, buffer):
        assert any(host is array for array in self.pinned), "only page-locked memory is copied"
        self.calls.append(("upload", buffer.pointer))
        self.memory[buffer.pointer][...] = host

    def download(self, buffer, host):
        assert any(host is array for array in self.pinned)
        self.calls.append(("download", buffer.pointer))
        host[...] = self.memory[buffer.pointer]

    def bind(self, source, result, number):
        self.calls.append(("bind", source.pointer, result.pointer, number))

        def go():
            self.threads.add(threading.current_thread().name)
            self.calls.append(("run", number))
            if self.failure is not None:
                raise self.failure
            self.memory[result.pointer][:, 0] = self.memory[source.pointer][:, 0, 0, 0]

        return go

    def kinds(self):
        return [call[0] for call in self.calls]


class HostMemory:
    """A CPU's: the session works in the caller's arrays, and nothing is copied."""

    def host(self, shape, dtype):
        return np.zeros(shape, dtype)

    def device(self, host):
        return Buffer("cpu", 0, host.shape, host.dtype, host.ctypes.data)

    def upload(self, host, buffer):
        assert host.ctypes.data == buffer.pointer

    def download(self, buffer, host):
        assert host.ctypes.data == buffer.pointer


@pytest.fixture
def gate():
    with ThreadPoolExecutor(1, thread_name_prefix="device") as pool:
        yield pool


def batch_of(*values):
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def test_the_first_run_of_a_size_takes_its_memory_and_the_next_ones_none(gate):
    """Once a size has run, a run is an upload, a run and a download, at the same addresses."""
    card = FakeCard()
    runner = Runner(card, card.bind, gate, itertools.count(1))
    runner.run(batch_of(1, 2))
    assert ["host", "host", "device", "device", "bind", "upload", "run", "download"] == card.kinds()
    card.calls.clear()

    rows = runner.run(batch_of(3, 4))

    assert [("upload", 1000), ("run", 1), ("download", 1001)] == card.calls
    assert [3.0, 4.0] == rows[:, 0].tolist()


def test_each_size_has_buffers_and_a_number_of_its_own(gate):
    """A recording holds addresses: no number is ever given to two of them."""
    card = FakeCard()
    runner = Runner(card, card.bind, gate, itertools.count(1))
    for size in (4, 2, 1, 2, 4):
        runner.run(batch_of(*range(size)))

    bound = [call for call in card.calls if call[0] == "bind"]
    assert [1, 2, 3] == [call[3] for call in bound]
    assert 6 == len({address for call in bound for address in call[1:3]})
    assert [1, 2, 3, 2, 1] == [call[1] for call in card.calls if call[0] == "run"]


def test_pixels_are_written_once(gate):
    """Pixels in the blank batch are uploaded from there, without another copy."""
    card = FakeCard()
    runner = Runner(card, card.bind, gate, itertools.count(1))
    blank = runner.blank((2, 2, 2, 3))
    blank[...] = batch_of(7, 8)

    rows = runner.run(blank)

    assert blank is runner.blank((2, 2, 2, 3))
    assert any(blank is array for array in card.pinned)
    assert 1 == card.kinds().count("upload")
    assert [7.0, 8.0] == rows[:, 0].tolist()


def test_rows_outlive_the_next_run(gate):
    """Returned probabilities stay the same when the buffer is used again."""
    card = FakeCard()
    runner = Runner(card, card.bind, gate, itertools.count(1))
    first = runner.run(batch_of(1))
    runner.run(batch_of(2))

    assert 1.0 == first[0, 0]


def test_two_in_flight_share_no_buffer(gate):
    """Two runners of one session have memory and numbers of their own, and one thread runs both."""
    card, numbers = FakeCard(), itertools.count(1)
    runners = [Runner(card, card.bind, gate, numbers) for _ in range(2)]
    blanks = [runner.blank((2, 2, 2, 3)) for runner in runners]
    for value, blank in enumerate(blanks):
        blank[...] = value + 5
    rows = [runner.run(blank) for runner, blank in zip(runners, blanks, strict=True)]

    assert not np.shares_memory(blanks[0], blanks[1])
    bound = [call for call in card.calls if call[0] == "bind"]
    assert 4 == len({address for call in bound for address in call[1:3]})
    assert [1, 2] == [call[3] for call in bound]
    assert [5.0, 6.0] == [row[0, 0] for row in rows]
    assert 1 == len(card.threads)


def test_two_at_a_time_get_their_own_rows(gate):
    """With two threads that run as fast as they can, every caller gets its own rows."""
    card, numbers = FakeCard(), itertools.count(1)

    def work(start):
        runner = Runner(card, card.bind, gate, numbers)
        return [runner.run(batch_of(start + i))[0, 0] for i in range(100)]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(work, (0, 100))

    assert [float(i) for i in range(100)] == one
    assert [float(i) for i in range(100, 200)] == other


def test_a_run_that_failed_does_not_spoil_the_buffers(gate):
    """An error of CUDA's becomes ours, and the next run of the size uses the same memory."""
    card = FakeCard()
    runner = Runner(card, card.bind, gate, itertools.count(1))
    card.failure = RuntimeError("CUDA failure 2: out of memory")
    with pytest.raises(OutOfMemoryError, match="out of memory"):
        runner.run(batch_of(1))
    card.failure = None

    assert 9.0 == runner.run(batch_of(9))[0, 0]
    assert 1 == card.kinds().count("bind")


def test_onnxruntime_gives_through_bound_buffers_what_it_gives_without(tmp_path, gate):
    """On a CPU the same code, with onnxruntime's own binding, gives the same bits as a plain run."""
    write_vgg(tmp_path, small("D"), lively(small("D")).items(), RGB)
    session = open_graph(tmp_path / GRAPH_FILE, CPU, 1)
    numbers = itertools.count(1)
    runners = [Runner(HostMemory(), binder(session), gate, numbers) for _ in range(2)]
    images = photos(8)

    for size in (8, 4, 1, 4, 8):
        for runner in runners:
            blank = runner.blank((size, SIDE, SIDE, 3))
            blank[...] = images[:size]
            np.testing.assert_array_equal(run(session, images[:size]), runner.run(blank))
            np.testing.assert_array_equal(run(session, images[-size:]), runner.run(images[-size:]))
