"""API keys: in a file, and as requests present them to a service in this process."""

import pytest

from app.setup_errors import KeysError
from app.web.keys import MOST_BYTES, Keys, make_key
from tests.conftest import client_of, png, started_app


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys"


def test_key_lets_its_holder_in_and_no_other(file):
    """Each of several keys belongs to its holder; no other key is valid."""
    made = {name: make_key(name) for name in ("alice", "bob", "lab-2.b_c")}
    file.write_text("# the class of 2026\n\n" + "\n".join(line for _, line in made.values()) + "\n")
    keys = Keys(file)

    assert 3 == len(keys)
    for name, (key, _) in made.items():
        assert name == keys.holder(key.encode())
    for wrong in (b"", b"vgg_", made["bob"][0].encode()[:-1], made["bob"][1].encode(), b"\xff"):
        assert keys.holder(wrong) is None


def test_key_is_not_in_its_line():
    """The line does not reveal the key, and no two keys are equal."""
    key, line = make_key("alice")
    again, _ = make_key("alice")

    assert key not in line
    assert key != again
    assert len(key) > 40


def test_comment_may_follow_a_line(file):
    """A # starts a comment anywhere."""
    key, line = make_key("alice")
    file.write_text(f"  {line}  # until June\n")

    assert "alice" == Keys(file).holder(key.encode())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_file_with_a_byte_order_mark_is_read(file, encoding):
    """PowerShell writes UTF-16 with `>>`; Notepad, UTF-8 with a mark."""
    key, line = make_key("alice")
    file.write_bytes(f"{line}\r\n".encode(encoding))

    assert "alice" == Keys(file).holder(key.encode())


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a\nb", "#a"])
def test_name_that_would_break_the_file_is_refused(name):
    """A name has only characters that every tool displays in the same way."""
    with pytest.raises(KeysError):
        make_key(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice", "line 1"),
        ("\nalice sha256:00", "line 2"),
        ("vgg_the-key-itself", "line 1"),
        (f"a sha256:{'0' * 64}\na sha256:{'1' * 64}", "line 2"),
        (b"\xff\xfe\x00", "cannot be read: begins as UTF-16 does, but is damaged"),
        (b"al\xefce sha256:", "cannot be read: line 1 has the byte 0xef, which is not UTF-8"),
    ],
)
def test_mistake_in_the_file_is_reported_with_its_line(file, text, said):
    """The error names the number of a wrong line and does not repeat its text."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KeysError, match=said) as refused:
        Keys(file)

    assert "the-key-itself" not in str(refused.value)


def test_missing_file_is_reported(file):
    """A misspelled path stops the start instead of admitting everyone."""
    with pytest.raises(KeysError, match="cannot be read"):
        Keys(file)


def test_file_that_is_too_large_is_refused(file):
    """A wrong path, to a disk image for example, does not fill the memory."""
    with file.open("wb") as wrong:
        wrong.truncate(MOST_BYTES + 1)

    with pytest.raises(KeysError, match="larger than"):
        Keys(file)


def test_mistake_while_reading_again_keeps_the_old_keys(file):
    """A mistake in the file keeps the previous keys; the corrected file replaces them."""
    key, line = make_key("alice")
    file.write_text(line)
    keys = Keys(file)
    file.write_text("broken")
    with pytest.raises(KeysError):
        keys.read()
    before = keys.holder(key.encode())
    file.write_text("")
    keys.read()

    assert ("alice", None) == (before, keys.holder(key.encode()))


def test_keys_go_from_process_to_process_as_text(file):
    """The text of the keys that one process has read gives another process the same keys."""
    key, line = make_key("alice")
    file.write_text(f"# staff\n{line}  # until June\n")
    keys = Keys()
    before = len(keys)
    keys.parse(Keys(file).text)

    assert 0 == before
    assert "alice" == keys.holder(key.encode())


@pytest.fixture
def key():
    return make_key("alice")


@pytest.fixture
def keys_file(key, tmp_path):
    path = tmp_path / "keys"
    path.write_text(key[1])
    return path


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.mark.anyio
async def test_only_a_key_lets_in(model_dir, session, key, keys_file):
    """POST /predict needs the key; no key, another, another scheme or two keys get 401."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        wrong = [
            {},
            bearer("vgg_wrong"),
            bearer(""),
            bearer(key[1]),
            {"authorization": f"Basic {key[0]}"},
            {"authorization": key[0]},
            [("authorization", f"Bearer {key[0]}"), ("authorization", "Bearer x")],
        ]
        refused = [await client.post("/predict", content=png(), headers=h) for h in wrong]
        passed = [
            await client.post("/predict", content=png(), headers=h)
            for h in (bearer(key[0]), {"authorization": f"bearer {key[0]}"})
        ]

    for answer in refused:
        assert (401, "/problems/unauthorized") == (answer.status_code, answer.json()["type"])
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "Authorization: Bearer" in answer.json()["detail"]
    assert [200, 200] == [answer.status_code for answer in passed]


@pytest.mark.parametrize(
    ("path", "open_to_all"),
    [
        ("/", True), ("/static/style.css", True), ("/docs", True), ("/openapi.json", True),
        ("/docs/assets/swagger-ui.css", True), ("/healthz", True), ("/readyz", True),
        ("/models", True), ("/models/colours", True),
        ("/metrics", False), ("/nothing", False), ("/predict", False), ("/modelsx", False),
    ],
)  # fmt: skip
@pytest.mark.anyio
async def test_what_is_open_is_listed(model_dir, session, keys_file, path, open_to_all):
    """Probes, the page, the description and /models need no key; every other path needs one."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        answer = await client.get(path)

    assert (200 if open_to_all else 401) == answer.status_code


@pytest.mark.anyio
async def test_holder_is_in_the_log_and_the_key_is_not(model_dir, session, key, keys_file, caplog):
    """The log names the holder of the key and never has the key."""
    async with (
        started_app(model_dir, session, api_keys_file=keys_file) as app,
        client_of(app) as client,
    ):
        with caplog.at_level("DEBUG"):
            await client.post("/predict", content=png(), headers=bearer(key[0]))
            await client.post("/predict", content=png(), headers=bearer("vgg_wrong"))

    lines = [record for record in caplog.records if "POST /predict" in record.getMessage()]
    assert ["alice", None] == [getattr(record, "key", None) for record in lines]
    assert key[0] not in str([record.__dict__ for record in caplog.records])
    assert "vgg_wrong" not in str([record.__dict__ for record in caplog.records])
