"""Download a published file into the model folder: resumed, verified, whole or not at all.

7 s until the first byte: with the start of the process and the last try, that is less than ten,
after which a machine without a network seems to hang. 300 s of patience: a router restarts in
less. `X-Linked-ETag` (a SHA-256) and `X-Linked-Size` are how the Hugging Face Hub describes the
file behind its redirect: huggingface_hub, `file_download.py`, `get_hf_file_metadata`.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

from app.outgoing.clients import Client
from app.setup_errors import DownloadError
from app.weights.download import hub
from app.weights.download.http_get import (
    FURTHER,
    GetError,
    Lookups,
    RangeError,
    RefusedError,
    get,
    open_client,
)
from app.weights.download.part_file import (
    PartFile,
    Progress,
    hash_file,
    locked,
    on_disk,
    require_room,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A published file.

    Attributes:
        url: Where it is.
        digest: `sha256:` or `sha384:` and hex digits; None to accept the one the server publishes.
        size: Bytes; None if not known.
    """

    url: str
    digest: str | None
    size: int | None

    @property
    def shown(self) -> str:
        """The address without a password."""
        return re.sub("//[^/]*@", "//", self.url)


class Patience:
    """The time that is left for one file; its seconds are those of `fetch`.

    Only new bytes earn more. Bytes that come again and again, or a few now and then, do not:
    they would keep a download alive for ever.
    """

    def __init__(
        self,
        timeout: float,
        patience: float,
        backoff: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.timeout = timeout
        self._patience, self._backoff, self._clock = patience, backoff, clock
        self._since, self._budget, self._pause = clock(), timeout, backoff
        self._most = 0

    def left(self) -> float:
        """Return the seconds that the next try may take until its first byte."""
        return min(self.timeout, self._since + self._budget - self._clock())

    def pause(self, gained: int, asked: float) -> float | None:
        """Return the seconds to wait before the next try; None to give up.

        Args:
            gained: Bytes that have come.
            asked: Seconds for which the server asked; 0 if it did not.
        """
        if gained >= self._most + FURTHER:
            self._most = gained
            self._since, self._budget, self._pause = self._clock(), self._patience, self._backoff
        if 0 < asked <= self._patience:
            self._budget = self._patience + asked
        pause = max(asked, self._pause)
        self._pause = min(2 * self._pause, 64 * self._backoff)
        return pause if self._clock() + pause < self._since + self._budget else None


def verify(path: Path, source: Source, progress: Progress) -> str:
    """Check the size and the digest of a file, as far as `source` has them; return its SHA-256."""
    advice = "delete it to download it again, or correct its manifest"
    with on_disk(path):
        size = path.stat().st_size
    if source.size not in {None, size}:
        raise DownloadError(f"{path} has {size} bytes, expected {source.size}; {advice}")
    found = hash_file(path, source.digest, progress)
    if source.digest not in {None, found.digest}:
        raise DownloadError(f"{path} is {found.digest}, expected {source.digest}; {advice}")
    return found.sha256


def fetch(
    source: Source,
    path: Path,
    progress: Progress,
    *,
    endpoint: str | None = None,
    offline: bool = False,
    timeout: float = 7.0,
    patience: float = 300.0,
    backoff: float = 0.5,
) -> str | None:
    """Download a file to `path`, unless there is one; not from a thread that runs an event loop.

    Args:
        source: Without a digest, its server has to publish one.
        path: Beside it, `.part` is what has come so far, and `.locks` makes others wait.
        progress: Called for each piece. What it raises leaves the `.part` for resuming.
        endpoint: Mirror of the Hugging Face Hub, as in HF_ENDPOINT; None or empty for the Hub.
        offline: Fail at once instead of connecting.
        timeout: Seconds until the first byte, all tries together; later, longest stall.
        patience: Seconds: longest time of trying without progress, once bytes have come or if
            the server named a time to come back.
        backoff: Seconds before the second try; doubles, up to 64 times this.

    Returns:
        The SHA-256, in hex digits; None if there was a file (`verify` checks it).

    Raises:
        DownloadError: With what to do about it. There is no file at `path` then.
    """
    if path.exists():
        return None
    source = replace(source, url=hub.at_endpoint(source.url, endpoint))
    try:
        forbidden_by = hub.forbidden_by(offline=offline)
        if forbidden_by:
            raise RefusedError(
                f"{forbidden_by} keeps this process offline", f"unset {forbidden_by}"
            )
        headers = hub.headers_for(source.url, endpoint)
        with locked(path):
            if path.exists():
                return None
            part = PartFile(path, source.digest, source.size, progress)
            return asyncio.run(_fetch(source, path, part, headers, (timeout, patience, backoff)))
    except GetError as exc:
        raise DownloadError(
            f"{path.name} cannot be downloaded from {source.shown}: {str(exc).rstrip('.')};"
            f" {_advice(exc, source.url, endpoint)}copy the file to {path} by hand, or use"
            " vgg16-mini, a small model that needs no download: VGG_STAND_IN=vgg16-mini for a"
            " server, --model vgg16-mini for a command"
        ) from exc


def _advice(exc: GetError, url: str, endpoint: str | None) -> str:
    """Say what to do first, with a comma; nothing if the error has said it."""
    of_hub, advice = hub.is_hub(url, endpoint), exc.advice
    if exc.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} and not advice:
        advice = hub.login_advice(url, endpoint)
    elif exc.status == HTTPStatus.TOO_MANY_REQUESTS and of_hub:
        advice = "run it again later, set HF_TOKEN, with which the hub answers more often"
    elif exc.unreachable and of_hub:
        mirror = "another mirror" if endpoint else "a mirror such as https://hf-mirror.com"
        advice = f"{advice}, set {hub.ENDPOINTS} to {mirror}"
    elif not advice and not isinstance(exc, RefusedError):
        advice = "run it again later"
    elif not advice and exc.status:
        advice = f"correct {hub.ENDPOINTS if endpoint and of_hub else 'the url in its manifest'}"
    return advice and f"{advice}, "


async def _fetch(
    source: Source,
    path: Path,
    part: PartFile,
    headers: Mapping[str, str],
    times: tuple[float, float, float],
) -> str:
    """Add what the `.part` lacks, verify it and put it into place; return its SHA-256."""
    asyncio.get_running_loop().set_default_executor(Lookups())
    expected = source.digest
    for again in (True, False):
        if part.digest != expected:
            async with open_client(headers) as client:
                expected = await _complete(client, source, path, part, Patience(*times))
        if part.digest == expected:
            break
        problem = f"{path.name} has come as {part.digest}, expected {expected}"
        joined = part.joined
        part.clear()
        if not (joined and again):
            raise DownloadError(
                f"{problem}, and was deleted; run it again, and if that does not help, correct"
                f" the digest in the manifest or do not trust {source.shown}"
            )
        log.warning("%s; its parts may be of two versions: downloading it again", problem)
    part.finish()
    return part.sha256


async def _complete(
    client: Client, source: Source, path: Path, part: PartFile, patience: Patience
) -> str:
    """Try until there are as many bytes as there should be; return the expected digest."""
    telling: GetError | None = None
    while True:
        first = patience.left()
        try:
            return await _extend(client, source, path, part, (first, patience.timeout))
        except RefusedError:
            raise
        except GetError as exc:
            if part.count:
                exc.args = (f"cut at byte {part.count}: {exc}",)
            if telling is None or not exc.late or first >= patience.timeout:
                telling = exc  # and not the end of a time that was nearly over when it began
            if isinstance(exc, RangeError):
                part.clear()
            pause = patience.pause(part.gained, exc.wait)
            if pause is None:
                raise telling from telling.__cause__
            log.warning("%s: %s; trying again in %.3g s", path.name, exc, pause)
            await asyncio.sleep(pause)


async def _extend(
    client: Client, source: Source, path: Path, part: PartFile, times: tuple[float, float]
) -> str:
    """Try once, with seconds for the first byte and for later ones; return the expected digest."""
    first, timeout = times
    async with get(client, source.url, part.count, first=first, timeout=timeout) as reply:
        digest = source.digest or reply.digest
        if digest is None:
            raise DownloadError(
                f"{path.name} is not downloaded: its manifest pins no digest and {source.shown}"
                " publishes none; write its sha256 into the manifest"
            )
        sizes = reply.sizes | ({source.size} if source.size else set())
        if len(sizes) != 1:
            known = " or ".join(map(str, sorted(sizes))) or "unknown"
            raise DownloadError(
                f"{path.name} is not downloaded: its size in bytes is {known}; see what"
                f" {source.shown} really is, and correct or add size in the manifest"
            )
        (total,) = sizes
        if reply.start == 0:
            part.clear()
        require_room(path, total - reply.start)
        await part.extend(reply.body, total)
    if part.count < total:
        raise GetError(f"expected {total} bytes")
    return digest
