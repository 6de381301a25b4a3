"""A graph on a CPU: broken graphs and failed runs are told apart, and threads change no result."""

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from app.errors import OutOfMemoryError, RunFailedError
from app.runtime.cpu_session import BatchSplitter, CpuSession, _run
from app.runtime.ort import CPU, open_graph
from app.setup_errors import SessionError

BATCH = np.zeros((2, 4, 4, 3), np.uint8)


def node(op: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    """Make a node from names with blanks between them."""
    return helper.make_node(op, inputs.split(" "), [output], **attributes)


def write(folder: Path, *nodes: NodeProto, **constants: np.ndarray) -> Path:
    """Write a graph with the input and the output of a serving graph."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 4, 4, 3])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 1000])
    graph = helper.make_graph(
        nodes,
        "tiny",
        [image],
        [probabilities],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "graph.onnx"
    onnx.save_model(model, path)
    return path


def brightness(folder: Path) -> Path:
    """Write a graph that gives, for each class, the pixel sum of the image plus its index."""
    return write(
        folder,
        node("Cast", "image", "float", to=TensorProto.FLOAT),
        node("Flatten", "float", "flat", axis=1),
        node("ReduceSum", "flat axis", "sum", keepdims=1),
        node("Add", "sum classes", "probabilities"),
        axis=np.array([1], np.int64),
        classes=np.arange(1000, dtype=np.float32),
    )


def reciprocal(folder: Path) -> Path:
    """Write a graph that gives 1 / pixel sum, or 0 / 0 for a black image."""
    return write(
        folder,
        node("Cast", "image", "float", to=TensorProto.FLOAT),
        node("Flatten", "float", "flat", axis=1),
        node("ReduceSum", "flat axis", "sum", keepdims=1),
        node("Mul", "sum classes", "many"),
        node("Div", "many many", "probabilities"),
        axis=np.array([1], np.int64),
        classes=np.ones(1000, np.float32),
    )


# --- graphs ----------------------------------------------------------------------------


def test_rows_of_a_batch(tmp_path):
    """Each image gets its row, float32, whatever the size of the batch."""
    session = CpuSession(brightness(tmp_path), threads=2)
    batch = np.zeros((5, 4, 4, 3), np.uint8)
    batch[:, 0, 0, 0] = [1, 2, 3, 4, 5]

    for count in (5, 1, 3):
        rows = session.run(batch[:count])

        assert ((count, 1000), np.dtype(np.float32)) == (rows.shape, rows.dtype)
        assert [*range(1, count + 1)] == rows[:, 0].tolist()
        assert [*range(1000, 1000 + count)] == rows[:, 999].tolist()


@pytest.mark.parametrize(
    "content", [b"", b"no graph", b"\x08\x09", bytes(100)], ids=["empty", "text", "short", "zeros"]
)
def test_corrupt_graph(tmp_path, content):
    """Bytes that are no graph are refused when they are loaded, with the name of the file."""
    path = tmp_path / "graph.onnx"
    path.write_bytes(content)

    with pytest.raises(SessionError, match=r"graph\.onnx cannot be loaded: "):
        CpuSession(path)


def test_graph_that_was_cut(tmp_path):
    """Half a graph is not a smaller one."""
    path = brightness(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(SessionError, match="cannot be loaded"):
        CpuSession(path)


def test_missing_graph(tmp_path):
    """A missing file gives the same error."""
    with pytest.raises(SessionError, match=r"none\.onnx cannot be loaded: .*[Nn]o such file|exist"):
        CpuSession(tmp_path / "none.onnx")


def test_weights_that_were_cut(tmp_path):
    """A weights file that is too short is noticed when it is loaded and not in a run."""
    path = brightness(tmp_path)
    onnx.save_model(
        onnx.load_model(path), path, save_as_external_data=True, location="w.bin", size_threshold=9
    )
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.bin").read_bytes()[:1000])

    with pytest.raises(SessionError, match="cannot be loaded"):
        CpuSession(path)


def test_operator_that_onnxruntime_does_not_know(tmp_path):
    """A ready graph with somebody's own operators cannot be served, and its name is given."""
    path = write(tmp_path, node("Nonsense", "image", "probabilities"))

    with pytest.raises(SessionError, match=r"cannot be loaded: .*Nonsense"):
        CpuSession(path)


# --- runs ------------------------------------------------------------------------------


def test_values_that_are_not_numbers(tmp_path):
    """NaN in any row is an error and never an answer."""
    session = CpuSession(reciprocal(tmp_path))
    half_black = BATCH.copy()
    half_black[0] = 1

    with pytest.raises(RunFailedError, match="not numbers"):
        session.run(half_black)


def test_infinite_values(tmp_path):
    """Neither is infinity."""
    path = write(
        tmp_path,
        node("Cast", "image", "float", to=TensorProto.FLOAT),
        node("Flatten", "float", "flat", axis=1),
        node("ReduceSum", "flat axis", "sum", keepdims=1),
        node("Div", "classes sum", "probabilities"),
        axis=np.array([1], np.int64),
        classes=np.ones(1000, np.float32),
    )

    with pytest.raises(RunFailedError, match="not numbers"):
        CpuSession(path).run(BATCH)


def test_run_after_a_failed_one(tmp_path):
    """A failed run does not spoil the session for the next."""
    session = CpuSession(reciprocal(tmp_path))
    with pytest.raises(RunFailedError):
        session.run(BATCH)

    assert 1 == session.run(BATCH + np.uint8(1)).max()


@pytest.mark.parametrize(
    "batch",
    [BATCH[:, :3], BATCH[..., :2], BATCH.astype(np.float32), BATCH[0]],
    ids=["height", "channels", "type", "rank"],
)
def test_batch_of_another_shape(tmp_path, batch):
    """Onnxruntime's own errors come out as ours."""
    session = CpuSession(brightness(tmp_path))

    with pytest.raises(RunFailedError) as caught:
        session.run(np.ascontiguousarray(batch))

    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value, OutOfMemoryError)


def test_out_of_memory(tmp_path):
    """A run that needs 13 petabytes is distinguished from one that fails for another reason."""
    path = write(
        tmp_path,
        node("Shape", "image", "shape"),
        node("Mul", "shape factors", "huge"),
        node("ConstantOfShape", "huge", "zeros"),
        node("Flatten", "zeros", "probabilities", axis=1),
        factors=np.array([2**15, 2**15, 2**15, 1], np.int64),
    )
    session = CpuSession(path)

    with pytest.raises(OutOfMemoryError, match="out of memory"):
        session.run(BATCH)


def splitting(graph: Path, threads: int) -> CpuSession:
    """Open a session whose threads take whole images, however fast that is here."""
    session = CpuSession(graph, threads=threads)
    session._splitter = BatchSplitter(partial(_run, open_graph(graph, CPU, 1)), threads)
    return session


def test_threads_may_take_whole_images(tmp_path):
    """Each row is its image's, in order, whichever way the threads work; a lone image as well."""
    graph = brightness(tmp_path)
    together, split = CpuSession(graph, threads=3), splitting(graph, 3)
    images = np.random.default_rng(1).integers(0, 256, (9, 4, 4, 3), np.uint8)
    for size in (1, 2, 3, 9):
        np.testing.assert_array_equal(together.run(images[:size]), split.run(images[:size]))


@pytest.mark.parametrize("bad", [0, 3, 5])
def test_the_error_of_one_image_fails_the_run(tmp_path, bad):
    """A run with a bad image fails as a whole, in whichever thread; the next one does not."""
    session = splitting(reciprocal(tmp_path), 2)
    batch = np.ones((6, 4, 4, 3), np.uint8)
    good = session.run(batch)
    batch[bad] = 0
    with pytest.raises(RunFailedError):
        session.run(batch)
    batch[bad] = 1
    np.testing.assert_array_equal(good, session.run(batch))


def test_tuning_changes_no_result(tmp_path):
    """A tuned session gives the same results as before, whatever was measured."""
    session = CpuSession(brightness(tmp_path), threads=2)
    images = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), np.uint8)
    before = session.run(images)
    session.tune(5)
    np.testing.assert_array_equal(before, session.run(images))


def test_tuning_leaves_a_model_alone_that_takes_no_batch(tmp_path):
    """A model that takes single images only still runs them afterwards."""
    graph = write(
        tmp_path,
        node("Cast", "image", "float", to=TensorProto.FLOAT),
        node("Reshape", "float flat", "one"),
        node("ReduceSum", "one axis", "sum", keepdims=1),
        node("Add", "sum classes", "probabilities"),
        flat=np.array([1, 48], np.int64),
        axis=np.array([1], np.int64),
        classes=np.arange(1000, dtype=np.float32),
    )
    session = CpuSession(graph, threads=2)
    session.tune(4)

    assert (1, 1000) == session.run(BATCH[:1]).shape
    with pytest.raises(RunFailedError):
        session.run(BATCH)


def with_stem(folder: Path) -> Path:
    """Cut `brightness` in two: a stem for one image, which halves it, and the rest for a batch."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 4, 4, 3])
    maps = helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, "N", 1])
    result = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 1000])
    parts = {
        "stem.onnx": (
            [
                node("Cast", "image", "float", to=TensorProto.FLOAT),
                node("ReduceMean", "float", "mean", axes=[1, 2, 3], keepdims=0),
                node("Reshape", "mean shape", "maps"),
            ],
            [numpy_helper.from_array(np.array([1, -1, 1], np.int64), "shape")],
            (image, maps),
        ),
        "graph.onnx": (
            [
                node("Mul", "maps ramp", "rows"),
                node("Squeeze", "rows first", "probabilities"),
            ],
            [
                numpy_helper.from_array(np.linspace(0, 1, 1000, dtype=np.float32), "ramp"),
                numpy_helper.from_array(np.array([0], np.int64), "first"),
            ],
            (maps, result),
        ),
    }
    for name, (nodes, constants, (source, output)) in parts.items():
        graph = helper.make_graph(nodes, "half", [source], [output], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save_model(model, folder / name)
    return folder / "graph.onnx"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_stem_takes_image_by_image(tmp_path, threads):
    """Whether the threads share an image or take one each: rows in order, for every size."""
    session = CpuSession(with_stem(tmp_path), threads=threads)
    images = np.random.default_rng(1).integers(0, 256, (9, 4, 4, 3), np.uint8)
    means = images.mean(axis=(1, 2, 3))
    expected = means[:, np.newaxis] * np.linspace(0, 1, 1000)

    for _ in range(2):
        for size in (1, 2, 3, 9):
            np.testing.assert_allclose(session.run(images[:size]), expected[:size], rtol=1e-5)
        session.tune(9)
        session.trim()


def test_a_stem_that_is_gone_is_a_broken_graph(tmp_path):
    """Another process may have deleted it: the graph alone cannot be run, and loading it fails."""
    graph = with_stem(tmp_path)
    (tmp_path / "stem.onnx").unlink()

    with pytest.raises(SessionError, match=r"stem\.onnx"):
        CpuSession(graph)


def test_a_stem_that_is_broken_is_a_broken_graph(tmp_path):
    """The error when it is loaded names it."""
    graph = with_stem(tmp_path)
    (tmp_path / "stem.onnx").write_bytes(b"none")

    with pytest.raises(SessionError, match=r"stem\.onnx"):
        CpuSession(graph)


# --- batches that are split --------------------------------------------------------------

NUMBERED = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)


class Recorder:
    """Gives the value of an image as its row; notes the images and the threads."""

    def __init__(self, together=1, bad=None):
        """Let as many callers as `together` wait for each other once, and fail at `bad`."""
        self.images = []
        self.threads = set()
        self._meeting = threading.Barrier(together)
        self._bad = bad

    def __call__(self, names, image):
        """Run one image."""
        number = int(image[0, 0, 0, 0])
        self.images.append(number)
        if threading.get_ident() not in self.threads:
            self.threads.add(threading.get_ident())
            self._meeting.wait(10)
        if number == self._bad:
            raise ValueError(number)
        return [np.full((1, len(name)), number, np.float32) for name in names]


@pytest.mark.parametrize("threads", [2, 3, 9])
def test_each_image_is_run_once_and_rows_are_in_order(threads):
    """Whichever thread runs an image, its row has the place of the image."""
    run_one = Recorder()

    one, two = BatchSplitter(run_one, threads).run(NUMBERED, ["a", "bc"])

    np.testing.assert_array_equal(np.arange(7.0).reshape(7, 1), one)
    np.testing.assert_array_equal(np.repeat(np.arange(7.0), 2).reshape(7, 2), two)
    assert sorted(run_one.images) == list(range(7))


def test_a_thread_may_take_two_images_together():
    """The last one has what is left."""
    sizes = []

    def run_some(_, images):
        sizes.append(len(images))
        return [images.reshape(-1, 1).astype(np.float32)]

    [rows] = BatchSplitter(run_some, 2, together=2).run(NUMBERED, ["a"])

    np.testing.assert_array_equal(np.arange(7.0).reshape(7, 1), rows)
    assert [1, 2, 2, 2] == sorted(sizes)


def test_threads_work_at_the_same_time():
    """Three threads meet during their first images: none waits for another to finish."""
    run_one = Recorder(together=3)

    BatchSplitter(run_one, 3).run(NUMBERED, ["a"])

    assert len(run_one.threads) == 3


@pytest.mark.parametrize("bad", [0, 3, 6])
def test_an_error_reaches_the_caller(bad):
    """Whichever thread it happened in; the next batch runs as usual."""
    splitter = BatchSplitter(Recorder(bad=bad), 2)

    with pytest.raises(ValueError, match=str(bad)):
        splitter.run(NUMBERED, ["a"])
    assert len(splitter.run(NUMBERED[:1] + 7, ["a"])[0]) == 1
