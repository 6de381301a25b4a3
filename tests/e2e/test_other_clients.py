"""Clients of other servers, as their registries have them, against a server on a real socket."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import httpx
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from app.web.keys import make_key
from app.web.page.files import STATIC
from tests.conftest import PHOTOS, REPOSITORY, png, running_server
from tests.e2e.snippets import run_snippet, snippets

COFFEE = STATIC / "samples" / "coffee.jpg"
DOCUMENT = "docs/clients.md"
PYTHON = snippets(DOCUMENT, "python")
JAVASCRIPT = snippets(DOCUMENT, "js")
SHELL = snippets(DOCUMENT, "sh")
README = re.findall(
    r"^(?:\$ )?(curl .*|\.venv/bin/vgg-serve predict .*)$",
    (REPOSITORY / "README.md").read_text(),
    re.MULTILINE,
)
FOREIGN = "hf_foreign"
PACKAGE = "@huggingface/inference@4"


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A server of vgg16-mini with keys, and a key."""
    folder = tmp_path_factory.mktemp("secured")
    key, line = make_key("alice")
    (folder / "keys").write_text(line)
    keys = str(folder / "keys")
    with running_server(folder, models="vgg16-mini", api_keys_file=keys) as server:
        yield server.url, key


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory):
    """A folder in which JavaScript finds Hugging Face's client, fresh from npm's registry."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("Node and npm are not there (Debian: apt-get install nodejs npm)")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if ended.returncode:
        pytest.skip(f"npm's registry did not answer: {ended.stderr[-300:]}")
    return folder


def here(code, url, key=""):
    """Return the code of a document for this server, model and key."""
    for theirs, ours in (
        (r'(?<=InferenceServerClient\(")localhost:8000', url.removeprefix("http://")),
        (r"(http://)?(localhost|server):8000", url),
        (r"\bvgg16\b", "vgg16-mini"),
        (r"\bYOUR_KEY\b|vgg_\.\.\.", key),
        (r"^\.venv/bin/vgg-serve", f"{sys.executable} -m app"),
    ):
        code = re.sub(theirs, ours, code)
    return code


@pytest.fixture
def folder(tmp_path):
    """A folder with the photos of the documents, all of them of a coffee."""
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "dog.jpg", "photo.jpg", "photos/a.jpg"):
        shutil.copyfile(COFFEE, tmp_path / name)
    return tmp_path


ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
ENVIRONMENT |= {"PYTHONPATH": str(REPOSITORY), "VGG_MODELS": "vgg16-mini", "VGG_OFFLINE": "true"}


@pytest.mark.parametrize("code", PYTHON)
def test_python_of_the_document_runs_as_it_stands(secured, folder, code):
    """It names the espresso."""
    environment = ENVIRONMENT | {"VGG_API_KEY": secured[1]}

    assert "espresso" in run_snippet(here(code, *secured), "python", folder, **environment)


@pytest.mark.parametrize("code", SHELL)
def test_shell_of_the_document_runs_as_it_stands(mini_server, folder, code):
    """So does curl, without keys."""
    assert "espresso" in run_snippet(here(code, mini_server.url), "sh", folder, **ENVIRONMENT)


@pytest.mark.parametrize("code", README)
def test_requests_of_the_readme_run_as_they_stand(secured, folder, code):
    """Its first request, the one with a key, and those of the command."""
    url, key = secured
    environment = ENVIRONMENT | {"VGG_API_KEY": key}
    if code.startswith("curl") and key not in here(code, url, key):
        code = code.replace("curl", f'curl -H "Authorization: Bearer {key}"')

    assert "espresso" in run_snippet(here(code, url, key), "sh", folder, **environment)


@pytest.mark.npm
@pytest.mark.parametrize("code", JAVASCRIPT)
def test_javascript_of_the_document_runs_as_it_stands(secured, node_modules, code):
    """With the package as npm has it."""
    shutil.copyfile(COFFEE, node_modules / "cat.jpg")

    assert "espresso" in run_snippet(here(code, *secured), "js", node_modules, **ENVIRONMENT)


@pytest.mark.npm
def test_javascript_shows_the_sentence_of_an_error(secured, node_modules):
    """A bad photo and a foreign token, in the message that the package throws."""
    url, key = secured
    (node_modules / "cat.jpg").write_text("no photo")
    code = here(JAVASCRIPT[0], url, key)
    said = "await main().catch((error) => console.log(error.message, error.httpResponse?.body));"
    imports, body = code.split("\n\n", 1)
    wrapped = f"{imports}\nconst main = async () => {{\n{body}\n}};\n{said}"
    bad = run_snippet(wrapped, "js", node_modules, **ENVIRONMENT)
    foreign = run_snippet(wrapped.replace(key, FOREIGN), "js", node_modules, **ENVIRONMENT)

    assert "Plain text is not supported. Send JPEG" in bad
    assert "Missing or invalid API key" in foreign


# huggingface_hub passes its body to its HTTP client in an old way.
@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
def test_hugging_face_takes_every_kind_of_photo(mini_server):
    """A path and bytes; with parameters, without; in a thread, in a loop."""
    url = f"{mini_server.url}/hf/vgg16-mini"
    client = InferenceClient(model=url, token=FOREIGN)  # no keys: it is ignored
    rows = httpx.post(f"{mini_server.url}/predict", content=COFFEE.read_bytes()).json()
    expected = [(row["label"], row["probability"]) for row in rows["predictions"]]

    async def in_a_loop(photo):
        async with AsyncInferenceClient(model=url) as client:
            return await client.image_classification(photo, top_k=5)

    with COFFEE.open("rb") as file:
        answers = [
            client.image_classification(COFFEE),
            client.image_classification(COFFEE.read_bytes()),
            client.image_classification(file.read(), top_k=5, function_to_apply="softmax"),
            asyncio.run(in_a_loop(str(COFFEE))),
        ]

    for answer in answers:
        assert expected == [(one.label, one.score) for one in answer]
    assert rows["predictions"][0]["wnid"] == answers[0][0].wnid


def test_hugging_face_gets_boxes(mini_server):
    """Those of POST /predict?explain=box, without and with a threshold."""
    client = InferenceClient(model=f"{mini_server.url}/hf/vgg16-mini/boxes")
    url = f"{mini_server.url}/predict?explain=box"
    rows = httpx.post(url, content=COFFEE.read_bytes()).json()["predictions"]
    every = client.object_detection(COFFEE)
    [best] = client.object_detection(COFFEE, threshold=0.5)

    assert [row["box"] for row in rows if row["box"]] == [dict(one.box) for one in every]
    assert ("espresso", rows[0]["box"]) == (best.label, dict(best.box))


def test_hugging_face_shows_our_sentences(secured, mini_server):
    """On a bad photo, a parameter that cannot be, a foreign token, an unknown model."""
    url, key = secured
    cases: list[tuple[str, str, str | None, Any, dict[str, Any], str]] = [
        (url, "vgg16-mini", key, b"no photo", {}, "Plain text is not supported. Send JPEG"),
        (url, "vgg16-mini", key, COFFEE, {"function_to_apply": "sigmoid"}, "Write softmax"),
        (url, "vgg16-mini", key, COFFEE, {"top_k": 500}, "from 1 to 202"),
        (url, "vgg16-mini", FOREIGN, COFFEE, {}, "Missing or invalid API key"),
        (mini_server.url, "vgg99", None, COFFEE, {}, "no model of that name"),
    ]
    for address, model, token, photo, parameters, sentence in cases:
        client = InferenceClient(model=f"{address}/hf/{model}", token=token)
        with pytest.raises(HfHubHTTPError, match=sentence):
            client.image_classification(photo, **parameters)


def test_hugging_face_shows_a_refusal(model_dir):
    """Too many requests: our sentence again, and when to retry."""
    with running_server(model_dir, models="colours", rate_limit="0.01", rate_burst="1") as server:
        client = InferenceClient(model=f"{server.url}/hf/colours")
        client.image_classification(png())
        with pytest.raises(HfHubHTTPError, match="Too many requests from this client") as caught:
            client.image_classification(png())

    assert 90 <= int(caught.value.response.headers["retry-after"]) <= 100


@pytest.mark.real
def test_a_foreign_graph_names_a_cat_to_all_clients(squeezenet_dir, tmp_path):
    """SqueezeNet sees an Egyptian cat, whatever the client speaks."""
    chelsea = PHOTOS / "chelsea.jpg"
    shutil.copyfile(chelsea, tmp_path / "cat.jpg")
    with running_server(squeezenet_dir, models="squeezenet") as server:
        client = InferenceClient(model=f"{server.url}/hf/squeezenet")
        best = client.image_classification(chelsea, top_k=1)[0].label
        said = [
            run_snippet(
                here(code, server.url, "no-key").replace("vgg16-mini", "squeezenet"),
                language, tmp_path, **ENVIRONMENT,
            )
            for language, blocks in (("sh", SHELL[1:]), ("python", [PYTHON[1], PYTHON[-1]]))
            for code in blocks
        ]  # fmt: skip

    assert "Egyptian cat" == best
    assert [True] * len(said) == ["Egyptian cat" in text for text in said]
