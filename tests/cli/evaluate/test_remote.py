"""`vgg-serve evaluate --url`: a server's answers give the same report as the model here."""

import base64
import json
import re

import httpx
import numpy as np
import pytest

from app.cli.evaluate.model import Side
from app.cli.evaluate.remote import open_remote, second_side
from app.evaluation.answers import open_answers
from app.evaluation.dataset import Photo
from app.service.settings import Settings
from app.setup_errors import SetupError
from app.web.keys import make_key
from tests.cli.predict.conftest import problem
from tests.conftest import PHOTOS, png, running_server, write_colours

NAMES = "chelsea.jpg", "coffee.jpg", "rocket.jpg"
COLOURS = {"n01440764": "red", "goldfish": "lime", "2": "blue"}


def kept_rows(file):
    """Return the probabilities that a run kept, in the order of the photos' names."""
    lines = file.read_text().splitlines()[1:]
    kept = {one["name"]: one["row"] for one in map(json.loads, lines)}
    return np.stack([np.frombuffer(base64.b64decode(kept[name]), "<f4") for name in sorted(kept)])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos of three classes, one with a wrong label and one damaged, and a folder of two models."""
    place = tmp_path_factory.mktemp("remote")
    for name, colour in COLOURS.items():
        (place / "photos" / name).mkdir(parents=True)
        for number in range(3):
            data = png(colour, size=(40 + number, 40))
            (place / "photos" / name / f"{number}.png").write_bytes(data)
    (place / "photos" / "2" / "wrong.png").write_bytes(png("red", size=(50, 50)))
    (place / "photos" / "2" / "damaged.png").write_bytes(png("red")[:60])
    (place / "photos" / "2" / "notes.png").write_text("no photo")
    write_colours(place)
    manifest = (place / "colours.toml").read_text().replace('"colours"', '"swapped"')
    (place / "swapped.toml").write_text(manifest.replace("RGB", "BGR"))
    return place


@pytest.fixture(scope="module")
def server(place):
    """A server of both models that takes 20 photos a second, from those who have a key."""
    key, line = make_key("ada")
    (place / "keys").write_text(line + "\n")
    with running_server(
        place, models="colours,swapped", api_keys_file=str(place / "keys"),
        rate_limit="20", rate_burst="5",
    ) as server:  # fmt: skip
        yield server.url, key


@pytest.fixture
def run(evaluate, place, server):
    """Evaluate, and return the report and the output."""
    settings = {"VGG_MODEL_DIR": str(place), "VGG_MODELS": "colours", "COLUMNS": "200"}

    def run(file, *options):
        status, out, err = evaluate(
            place / "photos", "--json", file, *options, **settings, VGG_API_KEY=server[1]
        )
        assert 0 == status, err
        return json.loads(file.read_text()), out

    return run


def test_the_report_is_that_of_the_model_here(run, server, tmp_path):
    """All figures, to the last digit; it says who answered, and a second run asks nobody again.

    A model here is compared with one of a server, and two of the same server with each other.
    """
    url, _ = server
    here, _ = run(tmp_path / "here.json", "--compare", f"{url},swapped")
    there, out = run(tmp_path / "there.json", "--url", url, "--compare", "swapped")
    figures = (
        "top1", "top5", "ece", "n", "accuracy", "calibration", "baselines", "duplicates", "segments",
        "suspected_label_errors",
    )  # fmt: skip

    assert [here[name] for name in figures] == [there[name] for name in figures]
    names = [{one["name"] for one in report["damaged"]} for report in (here, there)]
    assert [{"2/damaged.png", "2/notes.png"}] * 2 == names
    assert [7, 7] == [report["comparison"]["changed"]["count"] for report in (here, there)]
    model, second = there["model"], here["comparison"]["second_model"]
    assert ("colours", "swapped", url, url) == (
        model["name"],
        second["name"],
        model["url"],
        second["url"],
    )
    assert (here["model"]["weights_sha256"], "float32") == (
        model["weights_sha256"],
        model["precision"],
    )
    assert f"answered by {url}: vgg-serve {model['server_version']}, float32 on cpu" in out
    again, _ = run(tmp_path / "there.json", "--url", url)
    assert (2, there["top1"]) == (again["speed"]["photos"], again["top1"])  # the damaged


@pytest.mark.parametrize("test", ["ten-crop", "dense"])
def test_a_server_takes_tests_of_the_paper(evaluate, mini_server, tmp_path, test):
    """At the scale of a model here, with its probabilities; one crop of the same server is compared."""
    table = tmp_path / "photos.csv"
    table.write_text("".join(f"{PHOTOS / name},{n}\n" for n, name in enumerate(NAMES)))
    reports, rows = [], []
    for name, options in (
        ("here", ()), ("there", ("--url", mini_server.url, "--compare", "test=single"))
    ):  # fmt: skip
        file, asked = tmp_path / f"{name}.json", ("--test", test, *options)
        status, _, err = evaluate(
            table, "--json", file, *asked, VGG_MODELS="vgg16-mini", VGG_MODEL_DIR=str(tmp_path)
        )
        assert 0 == status, err
        reports.append(json.loads(file.read_text()))
        rows.append(kept_rows(tmp_path / f"{name}.json.answers"))
    here, there = reports

    assert {"name": test, "scales": [68]} == here["test"] == there["test"] == there["model"]["test"]
    assert np.abs(rows[0] - rows[1]).max() < 1e-5
    assert rows[0].argmax(axis=1).tolist() == rows[1].argmax(axis=1).tolist()
    assert (3, {"name": "single", "scales": []}) == (
        there["comparison"]["n"],
        there["comparison"]["second_test"],
    )


@pytest.mark.parametrize(
    ("url", "key", "model", "said"),
    [
        ("ftp://host", None, None, "Expected http://HOST:PORT"),
        ("{url}", "wrong", None, "Missing or invalid API key"),
        ("{url}", None, "vgg99", "no model of that name"),
        ("{url}/nowhere", None, None, "There is nothing at '/nowhere/predict'"),
    ],
)
def test_a_server_that_cannot_be_asked_is_told(server, url, key, model, said):
    """A wrong URL, key or model, before anything is run."""
    with pytest.raises(SetupError, match=re.escape(said)):
        open_remote(url.format(url=server[0]), key or server[1], model)


def test_a_server_refuses_what_its_model_cannot(server):
    """In its own words: a ready graph takes no whole photo."""
    url, key = server
    with pytest.raises(SetupError, match="colours is a ready ONNX graph"):
        open_remote(url, key, "colours", "dense")


def test_a_server_that_does_not_know_tests_is_told():
    """It would answer for one crop."""
    with pytest.raises(SetupError, match="does not know the test dense: its vgg-serve is older"):
        open_remote("http://server", None, None, "dense", transport=Fake())


def test_a_server_has_its_own_settings(place):
    """They cannot be compared from here; a model here is opened later."""
    side = Side(Settings(model_dir=place, models=("colours",)), None)
    for wanted in (
        "http://host,precision=float16",
        "http://host,a,b",
        "http://host,",
        "http://host,http://other",
    ):
        with pytest.raises(SetupError, match="a server has its own settings"):
            second_side(side, None, None, wanted)
    with pytest.raises(SetupError, match="--compare is ''"):
        second_side(side, "http://host", None, "")
    assert callable(second_side(side, None, None, "swapped"))


class Fake(httpx.AsyncBaseTransport):
    """A server of three classes that answers what a test says."""

    def __init__(self, digests=("57",), most=3, status=200, times=99):
        self.digests, self.most, self.status, self.times = [*digests], most, status, times

    async def handle_async_request(self, request):
        await request.aread()
        path = request.url.path
        if path == "/openapi.json":
            return httpx.Response(404, content=problem(404, "not-found"))
        if path.startswith("/models/"):
            preprocess = {
                "resize": 36,
                "crop": 32,
                "channels": "RGB",
                "mean": [0] * 3,
                "std": [1] * 3,
            }
            body = {"name": "three", "state": "ready", "classes": 3, "preprocess": preprocess,
                    "precision": "int8"}  # fmt: skip
            return httpx.Response(200, json=body)
        wanted = int(request.url.params["top_k"])
        if wanted > self.most:
            refusal = problem(400, "bad-request", limit={"top_k": self.most})
            return httpx.Response(400, content=refusal)
        known = request.headers["Content-Length"] == "8"  # a photo, and not the grey one
        if known and self.status != 200 and self.times:
            self.times -= 1
            return httpx.Response(self.status, content=problem(self.status, "x"))
        digest = self.digests[-1] if known else self.digests[0]
        rows = [{"rank": n + 1, "label": f"c{n}", "probability": p, "wnid": None, "class_index": n}
                for n, p in enumerate((0.5, 0.3, 0.2))]  # fmt: skip
        body = {"model": {"name": "three", "weights_sha256": digest, "trained": True},
                "predictions": rows[:wanted], "image": {"width": 3, "height": 2, "format": "jpeg"}}  # fmt: skip
        return httpx.Response(200, json=body)


@pytest.fixture
def answered(tmp_path):
    """Have two photos answered by a fake; return the answers."""
    photos = []
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0" + bytes(4))
        photos.append(Photo(tmp_path / name, name, 0))

    def answered(fake):
        remote = open_remote("http://server", None, None, transport=fake)
        with remote.client, open_answers(None, remote.made_by) as answers:
            remote.answer(photos, answers, lambda: None)
        return remote, answers.known

    return answered


def test_all_classes_are_asked_for(answered):
    """Probabilities have their places; a version that nobody says is unknown."""
    remote, known = answered(Fake())

    assert [0.5, 0.3, 0.2] == pytest.approx(known["b.jpg"].row.tolist())
    assert (None, "int8", 3) == (remote.version, remote.graph.precision, len(remote.classes))


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        (Fake(most=2), "names 2 of its 3 classes at most. Without the others, neither labels"),
        (Fake(digests=("57", "58")), "other weights than a moment ago"),
        (Fake(status=504), "504 x: Detail. Run the command again to go on"),
        (Fake(status=401), "Run the command again to go on"),
    ],
)
def test_what_would_be_wrong_ends_the_run(answered, fake, said):
    """Classes that are not named, weights that change meanwhile, a refusal that no photo caused."""
    with pytest.raises(SetupError, match=said):
        answered(fake)


def test_a_photo_that_a_server_refuses_is_damaged(answered):
    """It is counted, and the run goes on."""
    _, known = answered(Fake(status=422))

    assert ["Detail.", "Detail."] == [one.trouble for one in known.values()]


def test_a_photo_that_was_not_answered_in_time_is_sent_again(answered):
    """After all others, and up to three times."""
    _, known = answered(Fake(status=504, times=3))

    assert {"a.jpg": "", "b.jpg": ""} == {name: one.trouble for name, one in known.items()}
