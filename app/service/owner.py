"""The service as several processes: this one owns the models, and the fronts speak HTTP."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from socket import socket
from typing import Final

import uvicorn

from app.errors import SetupError
from app.runtime.open_session import Session, open_session
from app.service.fronts.owner_side import OwnerSide
from app.service.fronts.processes import Keeper, listen
from app.service.fronts.shared_memory import Layout
from app.service.parts import chosen, hosting_of
from app.service.server import announce, read_again
from app.service.settings import Settings
from app.serving.batching.queue import RUNS_AHEAD
from app.serving.hosted_models import Models
from app.serving.loading import CEILING
from app.serving.metrics import Metrics
from app.web.keys import Keys

log = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_GRACE: Final = 5.0
"""Seconds beyond those of a drain after which fronts are killed."""


def serve_with_fronts(
    settings: Settings, open_session: Callable[..., Session] = open_session
) -> int:
    """Serve until a signal comes; return the exit status.

    Args:
        settings: All of them; `front_processes` is not 0.
        open_session: Loads a serving graph; tests give another one.

    Raises:
        SetupError: If the service cannot be built.
    """
    if sys.platform != "linux":
        raise SetupError("VGG_FRONT_PROCESSES: only Linux can do that; take 0.")
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        owner = Owner(settings, open_session)
        status = runner.run(owner.serve())
    if owner.lost:
        logging.shutdown()
        os._exit(1)  # what is left of CUDA may hang when it is taken down
    if owner.signalled is not None:
        signal.raise_signal(owner.signalled)
    return status


class Owner:
    """The models, one queue for each, and the processes in front of them."""

    def __init__(self, settings: Settings, open_session: Callable[..., Session]) -> None:
        """Build the parts; nothing runs before `serve`."""
        self._settings = settings
        self._keys = Keys(settings.api_keys_file) if settings.api_keys_file else None
        metrics = Metrics()
        manifests = chosen(settings)
        hosting = replace(hosting_of(settings), open_session=open_session)
        self._models = Models(manifests, hosting, metrics)
        most = RUNS_AHEAD * (settings.max_batch_size or max(CEILING.values()))
        crops = tuple(manifest.preprocess.crop for manifest in manifests)
        self._shape = Layout(crops, most * len(manifests))
        self._hub = OwnerSide(self._models, self._shape, metrics)
        self.signalled: int | None = None

    @property
    def lost(self) -> bool:
        """Tell whether a GPU has failed for good."""
        return self._models.lost.is_set()

    async def serve(self) -> int:
        """Serve until the fronts have been told to end; return the exit status.

        Raises:
            SetupError: If the port is taken, or a front cannot start.
        """
        settings = self._settings
        listeners = listen(settings.host, settings.port, settings.front_processes, _BACKLOG)
        keys = None if self._keys is None else os.memfd_create("vgg-keys")
        self._keeper = Keeper(self._hub, self._shape, listeners, keys)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._end, number)
        if self._keys is not None and keys is not None:
            write_again(keys, self._keys)
            loop.add_signal_handler(signal.SIGHUP, self._read_again, self._keys, keys)
        work = [
            self._hub.keep_queues_updated(),
            self._hub.keep_models_updated(),
            self._load(listeners),
        ]
        tasks = [asyncio.create_task(one) for one in (*work, self._end_if_lost())]
        for task in tasks:
            task.add_done_callback(self._end_if_broken)
        try:
            await self._keeper.run()
        finally:
            for task in tasks:
                task.cancel()
            await self._models.stop()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)  # from here on they do what they always do
        failed = any(model.state == "failed" for model in self._models.all().values())
        return 1 if failed else 0

    def _read_again(self, keys: Keys, copy: int) -> None:
        """Take new keys, unless the file has a mistake; a front that starts later has the same."""
        if read_again(keys):
            write_again(copy, keys)
            self._keeper.read_keys()

    def _end_if_broken(self, task: asyncio.Task[None]) -> None:
        """End, to be started anew: without this task the fronts would soon know nothing."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a bug: the service ends", exc_info=error)
            self._drain()

    def _end(self, number: int) -> None:
        """Have the fronts drain at the first signal, and stop at the second."""
        self.signalled = number
        self._drain()

    def _drain(self) -> None:
        self._leave()
        self._keeper.signal(signal.SIGTERM)

    def _leave(self) -> None:
        settings = self._settings
        self._keeper.end()
        longest = (settings.drain_delay_ms + settings.drain_timeout_ms) / 1000 + _GRACE
        asyncio.get_running_loop().call_later(longest, self._keeper.kill)

    async def _load(self, listeners: Sequence[socket]) -> None:
        """Load the models; a service that cannot do what it was started for ends.

        Only once the fronts serve: what runs cost is measured, and they take processors to start.
        """
        await self._keeper.serving.wait()
        announce(listeners, self._keys)
        await self._models.load()
        if any(model.state == "failed" for model in self._models.all().values()):
            self._hub.update_models()
            self._leave()
            self._hub.disconnect()

    async def _end_if_lost(self) -> None:
        """Drain once a GPU has failed for good: only a new process can use it."""
        await self._models.lost.wait()
        self._hub.update_queues()
        log.error("a GPU has failed for good: this process ends, to be started anew")
        self._drain()


def write_again(copy: int, keys: Keys) -> None:
    """Write keys into a file that fronts read."""
    text = keys.text.encode()
    os.ftruncate(copy, 0)
    os.pwrite(copy, text, 0)
