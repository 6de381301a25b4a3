"""The parameters in the query of POST /predict."""

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
    "name",
    ["token", "submit", "k", "name", "_charset_", "mode", "models", "top", "", "_", "x" * 9000],
)
async def test_other_names_mean_no_parameter(name):
    """Fields of other forms are not taken for parameters."""
    assert spelled_parameter(name) is None
