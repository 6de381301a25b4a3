"""The service as several processes: this one owns the models, and the fronts speak HTTP."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain
from socket import SO_ACCEPTCONN, SOL_SOCKET
from typing import Final

import uvicorn

from app.runtime.open_session import Session, open_session
from app.service.fronts.owner_side import OwnerSide
from app.service.fronts.processes import FrontProcesses
from app.service.fronts.shared_memory import Layout
from app.service.grpc_port import announce_grpc, check_grpc_port
from app.service.key_file import KeyFile
from app.service.listening import bind_all
from app.service.parts import make_hosting, served_manifests
from app.service.server import GPU_LOST, announce, exit_if_lost
from app.service.settings import Settings
from app.service.signals import end_by
from app.serving.batching.costs import RUNS_AHEAD
from app.serving.hosted_models import Models
from app.serving.loading import CEILING
from app.serving.metrics import Metrics
from app.setup_errors import SetupError
from app.web.keys import Keys
from app.weights.manifests.manifest import Manifest

log = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_QUEUES: Final = 0.01
"""Seconds between two updates of the queues' states in shared memory."""
_MODELS: Final = 0.1
"""Seconds between two looks at the models for something new."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_GRACE: Final = 5.0
"""Seconds after the end of a drain when the remaining fronts are killed."""


def serve_with_fronts(
    settings: Settings, open_session: Callable[..., Session] = open_session
) -> int:
    """Serve until a signal comes; return the exit status.

    Raises:
        SetupError: If the service cannot be built.
    """
    if sys.platform != "linux":
        raise SetupError("VGG_FRONT_PROCESSES needs Linux; set it to 0.")
    with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
        owner = Owner(settings, open_session)
        runner.run(owner.serve())
    exit_if_lost(owner.models)
    if owner.signalled is not None:
        end_by(owner.signalled)
    return 1 if owner.failed else 0


class Owner:
    """The models, one queue for each, and the processes in front of them.

    Attributes:
        failed: True once the service ends for any reason but a signal.
        signalled: The last signal that came.
    """

    def __init__(self, settings: Settings, open_session: Callable[..., Session]) -> None:
        """Build the parts and take the port; nothing runs before `serve`."""
        check_grpc_port(settings)
        self._keys = Keys(settings.api_keys_file) if settings.api_keys_file else None
        metrics = Metrics()
        self.models = Models(
            served_manifests(settings),
            make_hosting(settings, open_session),
            metrics,
            settings.stand_in,
        )
        most = RUNS_AHEAD * (settings.max_batch_size or max(CEILING.values()))
        hosted = self.models.all().values()
        crops = tuple(one.manifest.preprocess.crop for one in hosted)
        classes = tuple(len(one.labels) for one in hosted)
        floats = max(_map_floats(one.manifest) for one in hosted)
        layout = Layout(crops, classes, most * len(hosted), floats)
        self._owner_side = OwnerSide(self.models, layout, metrics, self._keys)
        self._key_file = KeyFile(self._keys, self._owner_side.send_keys) if self._keys else None
        self._when_ready = settings.listen == "ready"
        self._announce_grpc = partial(announce_grpc, settings)
        where = (settings.host, settings.port, settings.uds, int(settings.uds_mode, 8))
        self._listeners, self._let_none_come = bind_all(*where, settings.front_processes)
        if not self._when_ready:
            for listener in chain.from_iterable(self._listeners):
                listener.listen(_BACKLOG)
        self._fronts = FrontProcesses(self._listeners, self._owner_side, layout)
        self._drain_delay = settings.drain_delay_ms / 1000
        self._drain_seconds = (settings.drain_delay_ms + settings.drain_timeout_ms) / 1000 + _GRACE
        self._drains = 0
        self.failed = False
        self.signalled: int | None = None

    async def serve(self) -> None:
        """Serve until every front has ended.

        Raises:
            SetupError: If a front cannot start.
        """
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._drain_at_signal, number)
        work = [
            _repeat(self._owner_side.update_queues, _QUEUES),
            _repeat(self._owner_side.update_models, _MODELS),
            self._load(),
            self._drain_if_lost(),
        ]
        if self._when_ready:
            work.append(self._announce_when_ready())
        if self._key_file is not None:
            work.append(self._key_file.watch())
            loop.add_signal_handler(signal.SIGHUP, self._key_file.read)
        tasks = [asyncio.create_task(one) for one in work]
        for task in tasks:
            task.add_done_callback(self._drain_if_broken)
        try:
            await self._fronts.run()
        finally:
            for task in tasks:
                task.cancel()
            self._let_none_come()
            await self.models.stop()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)  # a further signal ends the process at once

    def _drain_if_broken(self, task: asyncio.Task[None]) -> None:
        """End the service: without this task the fronts would soon have outdated information."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed = True
            log.error("unhandled exception, draining to exit with 1", exc_info=error)
            self._drain()

    def _drain_at_signal(self, number: int) -> None:
        """Have the fronts drain at the first signal, and stop at the second."""
        self.signalled = number
        self._drain()

    def _drain(self) -> None:
        self._fronts.end(self._drain_seconds)
        # As late as the fronts refuse new clients.
        asyncio.get_running_loop().call_later(self._drain_delay, self._let_none_come)
        # A process sees two signals of one number as one if the first still waits for it.
        self._fronts.signal(_SIGNALS[self._drains % 2])
        self._drains += 1

    async def _load(self) -> None:
        """Load the models; end the service if one cannot be loaded.

        The fronts start first: they take processor time, and the cost of runs is measured here.
        """
        await self._fronts.serving.wait()
        if not self._when_ready:
            announce(self._listeners[0], self._keys, loading=True)
            self._announce_grpc()
        await self.models.load(self._owner_side.tell_models)
        if self.models.failed:
            self.failed = True
            self._owner_side.update_models()
            self._fronts.end(self._drain_seconds)
            self._owner_side.disconnect()

    async def _announce_when_ready(self) -> None:
        """Log the addresses once every front listens there, as soon as it knows of ready models."""
        listeners = list(chain.from_iterable(self._listeners))
        while not all(one.getsockopt(SOL_SOCKET, SO_ACCEPTCONN) for one in listeners):  # noqa: ASYNC110 (other processes listen)
            await asyncio.sleep(_MODELS)
        announce(self._listeners[0], self._keys, loading=False)
        self._announce_grpc()

    async def _drain_if_lost(self) -> None:
        """Drain once a GPU has failed for good: only a new process can use it."""
        await self.models.lost.wait()
        self._owner_side.update_queues()
        log.error(GPU_LOST)
        self._drain()


async def _repeat(update: Callable[[], None], seconds: float) -> None:
    while True:
        update()
        await asyncio.sleep(seconds)


def _map_floats(manifest: Manifest) -> int:
    """Return the floats of a map of this model and its cells at most; 0 of a ready graph."""
    if manifest.architecture is None or manifest.explanation is None:
        return 0
    side = manifest.architecture.side
    largest = max(side >> (int(layer[len("conv")]) - 1) for layer in manifest.explanation.layers)
    return largest**2 + (side >> 5) ** 2
