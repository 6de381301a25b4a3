"""The hub's own variables count, and its token is for the hub."""

import pytest

from app.setup_errors import DownloadError
from app.weights.download import hub
from app.weights.download.hub import HUB
from tests.outgoing.field import leave_alone

FILE = f"{HUB}/timm/vgg16/resolve/main/model.safetensors"
SENT = {"Authorization": "Bearer hf_secret"}


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch):
    leave_alone(monkeypatch)


@pytest.mark.parametrize("endpoint", ["hf-mirror.com", "ftp://hf-mirror.com", "tcp://10.0.0.1:80"])
def test_endpoint_needs_a_scheme(endpoint):
    """The variables that may hold it are named."""
    with pytest.raises(DownloadError, match="VGG_HF_ENDPOINT or HF_ENDPOINT is not an address"):
        hub.at_endpoint(FILE, endpoint)


def test_endpoint_matters_for_the_hub_only():
    """A file of another host is not looked for there."""
    assert "https://example.org/x" == hub.at_endpoint("https://example.org/x", "hf-mirror.com")


@pytest.mark.parametrize(
    ("url", "endpoint", "sent"),
    [
        (FILE, None, SENT),
        ("https://mirror.example/hub/x", "https://mirror.example/hub", SENT),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080", SENT),
        ("http://localhost:8080/x", "http://localhost:8080", SENT),
        ("http://mirror.example/x", "http://mirror.example", {}),
        ("http://huggingface.co/x", None, {}),
        ("https://huggingface.co.evil.example/x", None, {}),
        ("https://huggingface.co@evil.example/x", None, {}),
        ("https://example.org/x", None, {}),
        ("https://example.org/x", "https://mirror.example", {}),
        ("https://mirror.example:8443/x", "https://mirror.example", {}),
    ],
)
def test_token_is_for_the_hub(monkeypatch, url, endpoint, sent):
    """To the hub or its mirror, and never in clear over a network."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    assert sent == hub.headers_for(url, endpoint)


def test_token_that_is_not_sent_is_mentioned(monkeypatch, caplog):
    """Whoever set it is told, without the token."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.headers_for("http://mirror.example/x", "http://mirror.example")

    assert "HF_TOKEN is not sent to mirror.example, which is asked without TLS" in caplog.text
    assert "secret" not in caplog.text
    advice = hub.login_advice("http://mirror.example/x", "http://mirror.example")
    assert "HF_TOKEN is not sent without TLS" in advice


@pytest.mark.parametrize(
    ("variables", "sent"),
    [
        ({}, {}),
        ({"HF_TOKEN": ""}, {}),
        ({"HF_TOKEN": "hf_secret\n"}, SENT),
        ({"HUGGING_FACE_HUB_TOKEN": "hf_secret"}, SENT),
        ({"HF_TOKEN": "hf_secret", "HUGGING_FACE_HUB_TOKEN": "old"}, SENT),
        ({"HF_TOKEN_PATH": "token"}, SENT),
    ],
)
def test_places_of_the_token(monkeypatch, tmp_path, variables, sent):
    """HF_TOKEN counts first, then its old name, then a file."""
    (tmp_path / "token").write_text("hf_secret\n")
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert sent == hub.headers_for(FILE, None)


@pytest.mark.parametrize("value", ["hf_secret more", "hf_secret\r\nX: y", "hf_sécret"])
def test_token_that_is_none(monkeypatch, value):
    """It becomes no header, and is not shown."""
    monkeypatch.setenv("HF_TOKEN", value)

    with pytest.raises(DownloadError, match="HF_TOKEN holds no token") as caught:
        hub.headers_for(FILE, None)
    assert "cret" not in str(caught.value)


def test_lost_file_of_the_token(monkeypatch, tmp_path):
    """Its variable is named."""
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))

    with pytest.raises(DownloadError, match=r"HF_TOKEN_PATH: .*: No such file"):
        hub.headers_for(FILE, None)


@pytest.mark.parametrize(
    ("offline", "value", "expected"),
    [
        (False, None, None),
        (True, None, "VGG_OFFLINE"),
        (False, "1", "HF_HUB_OFFLINE"),
        (False, "true", "HF_HUB_OFFLINE"),
        (False, "YES", "HF_HUB_OFFLINE"),
        (False, "0", None),
        (False, "", None),
    ],
)
def test_offline(monkeypatch, offline, value, expected):
    """Either variable forbids the network, as huggingface_hub reads its own."""
    if value is not None:
        monkeypatch.setenv("HF_HUB_OFFLINE", value)

    assert expected == hub.forbidden_by(offline=offline)


def test_advice_about_logins(monkeypatch):
    """Without a token it is asked for; with one, its rights are; elsewhere neither helps."""
    before = hub.login_advice(FILE, None)
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_secret")

    assert "set HF_TOKEN" in before
    assert "check that HUGGING_FACE_HUB_TOKEN is valid" in hub.login_advice(FILE, None)
    assert "TOKEN" not in hub.login_advice("https://example.org/x", None)
