"""API keys: made here, kept only as digests, one a line in a file."""

import hmac
import re
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

from app.errors import KeysError

_PREFIX: Final = "vgg_"
_ENTROPY: Final = 32  # bytes: nothing can be guessed, so the digest needs neither salt nor time
_SENDABLE: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")  # RFC 6750: the keys of other servers too
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE: Final = re.compile(rf"({_NAME.pattern})\s+sha256:([0-9a-f]{{64}})")


def make_key(name: str) -> tuple[str, str]:
    """Return a new key, and the line of the file that lets its holder in.

    Args:
        name: Of the holder; it stands in the log beside each request.

    Raises:
        KeysError: If the name cannot stand in the file.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(f"{name!r} is no name for a key: up to 64 of A-Z a-z 0-9 . _ -")
    key = _PREFIX + secrets.token_urlsafe(_ENTROPY)
    return key, f"{name} sha256:{sha256(key.encode()).hexdigest()}"


def authorization(key: str) -> str:
    """Return the value of the header `Authorization` for a key.

    Raises:
        KeysError: If no key can be like that; it does not show it.
    """
    if not _SENDABLE.fullmatch(key):
        raise KeysError("What was given as the API key has characters that no key has.")
    return f"Bearer {key}"


class Keys:
    """The keys of a file, by the names of their holders."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            KeysError: If it cannot be read.
        """
        self._path = path
        self._digests: dict[str, bytes] = {}
        self.read()

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._digests)

    @property
    def text(self) -> str:
        """Write them as a file would hold them."""
        lines = (f"{name} sha256:{digest.hex()}\n" for name, digest in self._digests.items())
        return "".join(lines)

    def read(self) -> None:
        """Read the file again; if that fails, the keys stay what they were.

        Raises:
            KeysError: If a line is not `NAME sha256:DIGEST`, empty, or a comment after a #.
        """
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as exc:
            raise KeysError(f"The file of API keys cannot be read: {exc}") from exc
        digests: dict[str, bytes] = {}
        for number, line in enumerate(lines, 1):
            text = line.partition("#")[0].strip()
            if not text:
                continue
            match = _LINE.fullmatch(text)
            where = f"{self._path}, line {number}"
            if match is None:
                raise KeysError(
                    f"{where}: expected NAME sha256:DIGEST, as `vgg-serve key NAME` prints it"
                )
            if match[1] in digests:
                raise KeysError(f"{where}: there is a key of {match[1]!r} already")
            digests[match[1]] = bytes.fromhex(match[2])
        self._digests = digests

    def holder(self, key: bytes) -> str | None:
        """Return the name of the one whose key this is, in a time that tells nothing."""
        digest = sha256(key).digest()
        found = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found
