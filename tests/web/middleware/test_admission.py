"""What is refused before its body is read, what that costs, and how slowly a body may come."""

import asyncio
import time
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace

import pytest

from app.errors import SlowUploadError, UploadsFullError, VggServeError
from app.service.app import create_app
from app.service.settings import Settings
from app.web.keys import make_key
from app.web.middleware.admission import Admission, UploadLimits
from tests.conftest import client_of, png, started_app
from tests.web.answers import problem

pytestmark = pytest.mark.anyio


class Body:
    """A photo that notes that it was read."""

    def __init__(self, data=None):
        self.was_read = False
        self._data = png() if data is None else data

    async def __aiter__(self):
        self.was_read = True
        yield self._data


@contextmanager
def busy(app, seconds=1e12):
    """Let the model have a run in progress that takes so long."""
    device = app.state.models.get("colours").loaded.queue._devices[0]
    flight = device.begin(seconds, time.monotonic())
    yield
    device.end(flight, time.monotonic())


async def test_deadline_counts_before_the_body_is_read(model_dir, session):
    """A request whose deadline passes before its run would begin is refused without its body."""
    body = Body()
    async with (
        started_app(model_dir, session, queue_budget_ms=600_000) as app,
        client_of(app) as client,
    ):
        with busy(app, seconds=10):
            answer = await client.post(
                "/predict", content=body, headers={"x-request-timeout-ms": "500"}
            )

    assert (503, "/problems/overloaded") == problem(answer)
    assert "retry-after" in answer.headers
    assert not body.was_read


@pytest.mark.parametrize(
    "value", ["-1", "²", "9" * 5000, "0" * 5000 + "5", "0", "1.5", "", "1e3", "NaN"]
)
async def test_nonsense_in_the_timeout_header_is_refused(client, value):
    """A client with a mistake in X-Request-Timeout-Ms is told so before it sends its photo."""
    body = Body()
    answer = await client.post(
        "/predict", content=body, headers={"x-request-timeout-ms": value.encode("latin-1")}
    )

    assert (400, "/problems/bad-request") == problem(answer)
    assert not body.was_read


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200), ("?model=", 200), ("?model", 200), ("?model=colours", 200),
        ("?model=%20", 404), ("?Model=nobody", 422), ("?model=%63olours", 200),
        ("?top_k=1;model=nobody", 400), ("?model=nobody&model=colours", 400),
    ],
)  # fmt: skip
async def test_a_blank_model_is_the_default(client, query, status):
    """The model that admits a request is the one that answers it."""
    answer = await client.post(f"/predict{query}", content=png())

    assert status == answer.status_code
    assert 200 != status or "colours" == answer.json()["model"]["name"]


@pytest.mark.parametrize(
    ("query", "headers", "body", "expected"),
    [
        ("?model=nobody", {}, b"", (404, "/problems/unknown-model")),
        ("?topk=3", {}, b"", (422, "/problems/unknown-parameter")),
        ("", {"x-request-timeout-ms": "soon"}, b"", (400, "/problems/bad-request")),
        ("", {}, b"\0" * 6000, (413, "/problems/body-too-large")),
        ("", {"content-length": "1e3"}, b"", (400, "/problems/bad-request")),
    ],
)
async def test_request_refused_by_its_head_costs_no_token(
    model_dir, session, query, headers, body, expected
):
    """A client may be wrong as often as it likes and still has its burst for the right request."""
    async with (
        started_app(model_dir, session, rate_limit=0.001, rate_burst=1, max_body_bytes=5000) as app,
        client_of(app) as client,
    ):
        refused = [
            await client.post(f"/predict{query}", content=body, headers=headers) for _ in range(3)
        ]
        photos = [await client.post("/predict", content=png()) for _ in range(2)]

    assert [expected] * 3 == [problem(answer) for answer in refused]
    assert [200, 429] == [answer.status_code for answer in photos]


async def test_overloaded_server_takes_no_token(model_dir, session):
    """503 costs no token, whether admission refuses before the body is read or after it."""
    async with (
        started_app(model_dir, session, rate_limit=0.001, rate_burst=1) as app,
        client_of(app) as client,
    ):
        with busy(app):
            before = [await client.post("/predict", content=png()) for _ in range(3)]

        with ExitStack() as stack:

            async def meanwhile_busy():
                yield png()
                stack.enter_context(busy(app))

            during = await client.post("/predict", content=meanwhile_busy())
        photos = [await client.post("/predict", content=png()) for _ in range(2)]

    assert [(503, "/problems/overloaded")] * 4 == [problem(x) for x in (*before, during)]
    assert [200, 429] == [answer.status_code for answer in photos]


async def test_loading_model_takes_no_token(model_dir, session, client_gate):
    """A client that asks until the model is ready has its burst then."""
    session.before_run = client_gate.wait  # warming up cannot end
    settings = Settings(models=("colours",), model_dir=model_dir, rate_limit=0.001, rate_burst=1)
    app = create_app(settings, session.open)
    async with app.router.lifespan_context(app), client_of(app) as client:
        early = [await client.post("/predict", content=png()) for _ in range(3)]
        client_gate.set()
        await app.state.loading
        photos = [await client.post("/predict", content=png()) for _ in range(2)]

    assert [(503, "/problems/not-ready")] * 3 == [problem(answer) for answer in early]
    assert [200, 429] == [answer.status_code for answer in photos]


async def test_full_memory_takes_no_token(model_dir, session):
    """An upload that does not fit beside the others costs no token, though it was being read."""
    async with (
        started_app(
            model_dir, session, rate_limit=0.001, rate_burst=2, max_body_bytes=5000,
            max_upload_bytes=5000,
        ) as app,
        client_of(app) as client,
    ):  # fmt: skip
        held, gate = asyncio.Event(), asyncio.Event()

        async def slow():
            yield b"\0" * 3000
            held.set()
            await gate.wait()

        async def undeclared():
            yield b"\0" * 3000

        other = asyncio.create_task(client.post("/predict", content=slow()))
        await held.wait()
        full = [await client.post("/predict", content=undeclared()) for _ in range(3)]
        gate.set()
        await other
        photos = [await client.post("/predict", content=png()) for _ in range(2)]

    assert [(503, "/problems/uploads-full")] * 3 == [problem(answer) for answer in full]
    assert [200, 429] == [answer.status_code for answer in photos]


async def test_client_without_tokens_uploads_nothing(model_dir, session):
    """429 comes before the body is read; an answered request costs its token, whatever it is."""
    body = Body()
    async with (
        started_app(model_dir, session, rate_limit=0.001, rate_burst=1) as app,
        client_of(app) as client,
    ):
        wrong = await client.post("/predict", content=b"no image")
        limited = await client.post("/predict", content=body)

    assert [(415, "/problems/unsupported-format"), (429, "/problems/rate-limited")] == [
        problem(wrong),
        problem(limited),
    ]
    assert not body.was_read


async def test_rate_is_for_each_key(model_dir, session, tmp_path):
    """One key's burst does not use up another's, though both come from one address."""
    made = [make_key(name) for name in ("alice", "bob")]
    path = tmp_path / "keys"
    path.write_text("\n".join(line for _, line in made))
    async with (
        started_app(model_dir, session, api_keys_file=path, rate_limit=0.001, rate_burst=2) as app,
        client_of(app) as client,
    ):
        answers = [
            await client.post("/predict", content=png(), headers={"authorization": f"Bearer {key}"})
            for key, _ in [made[0]] * 3 + [made[1]]
        ]
        elsewhere = await client.get("/metrics", headers={"authorization": f"Bearer {made[0][0]}"})

    assert [200, 200, 429, 200] == [answer.status_code for answer in answers]
    assert 200 == elsewhere.status_code
    problem = answers[2].json()
    assert ("/problems/rate-limited", True) == (problem["type"], problem["retryable"])
    assert 990 < int(answers[2].headers["retry-after"]) <= 1000


async def test_rate_counts_photos_alone(model_dir, session):
    """The page, its files, the probes and refused requests take no tokens."""
    async with (
        started_app(model_dir, session, rate_limit=0.001, rate_burst=1) as app,
        client_of(app) as client,
    ):
        free = [await client.get(path) for path in ("/", "/models", "/healthz") * 5]
        photos = [await client.post("/predict", content=png()) for _ in range(3)]

    assert {200} == {answer.status_code for answer in free}
    assert [200, 429, 429] == [answer.status_code for answer in photos]


async def test_body_limit_counts_declared_and_undeclared_bytes(model_dir, session):
    """The limit holds for Content-Length and for what really comes; at the limit it passes."""

    async def chunks(size):
        for _ in range(size // 1000):
            yield b"\0" * 1000

    padded = png() + b"\0" * (5000 - len(png()))
    async with (
        started_app(model_dir, session, max_body_bytes=5000) as app,
        client_of(app) as client,
    ):
        at_limit = await client.post("/predict", content=padded)
        declared = await client.post("/predict", content=padded + b"\0")
        counted = await client.post("/predict", content=chunks(6000))

    assert 200 == at_limit.status_code
    assert [(413, "/problems/body-too-large")] * 2 == [problem(declared), problem(counted)]
    assert {"bytes": 5000} == declared.json()["limit"]
    assert "close" == declared.headers["connection"]


async def test_uploads_in_memory_are_bounded_and_released(model_dir, session):
    """All uploads together keep below the limit, and what was held is given back."""
    async with (
        started_app(model_dir, session, max_upload_bytes=4000, max_body_bytes=4000) as app,
        client_of(app) as client,
    ):
        too_many = await asyncio.gather(
            *[client.post("/predict", content=b"\0" * 3000) for _ in range(2)]
        )
        for _ in range(5):
            fine = await client.post("/predict", content=png())
            broken = await client.post("/predict", content=b"\0" * 3000)
        metrics = (await client.get("/metrics")).text

    [refused] = [answer for answer in too_many if answer.status_code == 503]
    assert (503, "/problems/uploads-full") == problem(refused)
    assert "1" == refused.headers["retry-after"]
    assert [200, 415] == [fine.status_code, broken.status_code]
    assert "vgg_upload_bytes 0.0" in metrics


class Uploads:
    """Bodies that arrive in a turned loop, at an Admission that admits all of them."""

    def __init__(self, **limits):
        queue = SimpleNamespace(admit=lambda _: None)
        model = SimpleNamespace(
            manifest=SimpleNamespace(name="m"), ready=lambda: SimpleNamespace(queue=queue)
        )
        self.held = 0
        self.admission = Admission(
            SimpleNamespace(choose=lambda _: model, default="m"),  # type: ignore[arg-type] # a fake
            SimpleNamespace(uploading=self._count),  # type: ignore[arg-type] # a fake
            None,
            UploadLimits(
                **{"body_bytes": 10**9, "all_bytes": 10**9, "silence": 10, "min_rate": 4000}
                | {"answer_seconds": 10}
                | limits
            ),
        )

    def _count(self, size):
        self.held += size

    async def _read(self, _scope, receive, _send):
        while (await receive()).get("more_body"):
            pass
        assert "disconnect" == await receive()  # a wait without an end, which no clock cuts off

    async def send(self, parts):
        """Send `(seconds, bytes)` after each other; return the error, or None, and the seconds."""
        parts, loop = iter(parts), asyncio.get_running_loop()
        began = loop.time()
        ended = False

        async def receive():
            nonlocal ended
            if ended:
                await asyncio.sleep(100)
                return "disconnect"
            seconds, size = next(parts, (0, 0))
            ended = not size
            await asyncio.sleep(seconds)
            return {"type": "http.request", "body": bytes(size), "more_body": bool(size)}

        state = {"photo": True, "began": time.monotonic()}
        scope = {
            "type": "http",
            "path": "/predict",
            "query_string": b"",
            "headers": [],
            "state": state,
        }
        try:
            await self.admission.before(self._read)(scope, receive, None)  # type: ignore[arg-type] # nothing is sent
        except VggServeError as exc:
            return type(exc), loop.time() - began
        assert 10 == state["deadline"] - state["arrived"]
        return None, loop.time() - began - 100


@pytest.mark.parametrize(
    ("parts", "seconds"),
    [
        ([(0.1, 10_000)] * 350, 35),  # 3.5 MB at 100 kB/s
        ([(1, 100_000)] * 200, 200),  # 20 MB
        ([(1, 4000)] * 250, 250),  # at the least rate
        ([(9.9, 100_000)] * 10, 99),  # with long pauses
        ([(0.01, 40)] * 1000, 10),  # in small pieces
        ([(0, 10_000_000), (9.9, 1)], 9.9),
    ],
)
def test_steady_upload_is_read_however_long_it_takes(turned, parts, seconds):
    """The clock of an upload measures silence and a least rate; the deadline begins at its end."""
    error, took = turned(Uploads().send(parts))

    assert (None, pytest.approx(seconds)) == (error, took)


@pytest.mark.parametrize(
    ("parts", "seconds"),
    [
        ([(1e9, 1)], 10),  # silence from the beginning
        ([(0, 50_000), (1e9, 1)], 10),  # silence in the middle
        ([(1, 1)] * 10**5, 10),  # one byte now and then
        ([(9, 1)] * 100, 10),
        ([(1, 3960)] * 10**5, 901),  # just below the least rate
        ([(1, 2000)] * 10**5, 20),
        ([(0, 10_000_000), *[(1, 1)] * 10**5], 10),  # a fast beginning buys no slow end
        ([(0.1, 10_000)] * 100 + [(5, 1)] * 100, 20),
    ],
)
def test_slow_upload_is_cut_off(turned, parts, seconds):
    """Silence, drops and a rate below the least one end an upload, and its memory comes back."""
    uploads = Uploads()
    error, took = turned(uploads.send(parts))

    assert (SlowUploadError, pytest.approx(seconds, abs=1)) == (error, took)
    assert 0 == uploads.held


def test_slow_uploads_give_way_when_memory_is_full(turned):
    """The oldest of them ends, not the new one; before they are slow, the new one is refused."""

    async def main():
        uploads = Uploads(all_bytes=10_000_000)
        slow = [asyncio.create_task(uploads.send([(0, 4_000_000), *[(1, 5000)] * 999]))]
        await asyncio.sleep(1)
        slow.append(asyncio.create_task(uploads.send([(0, 4_000_000), *[(1, 5000)] * 999])))
        early = await uploads.send([(1, 5_000_000)])
        await asyncio.sleep(8.5)
        late = await uploads.send([(0, 5_000_000)])
        first = await slow[0]
        held, running = uploads.held, not slow[1].done()
        slow[1].cancel()
        with suppress(asyncio.CancelledError):
            await slow[1]
        return early[0], late[0], first[0], running, held > 4_000_000, uploads.held

    assert (UploadsFullError, None, UploadsFullError, True, True, 0) == turned(main())
