"""The Hugging Face Hub or a mirror of it: its address, its token, and what its own tools read.

HF_TOKEN, HUGGING_FACE_HUB_TOKEN and the file that HF_TOKEN_PATH names hold a token, the first of
them counts: huggingface_hub, `utils/_auth.py`. The file that `hf auth login` leaves in the home
folder is not read.
"""

import logging
import os
from pathlib import Path
from typing import Final

import httpx

from app.outgoing.proxies import is_loopback
from app.setup_errors import DownloadError

HUB: Final = "https://huggingface.co"
ENDPOINTS: Final = "VGG_HF_ENDPOINT or HF_ENDPOINT"

log = logging.getLogger(__name__)


def at_endpoint(url: str, endpoint: str | None) -> str:
    """Return where a file of the hub is on its mirror; another file stays where it is."""
    if not endpoint or not url.startswith(f"{HUB}/"):
        return url
    if not endpoint.startswith(("http://", "https://")):
        raise DownloadError(
            f"{ENDPOINTS} is not an address: write https://HOST, as in https://hf-mirror.com"
        )
    return endpoint.rstrip("/") + url.removeprefix(HUB)


def is_hub(url: str, endpoint: str | None) -> bool:
    """Return whether a file is on the hub, or on its mirror."""
    return _origin(url) in {_origin(place) for place in (HUB, endpoint) if place}


def forbidden_by(*, offline: bool) -> str | None:
    """Return the variable that keeps this process offline: VGG_OFFLINE is read, the hub's is not."""
    if offline:
        return "VGG_OFFLINE"
    forbids = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return "HF_HUB_OFFLINE" if forbids else None


def headers_for(url: str, endpoint: str | None) -> dict[str, str]:
    """Return the header with the token, for the hub only; httpx drops it on the way to a CDN."""
    variable, token = _token()
    if not token or not is_hub(url, endpoint):
        return {}
    if is_clear(url):
        log.warning("%s is not sent to %s, which is asked without TLS", variable, _host(url))
        return {}
    return {"Authorization": f"Bearer {token}"}


def login_advice(url: str, endpoint: str | None) -> str:
    """Say what helps when a server answers 401 or 403."""
    if not is_hub(url, endpoint):
        return "correct the url in the manifest: its server asks for a log-in"
    variable, token = _token()
    if not token:
        return "set HF_TOKEN to a token that may read it"
    if is_clear(url):
        return f"set {ENDPOINTS} to an address with https://: {variable} is not sent without TLS"
    return f"check that {variable} is valid and that its owner has access to the file"


def is_clear(url: str) -> bool:
    """Return whether others could read a request on its way."""
    address = httpx.URL(url)
    return address.scheme != "https" and not is_loopback(address)


def _token() -> tuple[str, str]:
    """Return a variable and the token that it holds; both are empty without a token."""
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"):
        value = os.environ.get(variable, "").strip()
        if value and variable == "HF_TOKEN_PATH":
            try:
                value = Path(value).read_text("utf-8").strip()
            except (OSError, ValueError) as exc:
                reason = getattr(exc, "strerror", None) or "no text"
                raise DownloadError(f"HF_TOKEN_PATH: the file cannot be read: {reason}") from exc
        if value and not (value.isascii() and value.isprintable() and " " not in value):
            raise DownloadError(f"{variable} holds no token: write one line of ASCII characters")
        if value:
            return variable, value
    return "", ""


def _host(url: str) -> str:
    return httpx.URL(url).host


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return "", url, None
    return address.scheme, address.host, address.port
