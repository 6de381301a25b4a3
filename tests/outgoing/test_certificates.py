"""Servers are trusted because of the certificates that the environment names, or the machine's."""

import shutil
import ssl
import subprocess

import certifi
import pytest

from app.outgoing.certificates import VARIABLES, set_variables, trust
from app.setup_errors import SetupError


def authorities(context):
    """Name those that signed what is trusted."""
    return [
        dict(pair for (pair,) in one["subject"]).get("commonName") for one in context.get_ca_certs()
    ]


def test_without_variables_the_public_authorities_are_trusted():
    """The hub's certificate is signed by one of them, and names are compared."""
    context = trust()

    assert [] == set_variables()
    assert context.cert_store_stats()["x509_ca"] > 50
    assert context.check_hostname
    assert ssl.CERT_REQUIRED == context.verify_mode


@pytest.mark.parametrize("variable", VARIABLES)
def test_file_replaces_the_public_authorities(monkeypatch, identity, variable):
    """Each variable may name a file with one certificate or several."""
    monkeypatch.setenv(variable, str(identity.authority))
    context = trust()

    assert ["authority"] == authorities(context)
    assert context.check_hostname
    assert ssl.CERT_REQUIRED == context.verify_mode


def test_all_that_are_set_count(monkeypatch, identity):
    """A company's own authority beside the public ones."""
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(identity.authority))

    assert "authority" in authorities(trust())
    assert len(authorities(trust())) > 50


@pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_folder_needs_names_by_hash(monkeypatch, identity, tmp_path, variable):
    """OpenSSL finds nothing in a folder of plain names: that is said before anything fails."""
    shutil.copy(identity.authority, tmp_path / "company.pem")
    monkeypatch.setenv(variable, str(tmp_path))

    with pytest.raises(SetupError, match=f"{variable}: .*: run openssl rehash {tmp_path}"):
        trust()
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, capture_output=True)
    trust()


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file or directory"), (b"", "in PEM form"), (b"\x30\x82\x01", "in PEM form")],
    ids=["missing", "empty", "DER"],
)
def test_useless_file(monkeypatch, tmp_path, variable, content, said):
    """The variable and the file are named."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(variable, str(path))

    with pytest.raises(SetupError, match=f"^{variable}: {path}.*{said}.*unset {variable}$"):
        trust()


def test_certificate_that_breaks_off(monkeypatch, identity, tmp_path):
    """A PEM file that was cut is named, too."""
    path = tmp_path / "ca.pem"
    path.write_bytes(identity.authority.read_bytes()[:200])
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    with pytest.raises(SetupError, match="SSL_CERT_FILE"):
        trust()
