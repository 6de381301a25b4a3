"""API keys: generated here, stored as digests, one per line of a file, and checked per request."""

import hmac
import re
import secrets
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import UnauthorizedError
from app.setup_errors import KeysError
from app.texts import decode_text
from app.web.endpoints import KEY, MARKS
from app.web.problems import answer_error

MOST_BYTES: Final = 16 * 2**20
"""Size limit of the file of API keys: some 170,000 keys, each compared for each request."""
_NO_FILE: Final = ()
"""The version of a pipe, a folder or a device."""
_PREFIX: Final = "vgg_"
_SCHEME: Final = b"bearer "
_ENTROPY: Final = 32  # bytes: cannot be guessed, so the digest needs neither salt nor slowness
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LINE: Final = re.compile(rf"({_NAME.pattern})\s+sha256:([0-9a-f]{{64}})")


def make_key(name: str) -> tuple[str, str]:
    """Return a new key, and its line for the file; its holder's name is logged with each request.

    Raises:
        KeysError: If the name cannot be written into the file.
    """
    if not _NAME.fullmatch(name):
        raise KeysError(
            f"{name!r} cannot name a key: use 1 to 64 letters, digits, dots, underscores or dashes."
        )
    key = _PREFIX + secrets.token_urlsafe(_ENTROPY)
    return key, f"{name} sha256:{sha256(key.encode()).hexdigest()}"


class Keys:
    """The digests of all keys, by the names of their holders.

    Attributes:
        version: What `look` returned when the file was last read.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read a file; without one there are no keys until `parse`."""
        self._path = path
        self.version: tuple[int, ...] | None = None
        self._digests: dict[str, bytes] = {}
        self.read(first=True)

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._digests)

    @property
    def text(self) -> str:
        """Format the keys as `parse` reads them."""
        lines = (f"{name} sha256:{digest.hex()}\n" for name, digest in self._digests.items())
        return "".join(lines)

    def read(self, *, first: bool = False) -> None:
        """Read the file again; the previous keys stay valid if it has a mistake.

        A pipe, such as `<(command)` of a shell, is read at the `first` time alone: later, nobody
        may ever write to it.

        Raises:
            KeysError: If the file cannot be read or has a mistake.
        """
        if self._path is None:
            return
        self.version = self.look()  # before reading, so that a later change is seen
        if self.version == _NO_FILE and not first:
            raise KeysError("The file of API keys is no regular file, which is read once only")
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise KeysError(f"The file of API keys is larger than {MOST_BYTES} bytes")
            text = decode_text(data)
        except (OSError, ValueError) as exc:
            raise KeysError(f"The file of API keys cannot be read: {exc}") from exc
        self.parse(text)

    def look(self) -> tuple[int, ...] | None:
        """Return what tells two versions of the file apart; None if it is not there.

        It follows links: those of a mounted secret are replaced. All that is not a regular file is
        the same.
        """
        try:
            found = self._path.stat() if self._path else None
        except OSError:
            return None
        if found and not S_ISREG(found.st_mode):
            return _NO_FILE
        times = (found.st_mtime_ns, found.st_ctime_ns) if found else ()
        return found and (found.st_dev, found.st_ino, found.st_size, *times)

    def parse(self, text: str) -> None:
        """Replace all keys at once, unless a line has a mistake.

        Raises:
            KeysError: If a line is not `NAME sha256:DIGEST`, empty, or a comment after a #.
        """
        digests: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            entry = line.partition("#")[0].strip()
            if not entry:
                continue
            match = _LINE.fullmatch(entry)
            if match is None:
                raise KeysError(
                    f"{self._path}, line {number}: expected NAME sha256:DIGEST,"
                    " as `vgg-serve key NAME` prints it"
                )
            if match[1] in digests:
                raise KeysError(f"{self._path}, line {number}: {match[1]!r} already has a key")
            digests[match[1]] = bytes.fromhex(match[2])
        self._digests = digests

    def holder(self, key: bytes) -> str | None:
        """Return the name of a key's holder; the time taken reveals nothing about other keys."""
        digest = sha256(key).digest()
        found = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found


class Access:
    """ASGI middleware that answers 401, by the headers alone, to requests without a valid API key.

    It adds `key`, the name of the key's holder, to `scope["state"]`. Paths that need no key pass
    unchecked.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] == "http" and KEY in MARKS[scope["path"]]:
            holder = self._keys.holder(presented(scope))
            if holder is None:
                error = UnauthorizedError(
                    'Missing or invalid API key. Send it as "Authorization: Bearer KEY".'
                )
                await answer_error(scope, error)(scope, receive, send)
                return
            scope["state"]["key"] = holder
        await self._app(scope, receive, send)


def presented(scope: Scope) -> bytes:
    """Return the key of a request; empty if it has none, or more than one."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1 or values[0][: len(_SCHEME)].lower() != _SCHEME:
        return b""
    return bytes(values[0][len(_SCHEME) :].strip())
