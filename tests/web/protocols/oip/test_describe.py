"""What is said of a model."""

from dataclasses import replace

import pytest

from app.web.protocols.oip.describe import config_of, index_of, metadata_of, parameters_of
from tests.conftest import started_app

pytestmark = pytest.mark.anyio


@pytest.fixture
async def model(model_dir, session):
    async with started_app(model_dir, session) as app:
        yield app.state.models.get("colours")


async def test_tensors_are_known_before_the_model_is_loaded(model):
    """Its input by its manifest, its output by its labels; neither depends on the precision."""
    loaded = metadata_of(model)
    model.loaded = None

    assert loaded == metadata_of(model)
    assert [-1, 32, 32, 3] == loaded["inputs"][0]["shape"]
    assert [-1, 1000] == loaded["outputs"][0]["shape"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, {"trained": "false", "precision": "float32"}),
        ({"precision": "int8", "trained": True}, {"trained": "true", "precision": "int8"}),
        ({"precision": "float16", "device": "cuda"}, {"precision": "float16", "device": "cuda"}),
    ],
)
async def test_configuration_says_what_is_loaded(model, changes, said):
    """Untrained, int8, float16; the tensors are the same."""
    model.loaded = replace(model.loaded, **changes)
    config = config_of(model, "vgg16")
    told = {name: one["string_value"] for name, one in config["parameters"].items()}

    assert said.items() <= told.items()
    assert "vgg16" == told["stands_in_for"]
    assert "TYPE_UINT8" == config["input"][0]["data_type"]
    assert 64 == config["max_batch_size"]


async def test_configuration_of_a_model_that_loads_has_its_tensors(model):
    """What is not known yet is left out."""
    model.loaded = None

    assert {"title"} == set(config_of(model, None)["parameters"])


async def test_answers_say_whether_the_weights_are_trained(model):
    """And that they are int8, of which a client may want to know."""
    sha256 = model.loaded.weights_sha256
    int8 = replace(model.loaded, precision="int8", trained=True)

    assert {"weights_sha256": sha256, "trained": False} == parameters_of(model.loaded)
    assert {"weights_sha256": sha256, "trained": True, "precision": "int8"} == parameters_of(int8)


async def test_index_has_the_state_and_the_reason(model):
    """Ready, loading with its progress, failed, stopped."""
    states = [index_of(model)]
    await model.loaded.queue.stop()
    states.append(index_of(model))
    model.loaded, model.state = None, "loading"
    model.progress = ("fetching", 120_000_000, 553_000_000)
    states.append(index_of(model))
    model.state = "failed"
    states.append(index_of(model))

    assert ["READY", "UNAVAILABLE", "LOADING", "UNAVAILABLE"] == [one["state"] for one in states]
    assert ["", "stopped", "fetching, 120 of 553 MB", "failed to load; the log says why"] == [
        one["reason"] for one in states
    ]
