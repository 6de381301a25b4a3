"""A look inside a model: what it gives, what it costs, and whom it must not disturb."""

import asyncio
import io
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.errors import DeadlineExceededError, OverloadedError, UnknownParameterError
from app.graph.inner_maps import last_of_groups
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import VggConfig
from app.images.decode_pool import DecodePool
from app.records import ImageInfo
from app.runtime.conv_choice import lively_layers
from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.inspector import Inspector
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.weights.manifests.catalog import BUILT_IN, load_catalog

pytestmark = pytest.mark.anyio

CONFIG = VggConfig("D", group_channels=(8, 16, 24, 32, 32), hidden=(8, 8), side=64)
SOON = 60.0


class Line:
    """A queue with a predicted wait."""

    def __init__(self):
        self.policy = BatchPolicy((1,), RunCost.fit({1: 0.01}), queue_budget=2.0)
        self.asked = []
        self.wait = 0.0

    def admit(self, patience):
        self.asked.append(patience)
        if self.wait > patience:
            raise OverloadedError("Busy.", retry_after=self.wait - patience)


class Stand:
    """An inspector of a small network; each decode waits for a gate."""

    def __init__(self, folder):
        manifest = load_catalog(BUILT_IN)["vgg16-mini"]
        self.line = Line()
        self.gate = threading.Event()
        self.gate.set()
        self.decoding = threading.Event()
        self.metrics = Metrics()
        self.decoders = DecodePool(2)
        write_vgg(folder, CONFIG, lively_layers(CONFIG), manifest.preprocess)
        self.loaded = Loaded(
            manifest,
            (),
            self.line,  # type: ignore[arg-type] # a fake
            "cpu",
            "ab",
            trained=True,
            graph=str(folder / GRAPH_FILE),
        )
        self.inspector = Inspector(self.decoders, self.prepare, self.metrics, threads=4)

    def prepare(self, data, _preprocess):
        self.decoding.set()
        self.gate.wait(30)
        pixels = np.random.default_rng(data[0]).integers(0, 256, (64, 64, 3), np.uint8)
        return pixels, ImageInfo(144, 72, "png")

    def look(self, layers=("conv3_3",), seconds=SOON, **options):
        deadline = time.monotonic() + seconds
        return self.inspector.look(self.loaded, CONFIG, layers, b"\1", deadline, **options)

    def left(self, stage):
        return self.metrics.registry.get_sample_value("vgg_cancelled_total", {"stage": stage})


@pytest.fixture
def stand(tmp_path):
    stand = Stand(tmp_path)
    yield stand
    stand.gate.set()
    stand.decoders.stop()


async def test_the_sheet_shows_the_maps_in_the_order_of_the_list(stand):
    """16 of 24 maps, the strongest first, each with the place of its largest value in the photo."""
    found = await stand.look()
    (layer,), (sheet,) = found.layers, found.sheets

    assert ("conv3_3", 24, 16) == (layer.layer, layer.channels, layer.side)
    maxima = [one.maximum for one in layer.maps]
    assert sorted(maxima, reverse=True) == maxima
    assert 16 == len({one.channel for one in layer.maps})
    image = Image.open(io.BytesIO(sheet))
    assert ("L", (64, 64)) == (image.mode, image.size)
    first = np.asarray(image)[:16, :16]
    assert 255 == first.max() == layer.tiles[0].max()
    assert (first == layer.tiles[0]).all()
    view = found.view
    assert (36, 0, 108, 72) == view or view.xmax - view.xmin == view.ymax - view.ymin
    for one in layer.maps:
        box = one.receptive_field
        assert view.xmin <= box.xmin < box.xmax <= view.xmax
        assert view.ymin <= box.ymin < box.ymax <= view.ymax
    assert {"decode", "run"} == set(found.seconds)


async def test_a_layer_with_few_channels_has_few_maps(stand):
    """There are no more tiles than channels."""
    found = await stand.look(("conv1_2", "pool2"))

    assert [8, 16] == [len(one.maps) for one in found.layers]
    assert [(256, 128), (64, 64)] == [Image.open(io.BytesIO(sheet)).size for sheet in found.sheets]


async def test_a_picture_for_people_has_all_layers(stand):
    """One row for each group, and tiles large enough to be seen."""
    found = await stand.look(last_of_groups(CONFIG), for_people=True)

    assert 1 == len(found.sheets)
    assert (16 * 130, 5 * 130) == Image.open(io.BytesIO(found.sheets[0])).size
    one = await stand.look(("conv5_3",), for_people=True)
    assert (4 * 114, 4 * 114) == Image.open(io.BytesIO(one.sheets[0])).size


async def test_photos_that_wait_go_first(stand):
    """A look is refused once photos wait for a quarter of the queue budget."""
    stand.line.wait = 0.6

    with pytest.raises(OverloadedError) as refused:
        await stand.look()

    assert [0.5] == stand.line.asked
    assert 0.1 == pytest.approx(refused.value.retry_after)


async def test_one_photo_at_a_time(stand):
    """The second look waits for a quarter of the queue budget, and is refused with a sentence."""
    stand.line.policy = replace(stand.line.policy, queue_budget=0.04)
    stand.gate.clear()
    first = asyncio.create_task(stand.look())
    await asyncio.to_thread(stand.decoding.wait, 30)

    with pytest.raises(OverloadedError, match="one photo at a time") as refused:
        await stand.look()

    assert 0.01 == pytest.approx(refused.value.retry_after)
    stand.gate.set()
    assert "conv3_3" == (await first).layers[0].layer
    assert "conv3_3" == (await stand.look()).layers[0].layer


async def test_the_turn_ends_with_the_work(stand):
    """A client that leaves is counted; until its decode has ended nobody else has the turn."""
    stand.line.policy = replace(stand.line.policy, queue_budget=0.04)
    stand.gate.clear()
    first = asyncio.create_task(stand.look())
    await asyncio.to_thread(stand.decoding.wait, 30)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    with pytest.raises(OverloadedError):
        await stand.look()

    assert 1 == stand.left("run")
    stand.gate.set()
    stand.line.policy = replace(stand.line.policy, queue_budget=120)
    assert (await stand.look()).layers


async def test_a_client_that_leaves_before_its_turn_costs_nothing(stand):
    """It is counted as in the queue, and its photo is not decoded."""
    stand.gate.clear()
    first = asyncio.create_task(stand.look())
    await asyncio.to_thread(stand.decoding.wait, 30)
    second = asyncio.create_task(stand.look())
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second

    assert 1 == stand.left("queue")
    stand.gate.set()
    assert (await first).layers


async def test_the_deadline_holds(stand):
    """A look that takes too long is answered in time, with 504."""
    stand.gate.clear()

    with pytest.raises(DeadlineExceededError):
        await stand.look(seconds=0.2)


async def test_filters_are_drawn_once(stand):
    """Eight a row, enlarged; the second request gets the same bytes without a look at the file."""
    first = await stand.inspector.filters(stand.loaded, "conv1_1")
    await asyncio.to_thread(Path(stand.loaded.graph).unlink)
    second = await stand.inspector.filters(stand.loaded, "conv1_1")

    image = Image.open(io.BytesIO(first))
    assert ("PNG", "RGB", (8 * 50, 50)) == (image.format, image.mode, image.size)
    assert first is second


async def test_weights_in_an_unknown_form_are_the_model_s_fault(stand):
    """A graph without the kernels of a VGG is refused with a sentence that says what can be done."""
    folder = Path(stand.loaded.graph).parent
    strange = replace(CONFIG, configuration="A", group_channels=(8, 8, 8, 8, 8))
    write_vgg(folder, strange, lively_layers(strange), stand.loaded.manifest.preprocess)

    with pytest.raises(UnknownParameterError, match=r"conv1_2.*VGG family"):
        await stand.look()
