"""The parameters in the query of a request with a photo."""

import pytest

from app.web.parameters import spelled_parameter
from tests.conftest import png
from tests.web.answers import problem

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("topk=3", "unknown parameter 'topk'. Did you mean 'top_k'?"),
        ("top-k=3", "unknown parameter 'top-k'. Did you mean 'top_k'?"),
        ("TOP_K=3", "unknown parameter 'TOP_K'. Did you mean 'top_k'?"),
        ("models=vgg16", "unknown parameter 'models'. Did you mean 'model'?"),
        (
            "top_k=1&threshold=0.5",
            "'threshold'. There are model, top_k, explain, classes, against and test.",
        ),
        ("class=281", "unknown parameter 'class'. Did you mean 'classes'?"),
        ("image_url=http://localhost/", "The server fetches nothing"),
        ("%3Cb%3E=1", "unknown parameter. There are"),
        ("=1", "unknown parameter. There are"),
        (f"{'x' * 9000}=1", "unknown parameter. There are"),
    ],
)
async def test_unknown_parameter_is_named_with_the_nearest_one(client, query, sentence):
    """A parameter that would be ignored is refused, with the right name."""
    answer = await client.post(f"/predict?{query}", content=png())

    assert (422, "/problems/unknown-parameter") == problem(answer)
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("/predict?model=colours&model=nobody", "model"),
        ("/predict?model=&top_k=1&model=", "model"),
        ("/predict?top_k=1&top_k=2", "top_k"),
        ("/predict?test=dense&test=ten-crop", "test"),
        ("/predict?explain=box&against=1&against=2", "against"),
        ("/inspect?layer=pool1&layer=pool2", "layer"),
        ("/hf/colours?top_k=1&top_k=1", "top_k"),
    ],
)
async def test_a_parameter_is_given_once(client, query, name):
    """Of two values one would be ignored; nobody could know which."""
    answer = await client.post(query, content=png())

    assert (400, "/problems/bad-request") == problem(answer)
    assert f"{name}: The query has it more than once; give it once." == answer.json()["detail"]


@pytest.mark.parametrize(
    "name",
    ["token", "submit", "k", "name", "_charset_", "mode", "models", "top", "", "_", "x" * 9000],
)
async def test_other_names_mean_no_parameter(name):
    """Fields of other forms are not taken for parameters."""
    assert spelled_parameter(name) is None
