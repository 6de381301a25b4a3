"""The file of API keys, read again when it changes: a mounted secret cannot be signalled."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from app.setup_errors import KeysError
from app.web.keys import Keys

log = logging.getLogger(__name__)

_EVERY: Final = 1.0
"""Seconds between two looks at the file."""
_UNREST: Final = 3
"""Looks in a row that find a change before the file is read although it still changes."""


def log_count(keys: Keys) -> None:
    """Log how many keys there are; none is allowed, and refuses everyone."""
    if len(keys):
        log.info("%d API keys loaded", len(keys))
    else:
        log.warning("the file of API keys is empty: everyone is refused until it has a key")


class KeyFile:
    """Reads the keys again after a signal, and after a change, 5 s later at most.

    A file is read once it stays the same from one look to the next, since an editor or a copy
    takes a moment to write it. A file with a mistake changes nothing, and is logged once.
    """

    def __init__(self, keys: Keys, changed: Callable[[], None] = lambda: None) -> None:
        """Watch nothing before `watch`; `changed` is called after new keys are in place."""
        self._keys = keys
        self._changed = changed
        self._seen = keys.version
        self._unrest = 0

    def read(self) -> None:
        """Read the file again, and log what came of it."""
        self._unrest = 0
        try:
            self._keys.read()
        except KeysError as exc:
            log.error("%s; keeping the previous keys", exc)
        else:
            log_count(self._keys)
            self._changed()

    def look(self) -> None:
        """Read the file again if it has changed."""
        before, self._seen = self._seen, self._keys.look()
        if self._seen == self._keys.version:
            self._unrest = 0
            return
        self._unrest += 1
        if self._seen == before or self._unrest > _UNREST:
            self.read()

    async def watch(self) -> None:
        """Look at the file from time to time."""
        while True:
            await asyncio.sleep(_EVERY)
            self.look()
