"""Which certificates are trusted: those that the environment names, or else those of the machine.

REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE are a file (PEM) or a folder, SSL_CERT_FILE is a file, and
SSL_CERT_DIR is one folder or several. All that are set count, and then nothing else does. Without
any, those count that the machine trusts (OpenSSL's or the system's store, where a company's own
is), or those that certifi carries if the machine trusts none, as in a small image.
"""

import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from app.setup_errors import SetupError

VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def set_variables() -> list[str]:
    """List the variables that are set."""
    return [variable for variable in VARIABLES if os.environ.get(variable)]


def trust() -> ssl.SSLContext:
    """Return a context that verifies servers; a SetupError names the variable that is wrong.

    A certificate of a company's own, which the operator names, may lack what Python has asked
    for since 3.13 (`VERIFY_X509_STRICT`), and may be of an authority between, as for curl.
    """
    if not set_variables():
        context = ssl.create_default_context()
        trusts_none = not context.cert_store_stats()["x509_ca"]
        return httpx.create_ssl_context(trust_env=False) if trusts_none else context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for variable, path in _named():
        _add(context, variable, path)
    return context


def _add(context: ssl.SSLContext, variable: str, path: Path) -> None:
    try:
        if not path.is_dir():
            context.load_verify_locations(cafile=path)
            return
        hashed = any(_HASHED.fullmatch(file.name) for file in path.iterdir())
    except ssl.SSLError as exc:
        raise SetupError(
            f"{variable}: {path} holds no certificate in PEM form: correct or unset {variable}"
        ) from exc
    except OSError as exc:
        raise SetupError(
            f"{variable}: {path}: {exc.strerror}: correct or unset {variable}"
        ) from exc
    if not hashed:
        raise SetupError(
            f"{variable}: {path} holds no certificate under the name of its hash: run"
            f" openssl rehash {path}"
        )
    context.load_verify_locations(capath=path)


def _named() -> Iterator[tuple[str, Path]]:
    for variable in set_variables():
        value = os.environ[variable]
        for place in value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]:
            if place:
                yield variable, Path(place)
