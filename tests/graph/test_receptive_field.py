"""The receptive field of a value is the part of the image that changes it, and no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.graph.inner_maps import inner_graph, layers_with_maps, output_of
from app.graph.receptive_field import seen_by
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.vgg import VggConfig, architecture
from app.records import Area, Layer, Preprocess
from app.runtime.run_once import run_once

CONFIG = VggConfig("C", group_channels=(2, 2, 2, 2, 2), hidden=(2, 2), side=96)
PREPROCESS = Preprocess(96, 96, "RGB", (0.0,) * 3, (255.0,) * 3)


@pytest.fixture(scope="module")
def maps_of(tmp_path_factory):
    """Give the maps of a layer; weights are positive, so that each pixel in sight counts."""
    folder = tmp_path_factory.mktemp("positive")
    layers = (
        (name, Layer(np.full(shape, 0.2, np.float32), np.zeros(shape[0], np.float32)))
        for name, shape in CONFIG.weight_shapes().items()
    )
    write_vgg(folder, CONFIG, layers, PREPROCESS)

    def run(layer, image):
        model = inner_graph(folder / GRAPH_FILE, CONFIG, PREPROCESS, 0, (layer,))
        return run_once(model, folder, image[np.newaxis], 1)[output_of(layer)][0, 0]

    return run


@given(st.sampled_from(list(layers_with_maps(CONFIG))), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_it_is_what_changes_the_value(maps_of, layer, down, across):
    """A bright pixel in each corner of the field is seen, and one right outside is not."""
    side = layers_with_maps(CONFIG)[layer].output_shape[-1]
    row, column = round(down * (side - 1)), round(across * (side - 1))
    field = seen_by(CONFIG, layer, row, column)
    left, top, right, bottom = map(int, (field.xmin, field.ymin, field.xmax, field.ymax))

    def value(y, x):
        image = np.zeros((96, 96, 3), np.uint8)
        if 0 <= y < 96 and 0 <= x < 96:
            image[y, x] = 255
        return maps_of(layer, image)[row, column]

    corners = [(top, left), (top, right - 1), (bottom - 1, left), (bottom - 1, right - 1)]
    beside = [(top - 1, left), (bottom, left), (top, left - 1), (top, right)]
    assert all(value(*corner) > 0 for corner in corners)
    assert [0.0] * 4 == [value(*pixel) for pixel in beside]


@pytest.mark.parametrize("name", ["vgg11", "vgg16c", "vgg16", "vgg19"])
def test_its_side_is_that_of_the_table_of_layers(name):
    """Far from the borders it is as wide as `LayerRow.receptive_field` says."""
    config = architecture(name)
    for layer, row in layers_with_maps(config).items():
        middle = row.output_shape[-1] // 2
        field = seen_by(config, layer, middle, middle)
        if 0 < field.xmin and field.xmax < config.side:
            assert row.receptive_field == field.xmax - field.xmin == field.ymax - field.ymin


def test_borders_cut_it_off():
    """The first value of conv1_1 sees two rows and two columns; padding is no part of the image."""
    config = architecture("vgg16")

    assert Area(0, 0, 2, 2) == seen_by(config, "conv1_1", 0, 0)
    assert Area(222, 0, 224, 2) == seen_by(config, "conv1_1", 0, 223)
    assert Area(0, 0, 4, 4) == seen_by(config, "pool1", 0, 0)
