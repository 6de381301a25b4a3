"""The client with an event loop: retries, limits of time, and many photos, on a clock that is turned."""

import asyncio

import httpx
import pytest

from app.client import (
    AddressError,
    AsyncClient,
    NoAnswerError,
    ProblemError,
    StrangerError,
    TimedOutError,
    UnreachableError,
)
from app.setup_errors import KeysError
from tests.cli.predict.conftest import problem
from tests.client.script import BUSY, GOOD, HTML, LATE, LIMITED, Script, Step

PHOTO = b"\xff\xd8\xff\xe0"
AWAY = httpx.ConnectError("refused")
BROKEN = httpx.ReadError("")
BAD: Step = (422, {}, problem(422, "image-corrupt"))
NOT_READY: Step = (503, {"Retry-After": "5"}, problem(503, "not-ready"))


@pytest.fixture
def ask(turned):
    """Run `work(client)` with a client whose server is a script, on a clock that is turned."""

    def ask(script, work, **options):
        async def main():
            asyncio.get_running_loop().run_seconds = 0.0  # type: ignore[attr-defined]
            async with AsyncClient("http://server/vgg", transport=script, **options) as client:
                return await work(client)

        return turned(main())

    return ask


@pytest.fixture
def classify(ask):
    """Classify one photo."""

    def classify(script, *, question=None, **options):
        return ask(script, lambda client: client.classify(PHOTO, **question or {}), **options)

    return classify


@pytest.fixture
def classify_many(ask):
    """Classify as many photos, and return all answers."""

    def classify_many(script, photos, *, asked=None, **options):
        async def work(client):
            found = client.classify_many([PHOTO] * photos, **asked or {})
            return [answer async for answer in found]

        return ask(script, work, **options)

    return classify_many


def test_a_photo_is_sent_as_it_is(classify, monkeypatch):
    """Behind the prefix, with the key of the environment, and what is asked as the query."""
    monkeypatch.setenv("VGG_API_KEY", "secret")
    script = Script(GOOD)
    answer = classify(script, question={"model": "vgg19", "top_k": 2, "explain": True})
    [request] = script.requests

    assert ("cat", "vgg16") == (answer.best.label, answer.model)
    assert PHOTO == request.content
    assert "http://server/vgg/predict" == str(request.url.copy_with(query=None))
    assert {"model": "vgg19", "top_k": "2", "explain": "box"} == dict(request.url.params)
    assert "Bearer secret" == request.headers["Authorization"]
    assert "4" == request.headers["Content-Length"]


def test_an_empty_key_is_none(classify, monkeypatch):
    """Whatever the environment has."""
    monkeypatch.setenv("VGG_API_KEY", "secret")
    script = Script(GOOD)
    classify(script, key="")

    assert "Authorization" not in script.requests[0].headers


@pytest.mark.parametrize("step", [BUSY, LIMITED, NOT_READY, AWAY, BROKEN, (502, {}, b"<html>")])
def test_what_passes_is_tried_again(classify, step):
    """When the server wants it, and up to a quarter later, by chance."""
    script = Script(step, step, GOOD)
    wanted = 1 if isinstance(step, Exception) else float(step[1].get("Retry-After", 1))

    assert "cat" == classify(script).best.label
    first, second, third = script.at
    assert wanted <= second - first <= 1.25 * wanted
    assert wanted <= third - second <= 1.25 * wanted


@pytest.mark.parametrize(
    ("step", "error"),
    [(BUSY, ProblemError), (AWAY, UnreachableError), (BROKEN, NoAnswerError)],
)
def test_tries_are_bounded(classify, step, error):
    """Two after the first, or as many as were given; the last error is raised."""
    script, once = Script(step), Script(step)
    for one, options in ((script, {}), (once, {"retries": 0})):
        with pytest.raises(error):
            classify(one, **options)

    assert (3, 1) == (len(script.at), len(once.at))


@pytest.mark.parametrize(
    ("step", "error"), [(BAD, ProblemError), (LATE, ProblemError), (HTML, StrangerError)]
)
def test_what_stays_is_not_tried_again(classify, step, error):
    """A bad photo, a deadline, another server."""
    script = Script(step, GOOD)
    with pytest.raises(error):
        classify(script)

    assert 1 == len(script.at)


def test_a_longer_wait_than_the_call_may_take_is_told_at_once(classify):
    """Nobody waits to hear that it was in vain."""
    script = Script((503, {"Retry-After": "31"}, problem(503, "overloaded")))
    with pytest.raises(ProblemError) as caught:
        classify(script)

    assert ("overloaded", 503, 31) == (
        caught.value.type,
        caught.value.status,
        caught.value.retry_after,
    )
    assert [0] == script.at


def test_a_call_takes_no_longer_than_its_timeout(classify):
    """With all its tries; the error is a TimeoutError, too, and names the server."""
    script = Script(BUSY, GOOD, seconds=4)
    with pytest.raises(
        TimedOutError, match="http://server/vgg gave no answer within 7 s"
    ) as caught:
        classify(script, timeout=7)

    assert isinstance(caught.value, TimeoutError)
    assert 2 == len(script.at)
    assert "cat" == classify(Script(GOOD, seconds=100), timeout=None).best.label
    assert (
        "cat" == classify(Script(GOOD, seconds=10), timeout=1, question={"timeout": 20}).best.label
    )


def test_a_program_may_set_a_limit_of_its_own(ask):
    """A TimeoutError of the caller stays one of the caller."""

    async def work(client):
        async with asyncio.timeout(2):
            await client.classify(PHOTO)

    with pytest.raises(TimeoutError) as caught:
        ask(Script(GOOD, seconds=4), work)

    assert not isinstance(caught.value, TimedOutError)


def test_answers_are_in_the_order_of_the_images(classify_many):
    """One that has to wait is not overtaken; a bad one ends it, or is returned in its place."""
    script = Script(GOOD, BUSY, BAD, GOOD, seconds=0.1)
    found = classify_many(script, 6, asked={"return_exceptions": True, "concurrency": 2})

    assert 6 == len(found)
    assert 1 == sum(isinstance(one, ProblemError) for one in found)
    with pytest.raises(ProblemError):
        classify_many(Script(GOOD, BAD, GOOD), 6, asked={"concurrency": 2})


def test_a_busy_server_is_waited_for(classify_many):
    """As long as `patience` lasts, whatever the number of tries."""
    script = Script(*[LIMITED] * 9, GOOD)
    found = classify_many(script, 2, asked={"concurrency": 1})

    assert ["cat", "cat"] == [one.best.label for one in found]
    with pytest.raises(ProblemError):
        classify_many(Script(LIMITED), 2, asked={"patience": 20})


def test_a_server_that_restarts_loses_nothing(classify_many):
    """Refused connections in the middle are waited for; one that was never there is not."""
    script = Script(GOOD, BROKEN, *[AWAY] * 20, BUSY, GOOD)

    assert 12 == len(classify_many(script, 12, asked={"concurrency": 2}))
    never = Script(AWAY)
    with pytest.raises(UnreachableError):
        classify_many(never, 3, asked={"concurrency": 1})
    assert 3 == len(never.at)


def test_an_endless_iterable_is_not_run_ahead_of(ask):
    """No more images are taken than are worked on; closing early closes all requests."""
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield PHOTO

    async def work(client):
        found = client.classify_many(endless(), concurrency=3)
        first = [await anext(found) for _ in range(10)]
        await found.aclose()
        return first

    script = Script(GOOD, seconds=1)
    assert 10 == len(ask(script, work))
    assert len(taken) <= 10 + 3
    assert (0, 3) == (script.in_flight, script.most)


def test_asynchronous_iterables_are_taken_too(ask):
    """And what they raise, the caller gets."""

    async def images():
        yield PHOTO
        raise KeyError("mine")

    async def work(client):
        assert [] == [one async for one in client.classify_many([])]
        return [one async for one in client.classify_many(images())]

    script = Script(GOOD)
    with pytest.raises(KeyError, match="mine"):
        ask(script, work)
    assert 0 == script.in_flight


def test_a_model_is_described(ask):
    """What GET /models/NAME says is there, known or not; a name is part of a path."""
    row = b'{"name": "a/b", "state": "ready", "classes": 2, "trained": null, "precision": "int8"}'
    script = Script((200, {}, row))
    model = ask(script, lambda client: client.model("a/b"))

    assert ("a/b", "a/b", None, 2) == (model.name, model.title, model.trained, model.classes)
    assert "int8" == model.body["precision"]
    assert "http://server/vgg/models/a%2Fb" == str(script.requests[0].url)


@pytest.mark.parametrize(
    ("step", "ready"),
    [((200, {}, b'{"status": "ready"}'), True), (NOT_READY, False), (AWAY, False), (BROKEN, False)],
)
def test_readiness_is_asked_once(ask, step, ready):
    """A server that starts, or is not there, is not ready; it is not waited for."""
    script = Script(step)

    assert ready == ask(script, lambda client: client.ready())
    assert 1 == len(script.at)


def test_a_version_that_nobody_says_is_none(ask):
    """The description may be switched off."""
    step: Step = (200, {}, b'{"info": {"version": "1.2"}}')
    assert "1.2" == ask(Script(step), lambda client: client.version())
    missing: Step = (404, {}, problem(404, "not-found"))
    assert ask(Script(missing), lambda client: client.version()) is None


@pytest.mark.parametrize(
    ("options", "error"),
    [({"url": "ftp://x"}, AddressError), ({"url": "http:/x"}, ValueError), ({"timeout": 0}, ValueError),
     ({"retries": -1}, ValueError), ({"key": "a key"}, KeysError)],
)  # fmt: skip
def test_a_client_that_cannot_be_is_told(options, error):
    """Before anything is sent."""
    with pytest.raises(error):
        AsyncClient(**{"url": "http://host"} | options)


def test_a_closed_client_says_so(ask):
    """In a sentence, from each of its methods."""

    async def work(client):
        await client.aclose()
        await client.aclose()
        for call in (client.classify(PHOTO), client.models(), client.ready()):
            with pytest.raises(RuntimeError, match="The client is closed"):
                await call
        with pytest.raises(RuntimeError, match="The client is closed"):
            client.classify_many([PHOTO])

    ask(Script(GOOD), work)
    assert "AsyncClient('http://host')" == repr(AsyncClient("http://ada:secret@host/", "key"))
