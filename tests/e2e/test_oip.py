"""The Open Inference Protocol over HTTP, with Triton's own client, on a real socket."""

import io

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from PIL import Image
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from app.web.keys import make_key
from tests.conftest import PHOTOS, SHARED_DATA, png, running_server
from tests.e2e.wire import request, wire_to
from tests.fuzz_oip import attack

NAMES = ("coffee.jpg", "chelsea.jpg", "rocket.jpg")
FILES = [(PHOTOS / name).read_bytes() for name in NAMES]
MODEL = "vgg16-mini"
OUTPUT = "probabilities"


@pytest.fixture
def client(mini_server):
    """Triton's client, with room for four requests at a time."""
    with triton.InferenceServerClient(
        mini_server.url.removeprefix("http://"), concurrency=4
    ) as one:
        yield one


@pytest.fixture(scope="module")
def locked(colours):
    """A server of `colours` with API keys: its URL, and the header with a key."""
    key, line = make_key("alice")
    (colours / "keys").write_text(line)
    with running_server(colours, models="colours", api_keys_file=str(colours / "keys")) as server:
        yield server.url, f"Bearer {key}"


@pytest.fixture
def predicted(mini_server):
    """What POST /predict says of each photo, all classes by their index."""
    rows = []
    for data in FILES:
        answer = httpx.post(f"{mini_server.url}/predict?top_k=202", content=data).json()
        row = {one["class_index"]: one["probability"] for one in answer["predictions"]}
        rows.append([row[index] for index in range(202)])
    return np.array(rows, np.float32)


def photos(*files, make=triton.InferInput, shape=()):
    """Make the input of image files."""
    array = np.array(files, np.object_).reshape(len(files), *shape)
    made = make("image", array.shape, "BYTES")
    return [made.set_data_from_numpy(array)]


def pixels_of(*files, crop=64):
    """Crop and resize as most clients do: to the very size, without keeping the shape."""
    opened = [Image.open(io.BytesIO(one)).convert("RGB").resize((crop, crop)) for one in files]
    return np.stack([np.asarray(one) for one in opened])


def pixels(array, *, binary=True, make=triton.InferInput):
    """Make the input of pixels."""
    made = make("image", array.shape, "UINT8")
    return [made.set_data_from_numpy(array, binary_data=binary)]


def asked(**options):
    """Ask for the output in some form."""
    return [triton.InferRequestedOutput(OUTPUT, **options)]


def test_client_learns_what_there_is(client):
    """Liveness, readiness, metadata, configuration, index and statistics, each as the client wants it."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("vgg99")
    assert not client.is_model_ready(MODEL, "2")
    assert "classification" in client.get_server_metadata()["extensions"]
    metadata, config = client.get_model_metadata(MODEL), client.get_model_config(MODEL)
    assert [-1, *config["input"][0]["dims"]] == metadata["inputs"][0]["shape"]
    assert {"string_value": "true"} == config["parameters"]["trained"]
    assert ["READY"] == [one["state"] for one in client.get_model_repository_index()]
    before = client.get_inference_statistics(MODEL)["model_stats"][0]["inference_count"]
    client.infer(MODEL, photos(*FILES))
    [after] = client.get_inference_statistics(MODEL)["model_stats"]
    assert before + 3 == after["inference_count"]


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("options", [None, {"binary_data": True}, {"binary_data": False}])
def test_photos_get_the_answers_of_predict(client, predicted, options, compression):
    """Files of three sizes in one request, in order; as bytes or JSON, compressed or not."""
    answer = client.infer(
        MODEL,
        photos(*FILES),
        outputs=options and asked(**options),
        request_id="42",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )

    assert "42" == answer.get_response()["id"]
    assert np.allclose(predicted, answer.as_numpy(OUTPUT), atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_pixels_get_the_same_answer_in_both_forms(client, predicted, binary):
    """As bytes and as numbers in JSON; the network recognises the coffee."""
    array = pixels_of(*FILES)
    rows = client.infer(MODEL, pixels(array, binary=binary)).as_numpy(OUTPUT)

    assert (3, 202) == rows.shape
    assert np.allclose(1, rows.sum(axis=1), atol=1e-5)
    assert predicted[0].argmax() == rows[0].argmax()


@pytest.mark.parametrize("binary", [True, False])
def test_classes_are_named(client, predicted, binary):
    """Five texts a photo, the best first, with their values."""
    answer = client.infer(
        MODEL, photos(*FILES), outputs=asked(class_count=5, binary_data=binary)
    ).as_numpy(OUTPUT)
    texts = [[t.decode() if isinstance(t, bytes) else t for t in row] for row in answer]
    values = np.array([[float(text.split(":")[0]) for text in row] for row in texts])

    assert (3, 5) == answer.shape
    assert "espresso" == texts[0][0].split(":")[2]
    assert np.allclose(np.sort(predicted)[:, :-6:-1], values, atol=1e-5)


def test_requests_at_a_time_keep_their_own_answers(client, predicted):
    """Four requests of the client's own concurrency, each with another photo first."""
    orders = [(0, 1), (1, 2), (2, 0), (0, 2), (2, 1), (1, 0)] * 3
    pending = [
        client.async_infer(MODEL, photos(*(FILES[one] for one in order))) for order in orders
    ]

    for order, one in zip(orders, pending, strict=True):
        rows = one.get_result().as_numpy(OUTPUT)
        assert np.allclose(predicted[list(order)], rows, atol=1e-5)


@pytest.mark.anyio
async def test_asyncio_client_gets_the_same(mini_server, predicted):
    """It asks for compressed answers by itself, and has to decompress them."""
    async with triton_aio.InferenceServerClient(mini_server.url.removeprefix("http://")) as client:
        plain = await client.infer(MODEL, photos(*FILES))
        packed = await client.infer(
            MODEL,
            photos(*FILES),
            request_compression_algorithm="gzip",
            response_compression_algorithm="deflate",
        )

    for answer in (plain, packed):
        assert np.allclose(predicted, answer.as_numpy(OUTPUT), atol=1e-5)


def test_error_shows_our_sentence(client):
    """Which photo is bad, and what the model's pixels are."""
    with pytest.raises(InferenceServerException) as bad:
        client.infer(MODEL, photos(FILES[0], b"junk"))
    with pytest.raises(InferenceServerException) as wrong:
        client.infer(MODEL, pixels(pixels_of(*FILES, crop=32)))
    with pytest.raises(InferenceServerException) as late:
        client.infer(MODEL, photos(*FILES), timeout=1)

    assert ("415", "inputs[0].data[1]: Plain text is not supported.") == (
        bad.value.status(),
        bad.value.message()[:47],
    )
    assert ("400", True) == (wrong.value.status(), "[N, 64, 64, 3]" in wrong.value.message())
    assert late.value.status() in {"503", "504"}


def test_keys_come_in_a_header(locked):
    """Without one photos and statistics are refused, and what a probe asks is answered."""
    url, key = locked
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        assert client.is_model_ready("colours")
        for refused in (
            lambda: client.infer("colours", photos(png())),
            lambda: client.get_inference_statistics("colours"),
        ):
            with pytest.raises(InferenceServerException, match="API key") as caught:
                refused()
            assert "401" == caught.value.status()
        headers = {"Authorization": key}
        answer = client.infer("colours", photos(png("lime")), headers=headers)

    assert 1 == answer.as_numpy(OUTPUT).argmax()


def test_image_client_of_triton_works(client):
    """The steps of its examples: check the description, resize to it, stack, name the classes."""
    metadata, config = client.get_model_metadata(MODEL), client.get_model_config(MODEL)
    [source], [output], [configured] = metadata["inputs"], metadata["outputs"], config["input"]
    batched = config["max_batch_size"] > 0
    layout = model_config_pb2.ModelInput.Format.Value(configured["format"])
    assert batched
    assert "FP32" == output["datatype"]
    assert 1 == sum(size > 1 for size in output["shape"][1:])
    assert model_config_pb2.ModelInput.FORMAT_NHWC == layout
    _, height, width, _ = source["shape"]
    scaled = [
        np.asarray(
            Image.open(PHOTOS / name)
            .convert("RGB")
            .resize((width, height), Image.Resampling.BILINEAR)
        )
        for name in NAMES
    ]
    array = np.stack(scaled).astype(triton_to_np_dtype(source["datatype"]))
    given = triton.InferInput(source["name"], array.shape, source["datatype"])
    given.set_data_from_numpy(array)
    wanted = triton.InferRequestedOutput(output["name"], class_count=3)
    answer = client.infer(MODEL, [given], request_id="1", outputs=[wanted], model_version="")

    named = answer.as_numpy(output["name"])
    assert "1" == answer.get_response()["id"]
    assert (len(NAMES), np.object_) == (len(named), named.dtype.type)
    value, index, label = "".join(chr(one) for one in named[0][0]).split(":")
    assert ("espresso", "194") == (label, index)
    assert 0 < float(value) < 1


def test_ensemble_image_client_of_triton_works(client):
    """The other example sends files as texts of numpy, [N, 1], as many as a batch may have."""
    metadata, config = client.get_model_metadata(MODEL), client.get_model_config(MODEL)
    number = min(len(FILES), config["max_batch_size"])
    array = np.stack([np.array([one], dtype=bytes) for one in FILES[:number]], axis=0)
    given = triton.InferInput(metadata["inputs"][0]["name"], array.shape, "BYTES")
    given.set_data_from_numpy(array, binary_data=True)
    outputs = [
        triton.InferRequestedOutput(one["name"], binary_data=True, class_count=5)
        for one in metadata["outputs"]
    ]
    answer = client.infer(MODEL, [given], outputs=outputs)
    [named] = [answer.as_numpy(one["name"]) for one in metadata["outputs"]]

    assert (3, 5) == named.shape
    assert b"espresso" == named[0][0].split(b":")[2]


@pytest.mark.real
def test_a_foreign_graph_of_1000_classes_answers_tritons_client(squeezenet_dir):
    """SqueezeNet names the cat, of a photo and of pixels."""
    if not SHARED_DATA.exists():
        pytest.skip("no foreign graph")
    with (
        running_server(squeezenet_dir, models="squeezenet") as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        cat = FILES[1]
        named = client.infer("squeezenet", photos(cat), outputs=asked(class_count=1))
        rows = client.infer("squeezenet", pixels(pixels_of(cat, crop=227)))

    assert named.as_numpy(OUTPUT)[0][0].endswith(b":285:Egyptian cat")
    assert rows.as_numpy(OUTPUT)[0].argmax() in {281, 282, 285}


def test_large_body_is_refused_before_it_is_sent(mini_server):
    """The answer to a declared 1 GB comes without a byte of it."""
    with wire_to(mini_server.url) as wire:
        wire.send(request("POST", f"/v2/models/{MODEL}/infer", content_length="1000000000"))
        answer = wire.answer()

    assert (413, "body-too-large") == answer.problem


def test_damaged_requests_harm_nobody(locked):
    """Each is answered or refused, never with 5xx, and the photo after it is answered."""
    url, key = locked
    statuses, problems = attack(url, 150, seed=3, key=key)

    assert [] == problems
    assert {200, 400} <= set(statuses)
