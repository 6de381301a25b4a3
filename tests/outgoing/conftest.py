"""A server behind proxies."""

import pytest

from tests.outgoing.field import leave_alone, make_identity
from tests.weights.download.file_server import running


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch):
    leave_alone(monkeypatch)


@pytest.fixture
def server():
    """Start a server."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def identity(tmp_path_factory):
    """Make an authority that nobody knows, and a certificate signed by it."""
    return make_identity(tmp_path_factory.mktemp("identity"))


@pytest.fixture
def tls_server(identity):
    """Start a server with this certificate."""
    with running(identity) as server:
        yield server
