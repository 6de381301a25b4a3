"""Fetch a published file into the model folder: resumed, verified, whole or not at all.

10 s until the first byte: any longer, and a machine without a network seems to hang. 300 s
of patience: a router restarts in less. `X-Linked-ETag` (a SHA-256) and `X-Linked-Size` are
how the Hugging Face Hub describes the file behind its redirect: huggingface_hub,
`file_download.py`, `get_hf_file_metadata`.
"""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.errors import DownloadError
from app.weights.download.digest import Progress, digest_of, ignore
from app.weights.download.disk import on_disk, require_room
from app.weights.download.http_get import GetError, RangeError, RefusedError, Reply, get
from app.weights.download.part_file import PartFile, locked
from app.weights.download.patience import Patience

__all__ = ["HUB", "Progress", "Source", "digest_of", "fetch", "verify"]

HUB: Final = "https://huggingface.co"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """A published file.

    Attributes:
        url: Where it is.
        digest: `sha256:` or `sha384:` and hex digits; None if the server's word has to do.
        size: Bytes; None if not known.
    """

    url: str
    digest: str | None
    size: int | None


def verify(path: Path, source: Source, *, progress: Progress = ignore) -> None:
    """Check the size and the digest of a file, as far as `source` has them.

    Raises:
        DownloadError: If it is not that file, or cannot be read.
    """
    advice = "delete it to have it fetched again, or correct its manifest"
    with on_disk(path):
        size = path.stat().st_size
    if source.size not in {None, size}:
        raise DownloadError(f"{path} has {size} bytes, expected {source.size}; {advice}")
    if source.digest is not None:
        found = digest_of(path, source.digest.partition(":")[0], progress)
        if found != source.digest:
            raise DownloadError(f"{path} is {found}, expected {source.digest}; {advice}")


def fetch(
    source: Source,
    path: Path,
    *,
    progress: Progress = ignore,
    endpoint: str | None = None,
    offline: bool = False,
    timeout: float = 10.0,
    patience: float = 300.0,
    backoff: float = 0.5,
) -> str | None:
    """Fetch a file to `path`, unless there is one.

    Args:
        source: The file. Without a digest, its server has to publish one.
        path: Beside it, `.part` is what has come so far, and `.locks` makes others wait.
        progress: Told how far it is. What it raises leaves the `.part` for resuming.
        endpoint: Mirror of the Hugging Face Hub, as in HF_ENDPOINT; None or empty for the Hub.
        offline: Fail at once instead of dialling.
        timeout: Seconds until the first byte, all tries together; later, longest stall.
        patience: Seconds: longest time of trying without getting further, once bytes have
            come or if the server named a time to come back.
        backoff: Seconds before the second try; doubles, up to 64 times this.

    Returns:
        The digest that was verified; None if there was a file (`verify` looks at it).

    Raises:
        DownloadError: With what to do about it. There is no file at `path` then.
    """
    if path.exists():
        return None
    if endpoint and source.url.startswith(f"{HUB}/"):
        url = endpoint.rstrip("/") + source.url.removeprefix(HUB)
        source = Source(url, source.digest, source.size)
    try:
        if offline:
            raise RefusedError("this process has to stay offline")
        with locked(path):
            if path.exists():
                return None
            algorithm = (source.digest or "sha256").partition(":")[0]
            part = PartFile(path, algorithm, source.size, progress)
            return _fetch(source, path, part, timeout, patience, backoff)
    except GetError as exc:
        raise DownloadError(
            f"{path.name} cannot be fetched from {_shown(source)}: {str(exc).rstrip('.')}; set"
            f" HF_ENDPOINT to a mirror such as https://hf-mirror.com, copy the file to {path} by"
            " hand, or run with VGG_ON_MISSING_WEIGHTS=untrained, which is only good for trying"
            " the service out"
        ) from exc


def _fetch(
    source: Source, path: Path, part: PartFile, timeout: float, patience: float, backoff: float
) -> str:
    """Add what the `.part` lacks, and put it into place."""
    expected = source.digest
    for again in (True, False):
        if part.digest != expected:
            expected = _complete(source, path, part, Patience(timeout, patience, backoff))
        if part.digest == expected:
            break
        problem = f"{path.name} has come as {part.digest}, expected {expected}"
        joined = part.joined
        part.clear()
        if not (joined and again):
            raise DownloadError(
                f"{problem}, and was deleted; run it again, and if that does not help, correct"
                f" the digest in the manifest or do not trust {_shown(source)}"
            )
        log.warning("%s; it came in parts, which may be of two files: once more", problem)
    part.finish()
    return part.digest


def _complete(source: Source, path: Path, part: PartFile, patience: Patience) -> str:
    """Try until there are as many bytes as there should be; return the expected digest."""
    while True:
        try:
            return _extend(source, path, part, patience)
        except RefusedError:
            raise
        except GetError as exc:
            problem = f"cut at byte {part.count}: {exc}" if part.count else str(exc)
            log.warning("%s: %s", path.name, problem)
            if isinstance(exc, RangeError):
                part.clear()
            if not patience.wait(part.gained, exc.wait):
                raise GetError(problem) from exc


def _extend(source: Source, path: Path, part: PartFile, patience: Patience) -> str:
    """Try once; return the expected digest."""
    with get(source.url, part.count, first=patience.left(), timeout=patience.timeout) as reply:
        digest = source.digest or reply.linked_digest
        if digest is None:
            raise DownloadError(
                f"{path.name} is not fetched: its manifest pins no digest and {_shown(source)}"
                " publishes none; write its sha256 into the manifest"
            )
        total = _total(source, path, reply)
        if reply.start == 0:
            part.clear()
        require_room(path, total - reply.start)
        part.extend(reply.body, total)
    if part.count < total:
        raise GetError(f"there should be {total}")
    return digest


def _total(source: Source, path: Path, reply: Reply) -> int:
    """Find the size of the file, on which all who name it have to agree."""
    sizes = {size for size in (source.size, reply.size, reply.linked_size) if size is not None}
    if len(sizes) == 1:
        return sizes.pop()
    known = " or ".join(map(str, sorted(sizes))) or "unknown"
    raise DownloadError(
        f"{path.name} is not fetched: the number of its bytes would be {known}; see what"
        f" {_shown(source)} really is, and correct or add size in the manifest"
    )


def _shown(source: Source) -> str:
    """Return the address without a password."""
    return re.sub("//[^/]*@", "//", source.url)
