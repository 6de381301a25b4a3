"""The table is that of the paper: every number of it was counted elsewhere, or another way."""

import numpy as np
import pytest

from app.graph.vgg import ARCHITECTURES, CONFIGURATIONS, LayerRow, VggConfig, architecture

TABLE_1 = {
    # arXiv 1409.1556, table 1, column by column; conv3 is 3x3, conv1 is 1x1.
    "A": "conv3-64 | conv3-128 | conv3-256 conv3-256 | conv3-512 conv3-512 | conv3-512 conv3-512",
    "B": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 | conv3-512 conv3-512"
    " | conv3-512 conv3-512",
    "C": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 conv1-256"
    " | conv3-512 conv3-512 conv1-512 | conv3-512 conv3-512 conv1-512",
    "D": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 conv3-256"
    " | conv3-512 conv3-512 conv3-512 | conv3-512 conv3-512 conv3-512",
    "E": "conv3-64 conv3-64 | conv3-128 conv3-128 | conv3-256 conv3-256 conv3-256 conv3-256"
    " | conv3-512 conv3-512 conv3-512 conv3-512 | conv3-512 conv3-512 conv3-512 conv3-512",
}


def convolutions(config: VggConfig) -> list[LayerRow]:
    """Leave out pooling and the fully connected layers."""
    return [row for row in config.layers() if row.kind == "convolution"]


def reach(config: VggConfig, layer: str, length: int = 1024) -> int:
    """Count the input pixels, along one axis, that one output value of a layer depends on.

    Every pixel of a line is lit on its own, and the one value in the middle is looked at:
    convolving adds neighbours, pooling adds two and steps by two, fc6 adds seven.
    """
    lit = np.eye(length, dtype=bool)  # [position of a value, pixel that it depends on]
    for row in config.layers():
        if row.kind == "convolution":
            shifts = range(-(row.kernel // 2), row.kernel // 2 + 1)
            lit = np.logical_or.reduce([np.roll(lit, shift, axis=0) for shift in shifts])
        elif row.kind == "max-pooling":
            lit = lit[0::2] | lit[1::2]
        middle = len(lit) // 2
        if row.name == layer:
            seen = lit[middle - 3 : middle + 4].any(0) if row.name == "fc6" else lit[middle]
            return int(seen.sum())
    raise AssertionError(layer)


@pytest.mark.parametrize("configuration", TABLE_1)
def test_convolutions_are_those_of_table_1(configuration):
    """Kernels and channels of the five groups are the paper's, group by group."""
    groups: list[list[str]] = [[] for _ in range(5)]
    for row in convolutions(VggConfig(configuration)):
        groups[int(row.name[4]) - 1].append(f"conv{row.kernel}-{row.output_shape[0]}")

    assert TABLE_1[configuration] == " | ".join(" ".join(group) for group in groups)


@pytest.mark.parametrize(
    ("configuration", "parameters"),
    [
        ("A", 132_863_336),
        ("B", 133_047_848),
        ("C", 133_638_952),
        ("D", 138_357_544),
        ("E", 143_667_240),
    ],
)
def test_parameters(configuration, parameters):
    """All weights and biases are counted: torchvision's counts for A, B, D and E."""
    assert parameters == VggConfig(configuration).parameters()


@pytest.mark.parametrize(
    ("configuration", "giga"),
    [("A", 7.609), ("B", 11.308), ("C", 11.771), ("D", 15.470), ("E", 19.632)],
)
def test_multiply_adds(configuration, giga):
    """The work of one image is that of the literature, in 10^9 multiply-adds."""
    assert giga == round(VggConfig(configuration).multiply_adds() / 1e9, 3)


@pytest.mark.parametrize(
    ("name", "configuration", "layers"),
    [
        ("vgg11", "A", 11),
        ("vgg13", "B", 13),
        ("vgg16c", "C", 16),
        ("vgg16", "D", 16),
        ("vgg19", "E", 19),
    ],
)
def test_common_name_counts_the_layers_with_weights(name, configuration, layers):
    """`vgg16` has 16 layers with weights and is configuration D at the paper's width."""
    config = architecture(name)

    assert VggConfig(configuration) == config
    assert layers == len(config.weight_shapes())


def test_every_configuration_has_a_name():
    """There is no column of table 1 that nobody can ask for."""
    assert sorted(CONFIGURATIONS) == sorted(ARCHITECTURES.values())


def test_unknown_name():
    """A name outside the family is a KeyError, as documented."""
    with pytest.raises(KeyError):
        architecture("resnet50")


@pytest.mark.parametrize("configuration", TABLE_1)
def test_every_convolution_has_stride_1_and_keeps_its_side(configuration):
    """The side halves five times, 224 to 7, and only where the pooling is."""
    sides = [224]
    for row in VggConfig(configuration).layers():
        if row.kind == "convolution":
            assert (1, sides[-1]) == (row.stride, row.output_shape[1])
        elif row.kind == "max-pooling":
            sides.append(sides[-1] // 2)
            assert (2, 2, sides[-1], sides[-1]) == (row.kernel, row.stride, *row.output_shape[1:])

    assert [224, 112, 56, 28, 14, 7] == sides


def test_only_c_has_kernels_of_one_pixel():
    """They are the third of groups 3, 4 and 5 in C; all else is 3x3."""
    small = {
        configuration: [r.name for r in convolutions(VggConfig(configuration)) if r.kernel != 3]
        for configuration in CONFIGURATIONS
    }

    assert {"A": [], "B": [], "C": ["conv3_3", "conv4_3", "conv5_3"], "D": [], "E": []} == small


def test_names_of_d():
    """The paper's names, in the order of computation."""
    names = "conv1_1 conv1_2 pool1 conv2_1 conv2_2 pool2 conv3_1 conv3_2 conv3_3 pool3"
    names += " conv4_1 conv4_2 conv4_3 pool4 conv5_1 conv5_2 conv5_3 pool5 fc6 fc7 fc8"

    assert names == " ".join(row.name for row in VggConfig("D").layers())


def test_weight_shapes_of_d():
    """[out, in, height, width] and [out, in], as torchvision has them."""
    shapes = VggConfig("D").weight_shapes()

    assert (64, 3, 3, 3) == shapes["conv1_1"]
    assert (256, 128, 3, 3) == shapes["conv3_1"]
    assert (512, 512, 3, 3) == shapes["conv5_3"]
    assert [(4096, 25088), (4096, 4096), (1000, 4096)] == list(shapes.values())[-3:]


@pytest.mark.parametrize("configuration", TABLE_1)
def test_row_agrees_with_its_shapes(configuration):
    """Parameters and work of each row follow from its weight and its output."""
    for row in VggConfig(configuration).layers():
        weights = int(np.prod(row.weight_shape)) if row.weight_shape else 0
        positions = int(np.prod(row.output_shape[1:]))
        biases = row.output_shape[0] if weights else 0

        assert weights + biases == row.parameters
        assert weights * positions == row.multiply_adds


@pytest.mark.parametrize("configuration", TABLE_1)
def test_receptive_field_is_what_a_lit_pixel_reaches(configuration):
    """Lighting the pixels one by one finds the receptive field of every layer."""
    config = VggConfig(configuration)
    rows = [row for row in config.layers() if row.name not in {"fc7", "fc8"}]

    assert {row.name: reach(config, row.name) for row in rows} == {
        row.name: row.receptive_field for row in rows
    }


def test_receptive_fields_of_d():
    """Three 3x3 convolutions see 7x7 together, as the paper argues; pool5 sees 212, fc6 404."""
    fields = {row.name: row.receptive_field for row in VggConfig("D").layers()}

    assert (3, 5, 6) == (fields["conv1_1"], fields["conv1_2"], fields["pool1"])
    assert 7 == 1 + (fields["conv3_3"] - fields["pool2"]) // 4
    assert (212, 404, 404, 404) == tuple(fields[name] for name in ("pool5", "fc6", "fc7", "fc8"))


def test_narrow_network_has_the_same_layers():
    """The networks of the tests differ from the true ones only in their widths."""
    narrow = VggConfig("E", group_channels=(4, 6, 8, 10, 12), hidden=(20, 20), side=64)

    assert [(r.name, r.kernel, r.stride) for r in VggConfig("E").layers()] == [
        (r.name, r.kernel, r.stride) for r in narrow.layers()
    ]
    assert {"fc6": (20, 48), "fc7": (20, 20), "fc8": (1000, 20)} == {
        name: narrow.weight_shapes()[name] for name in ("fc6", "fc7", "fc8")
    }
