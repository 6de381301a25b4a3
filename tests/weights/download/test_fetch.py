"""Files come whole and verified, or not at all, from servers that misbehave in each known way."""

import contextlib
import functools
import hashlib
import inspect
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.setup_errors import DownloadError
from app.weights.download import fetch as download
from app.weights.download.fetch import Patience, Source
from app.weights.download.http_get import FURTHER
from app.weights.download.hub import HUB
from tests.conftest import REPOSITORY
from tests.outgoing.field import leave_alone
from tests.weights.download.file_server import (
    CONTENT,
    DIGEST,
    DRIPS,
    HALF,
    chunked,
    reply,
    running,
    serve,
)

SHA256 = DIGEST.removeprefix("sha256:")
OTHER_DIGEST = "sha256:" + "0" * 64


def ignore(_count, _total):
    """Take progress and do nothing."""


fetch = functools.partial(download.fetch, progress=ignore)
verify = functools.partial(download.verify, progress=ignore)
fetch_soon = functools.partial(fetch, timeout=0.5, patience=2.0, backoff=0.01)
"""Fetch with far shorter times than by default, so that what has to fail fails soon."""


@pytest.fixture
def server():
    """Start the server of most tests."""
    with running() as server:
        yield server


@pytest.fixture
def hub():
    """Start another one, which redirects to the first."""
    with running() as server:
        yield server


@pytest.fixture
def source(server):
    """Name CONTENT on the server, with all that is known of it."""
    return Source(server.url, DIGEST, len(CONTENT))


@pytest.fixture
def path(tmp_path):
    """Name a file that is not there yet."""
    return tmp_path / "vgg.bin"


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 400 kB: more than CONTENT, less than CONTENT twice."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    if not umount or not mount or subprocess.run(command, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run([umount, str(folder)], check=True)


@pytest.fixture(autouse=True)
def _no_proxy_of_ours(monkeypatch):
    leave_alone(monkeypatch)


def part_of(path):
    """Name what has come so far."""
    return Path(f"{path}.part")


def fails(source, path, *words, **options):
    """Fetch, see it fail with these words and leave no file; return the sentence."""
    with pytest.raises(DownloadError) as caught:
        fetch_soon(source, path, **options)
    for word in words:
        assert word in str(caught.value)
    assert not path.exists()
    return str(caught.value)


def test_fetch_brings_the_file_and_its_digest(server, source, tmp_path):
    """The file arrives in a folder that was not there, with nothing to be seen beside it."""
    path = tmp_path / "new" / "folder" / "vgg.bin"

    assert fetch(source, path) == SHA256
    assert path.read_bytes() == CONTENT
    assert {"vgg.bin", ".locks"} == {file.name for file in path.parent.iterdir()}
    assert [None] == server.ranges()


def test_progress_ends_with_the_total(source, path):
    """Progress is reported as bytes come, never decreases, and ends with the total."""
    calls = []

    fetch(source, path, progress=lambda *call: calls.append(call))

    assert calls == sorted(calls)
    assert calls[-1] == (len(CONTENT), len(CONTENT))


def test_existing_file_is_left_alone(server, source, path):
    """A file that is there is neither fetched nor looked at, and needs no lock."""
    path.write_bytes(b"mine")

    assert fetch(source, path) is None
    assert path.read_bytes() == b"mine"
    assert [] == server.requests
    assert [path] == list(path.parent.iterdir())


def test_sha384_is_checked(source, path):
    """A digest may be a SHA-384; the SHA-256 is returned all the same."""
    digest = "sha384:" + hashlib.sha384(CONTENT).hexdigest()

    assert fetch(Source(source.url, digest, None), path) == SHA256


def test_wrong_sha384_is_refused(source, path):
    """The SHA-256 is not what counts then."""
    fails(Source(source.url, "sha384:" + "0" * 96, None), path, "has come as sha384:")


def test_cut_body_is_resumed(server, source, path):
    """After a cut, only the rest is asked for."""
    server.script = [serve(cut=HALF)]

    fetch_soon(source, path)

    assert path.read_bytes() == CONTENT
    assert [None, f"bytes={HALF}-"] == server.ranges()
    assert server.sent == len(CONTENT)


def test_cut_body_starts_again_without_ranges(server, source, path):
    """A server that ignores Range sends the whole file again, and it is not appended."""
    server.script = [serve(cut=HALF), serve(resumes=False)]

    fetch_soon(source, path)

    assert path.read_bytes() == CONTENT


def test_server_that_never_gets_further_is_given_up(server, source, path):
    """Cuts at the same place again and again end when the patience does."""
    server.script = [serve(cut=HALF, resumes=False)] * 1000

    fails(source, path, f"cut at byte {HALF}", patience=0.3, backoff=0.05)

    assert 2 <= len(server.requests) < 20


def test_file_that_changes_between_tries_starts_again(server, source, path):
    """Two versions of a file that were joined are found by their digest, and fetched once more."""
    server.script = [serve(bytes(len(CONTENT)), cut=HALF)]

    assert fetch_soon(source, path) == SHA256
    assert path.read_bytes() == CONTENT
    assert [None, f"bytes={HALF}-", None] == server.ranges()


def test_joined_file_is_fetched_once_more_only(server, source, path):
    """A file that is wrong, and is cut each time, does not come for ever."""
    wrong = bytes(len(CONTENT))
    server.script = [serve(wrong, cut=HALF), serve(wrong)] * 2

    fails(source, path, DIGEST, "was deleted")

    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "answer",
    [
        reply(416),
        reply(206, {"Content-Range": f"bytes 0-9/{len(CONTENT)}"}, CONTENT[:10]),
    ],
    ids=["none", "another"],
)
def test_wrong_range_starts_again(server, source, path, answer):
    """A range that cannot be had, or another one than was asked for, is not appended."""
    server.script = [serve(cut=HALF), answer]

    fetch_soon(source, path)

    assert path.read_bytes() == CONTENT
    assert [None, f"bytes={HALF}-", None] == server.ranges()


def test_part_of_an_earlier_process_is_resumed(server, source, path):
    """What an earlier process has fetched is not fetched again."""
    part_of(path).write_bytes(CONTENT[:HALF])

    assert fetch(source, path) == SHA256
    assert path.read_bytes() == CONTENT
    assert [f"bytes={HALF}-"] == server.ranges()


def test_complete_part_needs_no_server(server, source, path):
    """A process that was killed before the last step left all that is needed."""
    part_of(path).write_bytes(CONTENT)

    assert fetch(source, path) == SHA256
    assert path.read_bytes() == CONTENT
    assert [] == server.requests


@pytest.mark.parametrize("left", [HALF, len(CONTENT), 2 * len(CONTENT)])
def test_part_of_something_else_is_replaced(source, path, left):
    """A leftover of another file costs one more fetch and no error."""
    part_of(path).write_bytes(b"x" * left)

    assert fetch_soon(source, path) == SHA256
    assert path.read_bytes() == CONTENT


def test_wrong_byte_is_refused_and_forgotten(server, source, path):
    """Never a wrong model: both digests are named, the bytes deleted, the next fetch works."""
    wrong = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    server.script = [serve(wrong)]

    fails(source, path, DIGEST, "sha256:" + hashlib.sha256(wrong).hexdigest())

    assert not part_of(path).exists()
    assert fetch(source, path) == SHA256


def test_body_longer_than_pinned_is_cut_off(server, source, path):
    """A body without an announced length cannot fill the disk."""
    server.script = [chunked(CONTENT * 20)]

    fails(source, path, f"more than its {len(CONTENT)} bytes")

    assert not part_of(path).exists()
    assert len(server.requests) == 1


def test_body_shorter_than_pinned_is_resumed(server, source, path):
    """A body without an announced length that ends early is continued."""
    server.script = [chunked(CONTENT[:HALF])]

    assert fetch_soon(source, path) == SHA256
    assert server.ranges() == [None, f"bytes={HALF}-"]


def test_other_length_than_pinned_is_refused_before_a_byte(server, source, path):
    """A log-in page of a network is not taken for weights."""
    server.script = [reply(200, body=b"<html>please log in</html>")]

    fails(source, path, f"26 or {len(CONTENT)}")

    assert not part_of(path).exists()


def test_unknown_length_is_refused(server, path):
    """Without any known size there is no bound on what would be written."""
    server.script = [chunked(CONTENT)]

    fails(Source(server.url, DIGEST, None), path, "unknown", "size")

    assert not part_of(path).exists()


def test_final_answers_are_not_retried(server, source, path):
    """What will not change fails at once."""
    server.script = [reply(404)]

    fails(source, path, "404", server.url)

    assert len(server.requests) == 1


def test_passing_failures_are_retried(server, source, path):
    """What may pass is tried again."""
    server.script = [reply(503)] * 2

    fetch_soon(source, path)

    assert len(server.requests) == 3


def test_retry_after_is_honoured(server, source, path):
    """A server that asks for a second gets it, even if no more than half a one was allowed."""
    server.script = [reply(503, {"Retry-After": "1"})]
    began = time.monotonic()

    fetch_soon(source, path)

    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("value", ["3600", "99999999999999999999", "soon"])
def test_retry_after_is_bounded(server, source, path, value):
    """A server cannot make a start hang."""
    server.script = [reply(429, {"Retry-After": value})] * 1000
    began = time.monotonic()

    fails(source, path, "429", timeout=0.2, backoff=0.04)

    assert time.monotonic() - began < 1


def test_hub_may_ask_to_be_left_alone(server, source, path, caplog):
    """The hub names the seconds in a header of its own; the log says for how long nothing happens."""
    server.script = [reply(429, {"RateLimit": '"resolvers";r=0;t=1'})]
    began = time.monotonic()

    fetch_soon(source, path)

    assert time.monotonic() - began >= 1
    assert "429 Too Many Requests; trying again in 1 s" in caplog.text


def of_hub(server):
    """Name a file of the hub, and the server as its mirror."""
    return Source(f"{HUB}/timm/vgg16", DIGEST, None), {"endpoint": f"http://{server.address}"}


def test_token_is_sent_and_advised(server, path, monkeypatch):
    """A hub that wants a token gets it, and without one it is advised; no mirror is."""
    source, options = of_hub(server)
    server.script = [reply(401)]

    sentence = fails(source, path, "401 Unauthorized; set HF_TOKEN", **options)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch_soon(source, path, **options)

    assert "mirror" not in sentence
    sent = [request.headers["Authorization"] for request in server.requests]
    assert [None, "Bearer hf_secret"] == sent


def test_token_is_not_sent_behind_a_redirect(server, hub, path, monkeypatch):
    """The CDN does not see it."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    source, options = of_hub(hub)
    hub.script = [reply(302, {"Location": server.url})]

    fetch_soon(source, path, **options)

    assert "Bearer hf_secret" == hub.requests[0].headers["Authorization"]
    assert None is server.requests[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (403, "set HF_TOKEN to a token that may read it"),
        (404, "correct VGG_HF_ENDPOINT or HF_ENDPOINT"),
        (429, "set HF_TOKEN, with which the hub answers more often"),
        (503, "run it again later"),
    ],
)
def test_advice_fits_the_answer_of_the_hub(server, path, status, advice):
    """Another mirror is for a hub that cannot be reached."""
    source, options = of_hub(server)
    server.script = [reply(status)] * 100

    assert "mirror" not in fails(source, path, str(status), advice, timeout=0.2, **options)


def test_advice_for_another_host(server, source, path):
    """A token and a mirror of the hub are of no use there."""
    server.script = [reply(401), reply(404)]

    sentences = [fails(source, path), fails(source, path)]

    assert all("correct the url in" in sentence for sentence in sentences)
    assert not any("HF_" in sentence for sentence in sentences)


def test_a_proxy_may_be_who_refuses(server, source, path, monkeypatch):
    """Without TLS nobody can tell; a log-in is not the first thing that is advised."""
    server.script = [reply(403)]
    monkeypatch.setenv("HTTP_PROXY", f"http://{server.address}")
    weights = Source(url="http://weights.invalid/vgg.bin", digest=source.digest, size=source.size)

    sentence = fails(weights, path, "have weights.invalid allowed in the proxy of HTTP_PROXY")

    assert "the url in the manifest" not in sentence


def test_signature_that_has_expired_is_renewed(server, hub, path):
    """The address behind a redirect is good for a while; the hub gives a new one."""
    source, options = of_hub(hub)
    hub.script = [reply(302, {"Location": server.url})] * 2
    server.script = [reply(403)]

    assert fetch_soon(source, path, **options) == SHA256
    assert 2 == len(hub.requests)


def test_last_try_that_is_cut_short_does_not_hide_the_cause(server, source, path):
    """The sentence says what the server answered, and not that 0.1 s were too short for it."""
    server.script = [reply(503), *[DRIPS["head"]] * 100]

    assert "503" in fails(source, path, timeout=0.3)


def test_the_hubs_own_variable_keeps_offline(server, source, path, monkeypatch):
    """HF_HUB_OFFLINE is enough, and is named."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    fails(source, path, "HF_HUB_OFFLINE keeps this process offline; unset HF_HUB_OFFLINE")

    assert [] == server.requests


def test_wrong_variable_is_the_cause(source, path, monkeypatch):
    """It is named before anything is sent."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")

    fails(source, path, "SSL_CERT_FILE: /nowhere.pem: No such file")


def test_published_digest_is_on_the_redirect(server, hub, path):
    """Without a pinned digest, the one that the Hub publishes on its redirect is checked."""
    headers = {
        "Location": server.url,
        "X-Linked-ETag": f'"{DIGEST.removeprefix("sha256:")}"',
        "X-Linked-Size": len(CONTENT),
    }
    hub.script = [reply(302, headers)]
    server.script = [chunked(CONTENT)]

    assert fetch(Source(hub.url, None, None), path) == SHA256
    assert path.read_bytes() == CONTENT


def test_published_digest_is_checked(server, hub, path):
    """A CDN that sends something else than the Hub published is refused."""
    headers = {"Location": server.url, "X-Linked-ETag": f'"{OTHER_DIGEST[7:]}"'}
    hub.script = [reply(302, headers)]

    fails(Source(hub.url, None, None), path, DIGEST, OTHER_DIGEST)

    assert not part_of(path).exists()


@pytest.mark.parametrize("etag", ["", '"abc"'])
def test_no_digest_anywhere_is_refused_before_a_byte(server, path, etag):
    """A file that nobody vouches for is not fetched, and a leftover is not thrown away."""
    server.script = [serve(extra={"X-Linked-ETag": etag})]
    part_of(path).write_bytes(b"left")

    fails(Source(server.url, None, len(CONTENT)), path, "no digest", "sha256")

    assert part_of(path).read_bytes() == b"left"


@pytest.mark.parametrize("slash", ["", "/"])
def test_mirror_replaces_the_hub(server, path, slash):
    """HF_ENDPOINT replaces the Hub, with or without a path of its own."""
    source = Source(f"{HUB}/timm/vgg16/resolve/main/model.safetensors", DIGEST, None)

    fetch(source, path, endpoint=f"http://{server.address}/hub{slash}")

    assert server.requests[0].path == "/hub/timm/vgg16/resolve/main/model.safetensors"


def test_mirror_is_for_the_hub_only(source, path):
    """Other hosts are asked themselves."""
    assert fetch(source, path, endpoint="http://127.0.0.1:1") == SHA256


@pytest.mark.parametrize("url", ["http://weights.invalid/", "http://{silent}/"])
def test_unreachable_hub_fails_in_time(path, url):
    """Without a way to the hub, it fails within the timeout and says the three ways out."""
    source = Source(f"{HUB}/timm/vgg16", DIGEST, None)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = url.format(silent=f"127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()

        fails(
            source,
            path,
            "another mirror",
            str(path),
            "VGG_STAND_IN=vgg16-mini",
            timeout=0.3,
            endpoint=url,
        )

        assert time.monotonic() - began < 1.5
    assert not part_of(path).exists()


def test_what_an_earlier_process_left_earns_no_patience(path):
    """A machine that has lost its network fails as soon as one that never had any."""
    part_of(path).write_bytes(CONTENT[:HALF])
    began = time.monotonic()

    fails(Source("http://weights.invalid/", DIGEST, None), path, timeout=0.3, patience=60)

    assert time.monotonic() - began < 1.5
    assert part_of(path).read_bytes() == CONTENT[:HALF]


@pytest.mark.parametrize("answer", DRIPS.values(), ids=DRIPS)
def test_server_that_drips_is_given_up(server, source, path, answer):
    """A byte now and then keeps no fetch alive."""
    server.script = [answer] * 1000
    began = time.monotonic()

    fails(source, path, timeout=0.2, patience=60)

    assert time.monotonic() - began < 1.5


def test_body_that_starts_to_drip_is_given_up(server, source, path):
    """Nor does it if much has come before; that is kept."""

    def slow_down(handler):
        serve(cut=HALF, hang_up=False)(handler)
        while not handler.server.closing.wait(0.02):
            handler.body(b"a")

    server.script = [slow_down, *[DRIPS["chunks"]] * 1000]
    began = time.monotonic()

    fails(source, path, timeout=0.2, patience=0.5)

    assert time.monotonic() - began < 2


def test_default_timeout_leaves_time_to_start():
    """The service fails within 10 s of its start on a machine without a network."""
    assert inspect.signature(fetch).parameters["timeout"].default == 7.0


def test_stalled_body_is_resumed(server, source, path):
    """A server that falls silent in the middle is left for another try."""
    server.script = [serve(pause=True)]

    fetch_soon(source, path, timeout=0.2)

    assert path.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={HALF}-"]


def test_offline_does_not_connect(server, source, path):
    """A process that has to stay offline fails at once and touches nothing."""
    fails(source, path, "unset VGG_OFFLINE", str(path), "VGG_STAND_IN=vgg16-mini", offline=True)

    assert [] == server.requests
    assert [] == list(path.parent.iterdir())


def test_password_is_not_shown(server, path):
    """User and password of an address stay out of the sentence."""
    server.script = [reply(404)]

    sentence = fails(Source(f"http://me:secret@{server.address}/", DIGEST, None), path)

    assert "secret" not in sentence


def test_full_disk_is_seen_before_the_first_byte(source, small_disk):
    """A disk that is too small is named with what is needed and what is free."""
    (small_disk / "other").write_bytes(bytes(250_000))

    fails(source, small_disk / "vgg.bin", "needs 0.3 MB", "0.2 MB are free", str(small_disk))

    assert not part_of(small_disk / "vgg.bin").exists()


def test_disk_that_fills_up_keeps_what_has_come(server, source, small_disk):
    """Running out of space is one sentence, and the next download resumes there."""
    path, other = small_disk / "vgg.bin", small_disk / "other"

    def fill(_count, _total):
        with contextlib.suppress(OSError), other.open("ab", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    fails(source, path, "No space left", "make room", progress=fill)
    kept = part_of(path).stat().st_size
    other.unlink()

    assert 0 < kept < len(CONTENT)
    assert fetch(source, path) == SHA256
    assert server.ranges() == [None, f"bytes={kept}-"]


def test_read_only_folder_is_one_sentence(source, small_disk):
    """A folder that cannot be written to is named."""
    command = [shutil.which("mount") or "mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(command, check=True)

    fails(source, small_disk / "vgg.bin", "Read-only", str(small_disk))


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_forbidden_folder_is_one_sentence(source, tmp_path):
    """A folder of someone else is named."""
    tmp_path.chmod(0o500)

    fails(source, tmp_path / "vgg.bin", "Permission denied", str(tmp_path))


def test_folder_that_is_a_file_is_one_sentence(source, tmp_path):
    """A file in the place of the folder is a DownloadError."""
    (tmp_path / "models").write_bytes(b"")

    fails(source, tmp_path / "models" / "vgg.bin", "models")


def test_interrupt_keeps_the_part(server, source, path):
    """Ctrl-C loses nothing: the next download resumes there."""

    def interrupt(_count, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(source, path, progress=interrupt)
    kept = part_of(path).stat().st_size

    assert 0 < kept <= len(CONTENT)
    assert fetch(source, path) == SHA256
    assert server.sent >= len(CONTENT)
    assert server.ranges() in ([None, f"bytes={kept}-"], [None])


def test_two_processes_fetch_once(server, source, path):
    """The second waits and finds the file."""
    server.script = [serve(pause=True)]
    code = (
        "import sys; from pathlib import Path; from app.weights.download.fetch import Source, fetch;"
        "url, digest, path = sys.argv[1:]; fetch(Source(url, digest, None), Path(path), progress=print)"
    )
    command = [sys.executable, "-c", code, server.url, DIGEST, str(path)]
    with subprocess.Popen(command, cwd=REPOSITORY) as other:
        assert server.half_sent.wait(20)
        threading.Timer(0.1, server.go_on.set).start()
        assert fetch(source, path) is None

    assert other.returncode == 0
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_threads_fetch_once(server, source, path):
    """Threads of one process wait for each other too."""
    threads = [threading.Thread(target=fetch, args=(source, path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_verify_accepts_the_file(source, path):
    """A good file passes, with and without a known size and digest."""
    path.write_bytes(CONTENT)

    assert SHA256 == verify(path, source) == verify(path, Source(source.url, None, None))


def test_verify_finds_a_flipped_bit(source, path):
    """One bit is enough, and the sentence says what to do."""
    path.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])

    with pytest.raises(DownloadError, match=f"expected {DIGEST}; delete it"):
        verify(path, source)


def test_verify_finds_a_wrong_size(source, path):
    """A cut file is found without reading it."""
    path.write_bytes(CONTENT[:-1])

    with pytest.raises(DownloadError, match=f"expected {len(CONTENT)}; delete it"):
        verify(path, source)


def test_verify_needs_a_file(source, path):
    """A missing file is a DownloadError."""
    with pytest.raises(DownloadError, match=r"vgg\.bin: No such file"):
        verify(path, source)


class Clock:
    """Stands still until it is turned."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """Make a clock."""
    return Clock()


@pytest.fixture
def patience(clock):
    """Be short while there is nothing, and long once there is something."""
    return Patience(timeout=5, patience=300, backoff=1, clock=clock)


def pauses(patience, clock, gained, asked=0.0):
    """List the pauses before the tries that follow, each of them waited for, ten at most."""
    found: list[float] = []
    while len(found) < 10 and (pause := patience.pause(gained, asked)) is not None:
        clock.now += pause
        found.append(pause)
    return found


def test_nothing_is_given_up_after_the_timeout(patience, clock):
    """Pauses double, and one that would end after the timeout is not begun."""
    assert [1, 2] == pauses(patience, clock, gained=0)
    assert 2 == patience.left()


def test_a_few_bytes_are_nothing(patience, clock):
    """What a drip brings in a timeout does not earn patience."""
    assert [1, 2] == pauses(patience, clock, gained=FURTHER - 1)


def test_progress_earns_patience(patience, clock):
    """Pauses start again, too."""
    assert [1, 2] == pauses(patience, clock, gained=0)

    assert 1 == patience.pause(FURTHER, 0)
    assert 5 == patience.left()


def test_pauses_have_an_upper_limit(clock):
    """The longest is 64 times the first."""
    patience = Patience(timeout=5, patience=3000, backoff=1, clock=clock)

    assert [1, 2, 4, 8, 16, 32, 64, 64, 64, 64] == pauses(patience, clock, gained=FURTHER)


def test_getting_as_far_again_earns_nothing(clock):
    """A server that always fails at the same byte is given up."""
    patience = Patience(timeout=5, patience=10, backoff=1, clock=clock)

    assert [1, 2, 4] == pauses(patience, clock, gained=FURTHER)


def test_server_may_name_a_time_to_come_back(patience, clock):
    """It gets more than the timeout, and no more than the patience."""
    assert 20 == patience.pause(0, 20)
    clock.now += 20
    assert 5 == patience.left()
    assert patience.pause(0, 3600) is None
