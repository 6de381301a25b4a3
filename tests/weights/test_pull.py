"""From a manifest to the right serving graph, whatever the network, the files and the disk do."""

import contextlib
import hashlib
import itertools
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import onnx
import pytest
import safetensors.numpy
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.graph.conv_plan import DIRECT, ConvPlan, plans
from app.graph.own_answers import ANSWERS_FILE
from app.graph.serving_graph import GRAPH_FILE, STEM_FILE, WEIGHTS_FILE
from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig
from app.records import Layer, Preprocess
from app.runtime.open_session import open_session
from app.runtime.ort import channel_block
from app.serving.ask_classifier import ask_classifier
from app.setup_errors import CheckpointError, DownloadError, PrecisionError, SetupError
from app.weights.checkpoints.read import read_checkpoint
from app.weights.manifests.manifest import Checkpoint, DataFile, Manifest
from app.weights.provisioning import PlanFor, Provisioning, for_device
from app.weights.pull import pull

Layers: TypeAlias = dict[str, Layer]

SIDE = 64
CONFIG = VggConfig("A", group_channels=(16, 32, 16, 32, 16), hidden=(7, 7), side=SIDE)
FEATURES = dict(
    zip(list(CONFIG.weight_shapes())[:-3], (0, 3, 6, 8, 11, 13, 16, 18), strict=True)
)  # where torchvision's vgg11 has its convolutions
RGB = Preprocess(72, SIDE, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preprocess(72, SIDE, "BGR", (103.939, 116.779, 123.68), (1, 1, 1))
NOBODY = "http://127.0.0.1:1/model"
"""An address that must not be asked."""


# --- a network, and the four kinds of file it may come in -------------------------------


def layers() -> Layers:
    """Draw a network; biases are not zero."""
    generator = np.random.default_rng(3)
    return {
        name: Layer(layer.weight, generator.normal(0, 0.1, layer.bias.shape).astype(np.float32))
        for name, layer in untrained_layers(CONFIG)
    }


def write_safetensors(path: Path, network: Layers) -> None:
    """As torchvision's vgg11."""
    head = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, layer in network.items():
        theirs = head.get(name) or f"features.{FEATURES[name]}"
        tensors |= {f"{theirs}.weight": layer.weight, f"{theirs}.bias": layer.bias}
    safetensors.numpy.save_file(tensors, path)


def write_onnx(path: Path, network: Layers) -> None:
    """As an export of torchvision's vgg11."""
    nodes, tensors, value = [], [], "input"
    for row in CONFIG.layers():
        parts = [value, f"{row.name}.w", f"{row.name}.b"]
        if row.kind == "max-pooling":
            nodes.append(
                helper.make_node(
                    "MaxPool", [value], [row.name], kernel_shape=[2, 2], strides=[2, 2]
                )
            )
        elif row.kind == "convolution":
            nodes.append(
                helper.make_node("Conv", parts, [row.name], kernel_shape=[3, 3], pads=[1] * 4)
            )
        else:
            nodes.append(helper.make_node("Gemm", parts, [row.name], transB=1))
        value = row.name
        if row.weight_shape and row.name != "fc8":
            value = f"{row.name}.relu"
            nodes.append(helper.make_node("Relu", [row.name], [value]))
        if row.name == "pool5":
            value = "flat"
            nodes.append(helper.make_node("Flatten", ["pool5"], [value]))
    for name, layer in network.items():
        tensors.append(numpy_helper.from_array(layer.weight, f"{name}.w"))
        tensors.append(numpy_helper.from_array(layer.bias, f"{name}.b"))
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])]
    outputs = [helper.make_tensor_value_info("fc8", TensorProto.FLOAT, ["N", 1000])]
    graph = helper.make_graph(nodes, "vgg11", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    path.write_bytes(model.SerializeToString())


def write_keras(path: Path, network: Layers) -> None:
    """As keras.applications saves weights: channels last, and fc6 sees them last too."""
    head = {"fc6": "fc1", "fc7": "fc2", "fc8": "predictions"}
    with h5py.File(path, "w") as file:
        names = []
        for name, layer in network.items():
            theirs = head.get(name) or name.replace("conv", "block").replace("_", "_conv")
            names.append(theirs.encode())
            kernel = layer.weight.T
            if name == "fc6":
                units, channels = len(layer.weight), CONFIG.group_channels[-1]
                side = SIDE // 32
                kernel = layer.weight.reshape(units, channels, side, side)
                kernel = kernel.transpose(2, 3, 1, 0).reshape(-1, units)
            elif layer.weight.ndim == 4:
                kernel = layer.weight.transpose(2, 3, 1, 0)
            group = file.create_group(theirs)
            group.attrs["weight_names"] = [f"{theirs}_W_1:0".encode(), f"{theirs}_b_1:0".encode()]
            group[f"{theirs}_W_1:0"], group[f"{theirs}_b_1:0"] = kernel, layer.bias
        file.attrs["layer_names"] = names


def field(number: int, content: bytes) -> bytes:
    """One field of a protocol buffer, on the wire."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def write_caffe(path: Path, network: Layers) -> None:
    """As Caffe writes it since 2015: layers with two blobs, each with its shape."""

    def blob(values: NDArray[np.float32]) -> bytes:
        shape = field(1, b"".join(map(varint, values.shape)))
        return field(
            7, field(5, struct.pack(f"<{values.size}f", *values.ravel())) + field(7, shape)
        )

    content = field(1, b"VGG")
    for name, layer in network.items():
        content += field(100, field(1, name.encode()) + blob(layer.weight) + blob(layer.bias))
    path.write_bytes(content)


WRITERS: dict[str, Callable[[Path, Layers], None]] = {
    "safetensors": write_safetensors,
    "onnx": write_onnx,
    "keras": write_keras,
    "caffe": write_caffe,
}


def published(file_format: str, folder: Path) -> bytes:
    """Make the content of a checkpoint."""
    path = folder / "published"
    WRITERS[file_format](path, layers())
    content = path.read_bytes()
    path.unlink()
    return content


# --- a server, which may be a bad one ---------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        content, start = server.content, 0
        if content is None:
            self.send_error(404)
            return
        if server.resumes and (span := self.headers.get("Range")):
            start = int(span.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", '"1"')
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        end = len(content) // 2 if server.cuts else len(content)
        self.wfile.write(content[start:end])
        self.close_connection = server.cuts > 0
        server.cuts = max(0, server.cuts - 1)

    def log_message(self, *_args):
        pass


class Server(ThreadingHTTPServer):
    """Serves one file, and fails in the ways that its attributes say.

    Attributes:
        content: 404 if it is None.
        cuts: How many answers end after half of the file.
        resumes: Whether it knows Range.
        headers: Of each answer, besides the usual ones.
        asked: The Range of each request, None where there was none.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: bytes | None = b""
        self.cuts = 0
        self.resumes = True
        self.headers: dict[str, str] = {}
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/model.bin"

    def handle_error(self, request, client_address):
        pass  # clients may hang up


@pytest.fixture
def server():
    """Run a server for one test."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


# --- asking, and looking at what came ---------------------------------------------------


def manifest(
    content: bytes | None = None,
    *,
    file_format: str = "safetensors",
    url: str | None = None,
    algorithm: str = "sha256",
    preprocess: Preprocess = RGB,
) -> Manifest:
    """Make the manifest of a checkpoint; its digest is pinned if the content is given."""
    pin: dict[str, Any] = (
        {algorithm: hashlib.new(algorithm, content).hexdigest()} if content else {}
    )
    return Manifest(
        path=Path("tiny.toml"),
        name="tiny",
        title="Tiny",
        license="MIT",
        labels="imagenet-1k",
        preprocess=preprocess,
        architecture=CONFIG,
        checkpoint=Checkpoint(format=file_format, file="tiny.bin", url=url, **pin),
    )


def ready(content: bytes, folder: Path, **pin: Any) -> Manifest:
    """Put a ready graph into the model folder and make its manifest."""
    (folder / "ready.onnx").write_bytes(content)
    return replace(manifest(), architecture=None, checkpoint=None, onnx="ready.onnx", **pin)


class Steps:
    """Records the steps that a pull reports, each once."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def __call__(self, step: str, _done: int, _total: int | None) -> None:
        if self.steps[-1:] != [step]:
            self.steps.append(step)


def get(wanted: Manifest, folder: Path, steps: Steps | None = None, **options: Any) -> Any:
    """Pull a model into a folder."""
    return pull(wanted, Provisioning(folder, ask_classifier, **options), steps or Steps())


def stored(graph: Path) -> dict[str, NDArray[np.float32]]:
    """Read all constants of a serving graph."""
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(graph).graph.initializer}


def assert_holds(graph: Path, network: Layers, preprocess: Preprocess = RGB) -> None:
    """Compare every tensor of a serving graph, bit by bit, and run it."""
    tensors = stored(graph)
    assert preprocess.mean == pytest.approx(tensors.pop("served_mean").ravel().tolist())
    assert preprocess.std == pytest.approx(tensors.pop("served_std").ravel().tolist())
    assert ("BGR" == preprocess.channels) == (tensors.pop("served_order", None) is not None)
    assert {f"{name}_{part}" for name in network for part in ("weight", "bias")} == tensors.keys()
    for name, layer in network.items():
        assert np.array_equal(layer.weight, tensors[f"{name}_weight"])
        assert np.array_equal(layer.bias, tensors[f"{name}_bias"])
    batch = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    assert (2, 1000) == open_session(graph, device="cpu").run(batch).shape


def files(folder: Path) -> list[str]:
    """List all files below a folder that are not locks."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != ".lock"
    )


def classifier(scale: float = 1.0) -> bytes:
    """Make a ready graph that looks at the mean colour only."""
    weight = np.random.default_rng(0).normal(0, scale, (1000, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["data"], ["mean"]),
            helper.make_node("Conv", ["mean", "weight"], ["logits"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000, 1, 1])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def sha256(content: bytes) -> str:
    """Hash bytes as a manifest pins them."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# --- each format, from servers good and bad ---------------------------------------------


@pytest.mark.parametrize("file_format", WRITERS)
def test_cut_half_way(tmp_path, server, file_format):
    """A download that breaks off is resumed there: the graph has every bit."""
    server.content = published(file_format, tmp_path)
    server.cuts = 1
    steps = Steps()

    graph = get(manifest(server.content, file_format=file_format, url=server.url), tmp_path, steps)

    assert [None, f"bytes={len(server.content) // 2}-"] == server.asked
    assert (sha256(server.content), True) == (f"sha256:{graph.weights_sha256}", graph.trained)
    assert_holds(graph.path, layers())
    assert ["fetching", "building", "verifying"] == list(dict.fromkeys(steps.steps))


@pytest.mark.parametrize("file_format", WRITERS)
def test_no_range_support(tmp_path, server, file_format):
    """A server that cannot resume sends all again, and the half that was there does no harm."""
    server.content = published(file_format, tmp_path)
    server.resumes = False
    (tmp_path / "tiny.bin.part").write_bytes(server.content[: len(server.content) // 2])

    graph = get(manifest(server.content, file_format=file_format, url=server.url), tmp_path)

    assert [f"bytes={len(server.content) // 2}-"] == server.asked
    assert_holds(graph.path, layers())


@pytest.mark.parametrize("file_format", WRITERS)
def test_wrong_byte(tmp_path, server, file_format):
    """One other bit is refused and deleted, with both digests: no graph comes of it."""
    content = published(file_format, tmp_path)
    server.content = content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]
    wanted = manifest(content, file_format=file_format, url=server.url)

    with pytest.raises(DownloadError, match=r"tiny\.bin has come as sha256:") as caught:
        get(wanted, tmp_path)

    assert sha256(content) in str(caught.value)
    assert sha256(server.content) in str(caught.value)
    assert [] == files(tmp_path)


@pytest.mark.parametrize(("file_format", "other"), [*itertools.permutations(WRITERS, 2)])
def test_format_of_the_manifest_is_not_that_of_the_file(tmp_path, file_format, other):
    """A file of another format is refused by name, and never half-read."""
    content = published(other, tmp_path)
    (tmp_path / "tiny.bin").write_bytes(content)

    with pytest.raises(CheckpointError, match=rf"tiny\.bin: is not {file_format}: it looks like"):
        get(manifest(content, file_format=file_format), tmp_path)

    assert ["tiny.bin"] == files(tmp_path)


def test_weights_of_another_network(tmp_path):
    """A checkpoint whose digest is right and whose network is not, is refused by its tensors."""
    network = layers()
    del network["conv5_2"]
    write_safetensors(tmp_path / "tiny.bin", network)
    content = (tmp_path / "tiny.bin").read_bytes()

    with pytest.raises(CheckpointError, match=r"tiny\.bin: has no tensor features\.18\.weight"):
        get(manifest(content), tmp_path)

    assert ["tiny.bin"] == files(tmp_path)


def test_sha384(tmp_path, server):
    """A publisher's SHA-384 is checked as well; the answer names the SHA-256 all the same."""
    server.content = published("caffe", tmp_path)
    wanted = manifest(server.content, file_format="caffe", url=server.url, algorithm="sha384")

    graph = get(wanted, tmp_path)

    assert sha256(server.content) == f"sha256:{graph.weights_sha256}"
    assert_holds(graph.path, layers())
    (tmp_path / "tiny.bin").unlink()
    assert graph == get(wanted, tmp_path, offline=True)


def test_wrong_sha384(tmp_path, server):
    """The last byte of a SHA-384 matters too."""
    server.content = published("caffe", tmp_path)
    wanted = manifest(
        server.content + b"x", file_format="caffe", url=server.url, algorithm="sha384"
    )

    with pytest.raises(DownloadError, match="has come as sha384:"):
        get(wanted, tmp_path)

    assert [] == files(tmp_path)


def test_published_digest_where_none_is_pinned(tmp_path, server):
    """The Hub's own digest does for a manifest that pins none."""
    server.content = published("safetensors", tmp_path)
    server.headers = {"X-Linked-ETag": f'"{hashlib.sha256(server.content).hexdigest()}"'}

    assert_holds(get(manifest(url=server.url), tmp_path).path, layers())


def test_neither_pinned_nor_published(tmp_path, server):
    """Without any digest nothing is fetched."""
    server.content = published("safetensors", tmp_path)

    with pytest.raises(DownloadError, match="pins no digest"):
        get(manifest(url=server.url), tmp_path)

    assert [] == files(tmp_path)


def test_mirror(tmp_path, server):
    """Addresses of the Hub are asked of the mirror."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url="https://huggingface.co/timm/x/resolve/1/model.bin")

    graph = get(wanted, tmp_path, endpoint=server.url.removesuffix("/model.bin"))

    assert_holds(graph.path, layers())


# --- preprocessing, and what is kept ----------------------------------------------------


def test_preprocessing_of_the_manifest_is_in_the_graph(tmp_path):
    """BGR weights get a graph that turns the channels, with their own means."""
    write_caffe(tmp_path / "tiny.bin", layers())

    graph = get(manifest(file_format="caffe", preprocess=BGR), tmp_path)

    assert_holds(graph.path, layers(), BGR)


def test_changed_preprocessing_builds_again(tmp_path, server):
    """A corrected manifest never meets the old graph, and fetches nothing again."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    old = get(wanted, tmp_path)

    new = get(replace(wanted, preprocess=BGR), tmp_path)

    assert_holds(new.path, layers(), BGR)
    assert 1 == len(server.asked)
    assert not old.path.exists()


def test_a_temperature_builds_again_and_divides_the_logits(tmp_path, server):
    """A manifest that gets one never meets the old graph; one that loses it has the first graph anew."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    batch = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    plain = get(wanted, tmp_path)
    rows, bytes_before = open_session(plain.path, device="cpu").run(batch), plain.path.read_bytes()

    divided = get(replace(wanted, temperature=2.0), tmp_path)

    assert plain.path.parent.name != divided.path.parent.name
    powers = np.sqrt(rows)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert pytest.approx(expected, abs=1e-6) == open_session(divided.path, device="cpu").run(batch)
    assert (plain.path, bytes_before) == (
        get(wanted, tmp_path).path,
        plain.path.read_bytes(),
    )
    assert 1 == len(server.asked)


def test_second_pull_needs_neither_network_nor_checkpoint(tmp_path, server):
    """A graph that was built from the pinned weights is all that is needed."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    first = get(wanted, tmp_path)
    (tmp_path / "tiny.bin").unlink()
    steps = Steps()

    assert first == get(wanted, tmp_path, steps)
    assert first == get(wanted, tmp_path, offline=True)
    assert (1, ["verifying"]) == (len(server.asked), steps.steps)


class Hashed:
    """Adds up the bytes of each step, file by file."""

    def __init__(self) -> None:
        self.steps: dict[str, int] = {}
        self._done = 0

    def __call__(self, step: str, done: int, total: int | None) -> None:
        self.steps[step] = self.steps.get(step, 0) + done - self._done
        self._done = 0 if done == total else done


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
@pytest.mark.parametrize("there", [False, True], ids=["downloaded", "copied"])
def test_each_byte_is_hashed_once(tmp_path, server, algorithm, there):
    """The checkpoint at the first start, as it comes or where it is; the graph at each start."""
    server.content = published("safetensors", tmp_path)
    if there:
        (tmp_path / "tiny.bin").write_bytes(server.content)
    wanted = manifest(server.content, url=server.url, algorithm=algorithm)
    first, second = Hashed(), Hashed()

    graph = pull(wanted, Provisioning(tmp_path, ask_classifier), first)
    pull(wanted, Provisioning(tmp_path, ask_classifier), second)

    size = sum((graph.path.parent / name).stat().st_size for name in (GRAPH_FILE, WEIGHTS_FILE))
    checkpoint = len(server.content)
    expected = {"verifying": size + checkpoint} if there else {"fetching": checkpoint}
    assert {"verifying": size, "building": 0} | expected == first.steps
    assert {"verifying": size} == second.steps


def test_each_byte_of_a_ready_graph_is_hashed_once(tmp_path):
    """Its file at each start, as nothing pins it, and what is served."""
    content, first, second = classifier(), Hashed(), Hashed()

    graph = pull(ready(content, tmp_path), Provisioning(tmp_path, ask_classifier), first)
    pull(ready(content, tmp_path), Provisioning(tmp_path, ask_classifier), second)

    built = (GRAPH_FILE, WEIGHTS_FILE, ANSWERS_FILE)
    size = sum((graph.path.parent / name).stat().st_size for name in built)
    assert {"verifying": len(content) + size, "building": 0} == first.steps
    assert {"verifying": len(content) + size} == second.steps


def test_damaged_graph_is_built_from_the_checkpoint(tmp_path, server):
    """A flipped bit in the graph's weights is found at the next start, and the graph is built again."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    first = get(wanted, tmp_path)
    weights = first.path.parent / WEIGHTS_FILE
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)

    second = get(wanted, tmp_path, offline=True)

    assert first == second
    assert_holds(second.path, layers())


def test_graph_whose_weights_are_gone_is_built_from_the_checkpoint(tmp_path, server):
    """The same after somebody deleted its weights; untrained ones do not replace the real ones."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    first = get(wanted, tmp_path)
    (first.path.parent / WEIGHTS_FILE).unlink()

    second = get(wanted, tmp_path, on_missing="untrained")

    assert second.trained
    assert_holds(second.path, layers())


def test_damaged_checkpoint_is_not_built_from(tmp_path):
    """A checkpoint that was damaged on disk is refused, with what to do."""
    content = published("safetensors", tmp_path)
    (tmp_path / "tiny.bin").write_bytes(content[:-1] + b"?")

    with pytest.raises(CheckpointError, match=r"expected sha256:.*delete it to download it again"):
        get(manifest(content, url=NOBODY), tmp_path)


def test_file_of_the_operator(tmp_path):
    """A file that was put there by hand needs no digest; its own is shown."""
    content = published("safetensors", tmp_path)
    (tmp_path / "tiny.bin").write_bytes(content)

    graph = get(manifest(), tmp_path, offline=True)

    assert sha256(content) == f"sha256:{graph.weights_sha256}"
    assert_holds(graph.path, layers())


def test_replaced_file_of_the_operator_builds_again(tmp_path):
    """Other weights under the same name are noticed without any digest in the manifest."""
    write_safetensors(tmp_path / "tiny.bin", layers())
    get(manifest(), tmp_path)
    changed = layers()
    changed["fc8"].bias[0] += 1
    write_safetensors(tmp_path / "tiny.bin", changed)

    assert_holds(get(manifest(), tmp_path).path, changed)


def test_size_of_the_operators_file(tmp_path):
    """A size in the manifest is checked where there is no digest."""
    write_safetensors(tmp_path / "tiny.bin", layers())
    wanted = manifest()
    assert wanted.checkpoint is not None
    wanted = replace(wanted, checkpoint=replace(wanted.checkpoint, size=5))

    with pytest.raises(CheckpointError, match=r"tiny\.bin has \d+ bytes, expected 5"):
        get(wanted, tmp_path)


# --- without the weights ----------------------------------------------------------------


def test_missing_file_without_an_address(tmp_path):
    """It cannot be downloaded: the sentence says where it has to be put."""
    with pytest.raises(DownloadError, match=r"tiny\.bin is missing, and its manifest names no url"):
        get(manifest(), tmp_path)


def test_not_found(tmp_path, server):
    """An address that no longer exists fails at once, with the address and three ways out."""
    server.content = None

    with pytest.raises(DownloadError, match="404") as caught:
        get(manifest(b"x", url=server.url), tmp_path)

    for part in (
        server.url,
        "the url in its manifest",
        str(tmp_path / "tiny.bin"),
        "VGG_STAND_IN",
    ):
        assert part in str(caught.value)


def test_offline(tmp_path, server):
    """A process that has to stay offline dials nobody."""
    server.content = published("safetensors", tmp_path)

    with pytest.raises(DownloadError, match="VGG_OFFLINE keeps this process offline"):
        get(manifest(server.content, url=server.url), tmp_path, offline=True)

    assert [] == server.asked


@pytest.mark.parametrize("options", [{"offline": True}, {}], ids=["offline", "404"])
def test_untrained_weights_are_served_where_they_are_allowed(tmp_path, server, options, caplog):
    """The untrained graph has the right layers, says that it is untrained, and so does the log."""
    server.content = None
    wanted = manifest(b"x", url=server.url)

    graph = get(wanted, tmp_path, on_missing="untrained", **options)

    assert not graph.trained
    assert_holds(graph.path, dict(untrained_layers(CONFIG)))
    assert any("serving UNTRAINED weights" in message for message in caplog.messages)
    assert sha256((graph.path.parent / WEIGHTS_FILE).read_bytes()) == (
        f"sha256:{graph.weights_sha256}"
    )


def test_untrained_is_kept(tmp_path):
    """The untrained graph is built once."""
    first = get(manifest(b"x", url=NOBODY), tmp_path, on_missing="untrained", offline=True)
    steps = Steps()

    second = get(manifest(b"x", url=NOBODY), tmp_path, steps, on_missing="untrained", offline=True)

    assert first == second
    assert ["verifying"] == steps.steps


def test_real_weights_follow_untrained_ones(tmp_path, server):
    """Once the weights can be downloaded, the untrained graph is not served any longer."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    get(wanted, tmp_path, on_missing="untrained", offline=True)

    graph = get(wanted, tmp_path, on_missing="untrained")

    assert graph.trained
    assert_holds(graph.path, layers())


def test_untrained_never_hides_a_wrong_network(tmp_path):
    """Weights that do not fit are an error, also where untrained ones are allowed."""
    content = published("caffe", tmp_path)
    (tmp_path / "tiny.bin").write_bytes(content)

    with pytest.raises(CheckpointError):
        get(manifest(content, file_format="keras"), tmp_path, on_missing="untrained")


# --- ready graphs -----------------------------------------------------------------------


def test_ready_graph(tmp_path):
    """Its digest is that of the file that the operator put there."""
    content = classifier()

    graph = get(ready(content, tmp_path, sha256=hashlib.sha256(content).hexdigest()), tmp_path)

    batch = np.full((2, SIDE, SIDE, 3), 200, np.uint8)
    assert (sha256(content), True) == (f"sha256:{graph.weights_sha256}", graph.trained)
    assert pytest.approx([1, 1]) == open_session(graph.path, device="cpu").run(batch).sum(axis=1)


def test_ready_graph_pinned_by_sha384(tmp_path):
    """Either digest may pin it."""
    content = classifier()

    graph = get(ready(content, tmp_path, sha384=hashlib.sha384(content).hexdigest()), tmp_path)

    assert sha256(content) == f"sha256:{graph.weights_sha256}"


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_ready_graph_with_another_digest(tmp_path, algorithm):
    """A ready graph that is not the pinned one is refused, with both digests."""
    content = classifier()
    other = hashlib.new(algorithm, b"other").hexdigest()
    found = f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"

    with pytest.raises(CheckpointError) as caught:
        get(ready(content, tmp_path, **{algorithm: other}), tmp_path)

    assert f"{tmp_path / 'ready.onnx'}: is {found}, but tiny.toml pins {algorithm}:{other}" == (
        str(caught.value)
    )


def test_replaced_ready_graph_builds_again(tmp_path):
    """A newer file under the same name is served at the next start."""
    old = get(ready(classifier(), tmp_path), tmp_path)
    other = classifier(scale=2.0)

    new = get(ready(other, tmp_path), tmp_path)

    assert sha256(other) == f"sha256:{new.weights_sha256}"
    assert not old.path.exists()
    assert new == get(ready(other, tmp_path), tmp_path)


def test_a_temperature_of_a_ready_graph_builds_again(tmp_path):
    """It divides the logits of anybody's classifier."""
    content, batch = classifier(), np.full((1, SIDE, SIDE, 3), 200, np.uint8)
    batch[..., 0] = 90
    powers = np.sqrt(open_session(get(ready(content, tmp_path), tmp_path).path).run(batch))

    graph = get(ready(content, tmp_path, temperature=2.0), tmp_path)

    expected = powers / powers.sum()
    assert pytest.approx(expected, abs=1e-6) == open_session(graph.path).run(batch)


@pytest.mark.parametrize("on_missing", ["fail", "untrained"])
def test_missing_ready_graph(tmp_path, on_missing):
    """Nothing can replace a ready graph, since its layers are unknown."""
    wanted = ready(b"", tmp_path)
    (tmp_path / "ready.onnx").unlink()

    with pytest.raises(DownloadError, match=r"ready\.onnx is missing; tiny\.toml names it"):
        get(wanted, tmp_path, on_missing=on_missing)


def split(content: bytes, folder: Path) -> tuple[bytes, bytes]:
    """Write a ready graph with its weights in `ready.onnx.data`; return what is in both files."""
    path, data = folder / "ready.onnx", folder / "ready.onnx.data"
    data.unlink(missing_ok=True)
    model = onnx.load_from_string(content)
    onnx.save_model(model, path, save_as_external_data=True, location=data.name)
    return path.read_bytes(), data.read_bytes()


def test_ready_graph_with_data_beside_it(tmp_path):
    """Both files count: as `sha256sum FILE DATA | sha256sum` prints them, and for building again."""
    whole = stored(get(ready(classifier(), tmp_path), tmp_path).path)
    graph, data = split(classifier(), tmp_path)
    wanted = ready(graph, tmp_path)

    first = get(wanted, tmp_path)

    lines = f"{hashlib.sha256(graph).hexdigest()}  ready.onnx\n{hashlib.sha256(data).hexdigest()}  ready.onnx.data\n"
    assert hashlib.sha256(lines.encode()).hexdigest() == first.weights_sha256
    assert np.array_equal(whole["model_weight"], stored(first.path)["model_weight"])
    assert first == get(wanted, tmp_path)
    split(classifier(scale=2.0), tmp_path)
    second = get(wanted, tmp_path)
    assert first.weights_sha256 != second.weights_sha256
    assert not np.array_equal(whole["model_weight"], stored(second.path)["model_weight"])


def test_ready_graph_is_downloaded(tmp_path, server):
    """A download that breaks off is resumed, what came is verified, and the next start asks nobody."""
    server.content = classifier()
    server.cuts = 1
    pin = {"url": server.url, "sha256": sha256(server.content).removeprefix("sha256:")}
    wanted = ready(b"", tmp_path, size=len(server.content), **pin)
    (tmp_path / "ready.onnx").unlink()
    steps = Steps()

    graph = get(wanted, tmp_path, steps)

    assert [None, f"bytes={len(server.content) // 2}-"] == server.asked
    assert pin["sha256"] == graph.weights_sha256
    assert ["fetching", "verifying", "building"] == [*dict.fromkeys(steps.steps)]
    assert graph == get(wanted, tmp_path, offline=True)


def test_another_ready_graph_comes(tmp_path, server):
    """It is refused with both digests, and nothing of it stays."""
    server.content = classifier()
    wanted = ready(b"", tmp_path, url=server.url, sha256="5" * 64)
    (tmp_path / "ready.onnx").unlink()

    with pytest.raises(DownloadError, match=rf"{sha256(server.content)}.*{'5' * 64}"):
        get(wanted, tmp_path)

    assert [] == files(tmp_path)


@pytest.mark.parametrize("on_missing", ["fail", "untrained"])
def test_ready_graph_offline(tmp_path, on_missing):
    """The sentence is that of any other download, and nobody is asked."""
    wanted = ready(b"", tmp_path, url=NOBODY, sha256="5" * 64)
    (tmp_path / "ready.onnx").unlink()

    with pytest.raises(DownloadError, match="VGG_OFFLINE"):
        get(wanted, tmp_path, offline=True, on_missing=on_missing)


def test_ready_graph_of_another_size(tmp_path):
    """The sentence has both sizes."""
    content = classifier()

    with pytest.raises(CheckpointError, match=f"has {len(content)} bytes, but tiny.toml says 7"):
        get(ready(content, tmp_path, size=7), tmp_path)


def test_data_of_a_ready_graph_is_downloaded(tmp_path, server):
    """A file beside it may have an address of its own."""
    graph, server.content = split(classifier(), tmp_path)
    (tmp_path / "ready.onnx.data").unlink()
    digest = sha256(server.content).removeprefix("sha256:")
    data = DataFile(file="ready.onnx.data", url=server.url, sha256=digest)

    assert get(replace(ready(graph, tmp_path), external=(data,)), tmp_path).trained
    assert [None] == server.asked


def test_wrong_ready_graph_leaves_nothing(tmp_path):
    """A file that is no ONNX is refused, and half a graph does not stay."""
    with pytest.raises(CheckpointError, match="is not an ONNX file"):
        get(ready(b"no graph", tmp_path), tmp_path)

    assert ["ready.onnx"] == files(tmp_path)


# --- folders ----------------------------------------------------------------------------


def test_model_folder_is_made(tmp_path, server):
    """The first pull makes the folder, with those above it."""
    server.content = published("safetensors", tmp_path)
    folder = tmp_path / "a" / "b"

    graph = get(manifest(server.content, url=server.url), folder)

    assert folder in graph.path.parents


@pytest.mark.parametrize("on_missing", ["fail", "untrained"])
def test_model_folder_that_cannot_be_made(tmp_path, server, on_missing):
    """A file where the folder should be stops the start in a sentence and not in a traceback."""
    server.content = published("safetensors", tmp_path)
    (tmp_path / "models").write_text("")

    with pytest.raises(SetupError, match="models"):
        get(manifest(server.content, url=server.url), tmp_path / "models", on_missing=on_missing)


def test_serving_folder_that_cannot_be_written(tmp_path):
    """The checkpoint is there and the graph has no place: the sentence names model and folder."""
    write_safetensors(tmp_path / "tiny.bin", layers())
    (tmp_path / "serving").write_text("")

    with pytest.raises(SetupError, match=r"tiny: the folder of its serving graph .*VGG_CACHE_DIR"):
        get(manifest(), tmp_path)


def test_serving_folder_of_its_own(tmp_path):
    """With a cache folder, graphs of all kinds are written there, and nothing is into the model folder."""
    models, cache = tmp_path / "models", tmp_path / "new" / "cache"
    models.mkdir()
    write_safetensors(models / "tiny.bin", layers())
    onnx_graph = ready(classifier(), models)
    before = files(models)

    made = [get(wanted, models, cache_dir=cache) for wanted in (manifest(), onnx_graph)]
    missing = replace(manifest(), checkpoint=Checkpoint(format="onnx", file="none", url=NOBODY))
    made.append(get(missing, models, cache_dir=cache, offline=True, on_missing="untrained"))

    assert [True] * 3 == [graph.path.is_relative_to(cache / "tiny") for graph in made[:2]] + [
        made[2].path.is_relative_to(cache / "tiny.untrained")
    ]
    assert before == files(models)
    assert made[1] == get(onnx_graph, models, cache_dir=cache)


@contextlib.contextmanager
def read_only(folder: Path):
    """Take away the right to write, for a while."""
    folder.chmod(0o555)
    try:
        yield
    finally:
        folder.chmod(0o755)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write everywhere")
def test_read_only_model_folder(tmp_path):
    """A read-only folder is reported as what it is."""
    write_safetensors(tmp_path / "tiny.bin", layers())

    with read_only(tmp_path), pytest.raises(SetupError, match="Permission denied"):
        get(manifest(), tmp_path)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write everywhere")
def test_read_only_folder_with_a_graph_serves(tmp_path):
    """A graph that is there is served from a folder that may only be read."""
    content = published("safetensors", tmp_path)
    (tmp_path / "tiny.bin").write_bytes(content)
    graph = get(manifest(content), tmp_path)

    with read_only(graph.path.parents[1]), read_only(tmp_path):
        assert graph == get(manifest(content), tmp_path)


@pytest.mark.parametrize("file_format", WRITERS)
def test_writers_of_this_file_are_right(tmp_path, file_format):
    """What the tests call published is the network that they compare with."""
    (tmp_path / "file").write_bytes(published(file_format, tmp_path))

    found = read_checkpoint(tmp_path / "file", file_format, CONFIG)

    assert all(np.array_equal(layers()[name].weight, found[name].weight) for name in found)


def test_trained_follows_the_manifest(tmp_path):
    """What the manifest says of its weights holds at once, though the graph is there already."""
    content = published("safetensors", tmp_path)
    (tmp_path / "tiny.bin").write_bytes(content)
    first = get(manifest(), tmp_path)
    second = get(replace(manifest(), trained=not manifest().trained), tmp_path)

    assert first.path == second.path
    assert first.trained is not second.trained


def test_damaged_checkpoint_is_no_missing_one(tmp_path):
    """With on_missing=untrained, weights that are there and wrong are refused all the same."""
    content = published("safetensors", tmp_path)
    (tmp_path / "tiny.bin").write_bytes(content[:-1] + b"?")

    with pytest.raises(CheckpointError):
        get(manifest(content, url=NOBODY), tmp_path, on_missing="untrained")


# --- plans for the convolutions --------------------------------------------------------

BLOCK = channel_block()
PLAN = ConvPlan("conv1_1", BLOCK or 16)
PLANS = plans(BLOCK or 16)

lowering = pytest.mark.skipif(not BLOCK, reason="no layout in blocks on this processor")
"""What loads a lowered graph needs one."""


def planned(plan: ConvPlan) -> PlanFor:
    """Choose always the same, as if it had been measured."""

    def plan_for(_config: VggConfig, measuring: Callable[[], None]) -> ConvPlan:
        measuring()
        return plan

    return plan_for


@lowering
def test_the_plan_is_built_and_reported(tmp_path, server):
    """The chosen plan is in the graph, no other graph is kept, and progress names each step."""
    server.content = published("safetensors", tmp_path)
    wanted, steps = manifest(server.content, url=server.url), Steps()
    batch = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    direct = get(wanted, tmp_path)
    expected = open_session(direct.path, device="cpu").run(batch)

    graph = get(wanted, tmp_path, steps, plan_for=planned(PLAN))

    assert (ConvPlan(), PLAN) == (direct.plan, graph.plan)
    assert ["measuring convolutions", "verifying", "building", "verifying"] == steps.steps
    assert "conv4_1_winograd" in stored(graph.path)
    assert graph.path.with_name(STEM_FILE).exists()
    assert not direct.path.exists()
    np.testing.assert_allclose(
        expected, open_session(graph.path, device="cpu").run(batch), atol=1e-5
    )


def test_untrained_weights_follow_the_plan_too(tmp_path):
    """Untrained weights are served as fast as those that they replace."""
    graph = get(
        manifest(b"x", url=NOBODY),
        tmp_path,
        on_missing="untrained",
        offline=True,
        plan_for=planned(PLAN),
    )

    assert PLAN == graph.plan
    assert graph.path.with_name(STEM_FILE).exists()


def test_weights_that_float16_cannot_hold(tmp_path, caplog):
    """`auto` serves them in float32 and says why; `float16` is refused."""
    network = layers()
    network["conv2_1"].weight[0, 0, 0, 0] = 70_000
    write_safetensors(tmp_path / "tiny.bin", network)

    graph = get(manifest(), tmp_path, precision="float16", or_float32=True)

    assert "float32" == graph.precision
    assert "stays float32: conv2_1_weight has values above 65,504" in caplog.text
    with pytest.raises(PrecisionError, match="VGG_PRECISION=float32"):
        get(manifest(), tmp_path, precision="float16")


def test_float16_has_no_plan(tmp_path, server):
    """It is for GPUs, and those have their own way; nobody is asked."""
    server.content = published("safetensors", tmp_path)
    wanted, steps = manifest(server.content, url=server.url), Steps()

    graph = get(wanted, tmp_path, steps, precision="float16", plan_for=planned(PLAN))

    assert ConvPlan() == graph.plan
    assert "measuring convolutions" not in steps.steps


@pytest.mark.parametrize(("built", "asked"), [(PLANS[1], DIRECT), (DIRECT, PLANS[1])])
def test_a_graph_of_another_plan_is_better_than_none(tmp_path, server, built, asked):
    """Made elsewhere, without its checkpoint and without a network: it is served as it is."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    first = get(wanted, tmp_path, plan_for=planned(built))
    (tmp_path / "tiny.bin").unlink()

    found = get(wanted, tmp_path, offline=True, plan_for=planned(asked), plans=PLANS)

    assert first == found
    assert built == found.plan


def test_cuda_is_given_no_lowered_graph(tmp_path, server):
    """They are for CPUs: a GPU rather has none, and says what is missing."""
    server.content = published("safetensors", tmp_path)
    wanted = manifest(server.content, url=server.url)
    get(wanted, tmp_path, plan_for=planned(PLANS[-1]))
    (tmp_path / "tiny.bin").unlink()
    offline = Provisioning(
        tmp_path, ask_classifier, offline=True, plan_for=planned(PLANS[-1]), plans=PLANS
    )

    with pytest.raises(DownloadError, match=r"tiny\.bin"):
        pull(wanted, for_device(offline, "cuda", "float32"), Steps())

    assert PLANS[-1] == pull(wanted, for_device(offline, "cpu", "auto"), Steps()).plan


@pytest.mark.parametrize("trained", [True, False])
def test_a_graph_of_another_plan_serves_where_none_can_be_built(tmp_path, caplog, trained):
    """Filled on another machine and only to be read here, with its checkpoint or untrained."""
    content = published("safetensors", tmp_path)
    if trained:
        (tmp_path / "tiny.bin").write_bytes(content)
    wanted = manifest(content, url=NOBODY)
    options: dict[str, Any] = {"offline": True, "on_missing": "untrained", "plans": PLANS}
    first = get(wanted, tmp_path, plan_for=planned(PLANS[1]), **options)
    lock = first.path.parents[1] / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # nobody can take it now, not even root

    found = get(wanted, tmp_path, plan_for=planned(DIRECT), **options)

    assert first == found
    assert trained is found.trained
    assert "another plan" in caplog.text


# --- checkpoints in ONNX with data beside them ------------------------------------------


def write_split(folder: Path, network: Layers) -> tuple[str, str]:
    """Write an ONNX checkpoint in two files; return their digests."""
    path, data = folder / "tiny.bin", folder / "tiny.data"
    write_onnx(path, network)
    data.unlink(missing_ok=True)
    model = onnx.load(path, format="protobuf")
    onnx.save_model(model, path, format="protobuf", save_as_external_data=True, location=data.name)
    return tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in (path, data))  # type: ignore[return-value] # two


@pytest.mark.parametrize("pinned", [True, False])
def test_checkpoint_with_data_beside_it(tmp_path, pinned):
    """The graph has every bit; other data are another model, whether pinned or not."""

    def wanted() -> Manifest:
        made = manifest(file_format="onnx")
        assert made.checkpoint is not None
        if not pinned:
            return made
        ours = replace(made.checkpoint, sha256=graph)
        return replace(made, checkpoint=ours, external=(DataFile(file="tiny.data", sha256=data),))

    graph, data = write_split(tmp_path, layers())
    first = get(wanted(), tmp_path)
    assert_holds(first.path, layers())
    assert first == get(wanted(), tmp_path)
    changed = layers()
    changed["fc7"].bias[0] += 1
    changed["fc7"].weight[0] += 1
    graph, data = write_split(tmp_path, changed)

    second = get(wanted(), tmp_path)

    assert_holds(second.path, changed)
    assert first.weights_sha256 != second.weights_sha256
    if pinned:
        (tmp_path / "tiny.bin").unlink()
        (tmp_path / "tiny.data").unlink()
        assert second == get(wanted(), tmp_path)


def test_checkpoint_whose_data_are_missing(tmp_path):
    """Untrained weights do not replace those that the operator has half of."""
    write_split(tmp_path, layers())
    (tmp_path / "tiny.data").unlink()

    with pytest.raises(
        CheckpointError, match=r"tiny\.bin: keeps its weights in 'tiny\.data', which is missing"
    ):
        get(manifest(file_format="onnx"), tmp_path, on_missing="untrained")
