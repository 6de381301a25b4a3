"""All other messages between a front process and the owner: JSON, one object per line."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from app.serving.batching.costs import BatchPolicy, RunCost
from app.serving.hosted_models import HostedModel
from app.web.keys import MOST_BYTES
from app.weights.calibration.agreement import Agreement

_LONGEST: Final = 2 * MOST_BYTES
"""Bytes per line; the API keys are the longest message, escaped as JSON."""
_LOADED: Final = (
    *("device", "weights_sha256", "trained", "graph", "precision", "devices", "convolutions"),
)


class MessageChannel:
    """One end of the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, connection: socket.socket) -> "MessageChannel":
        """Connect to the other process."""
        return cls(*await asyncio.open_unix_connection(sock=connection, limit=_LONGEST))

    def send(self, topic: str, **content: Any) -> None:  # noqa: ANN401 (whatever JSON holds)
        """Send a message, unless the other process has gone."""
        if not self._writer.is_closing():  # uvloop raises
            self._writer.write(json.dumps({"topic": topic, **content}).encode() + b"\n")

    async def received(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the messages that come in, until the other process has gone."""
        with suppress(OSError):  # reset by a process that was killed
            async for line in self._reader:
                if line.endswith(b"\n"):  # else the process ended in the middle of it
                    yield json.loads(line)

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


def encode_model(model: HostedModel) -> dict[str, Any]:
    """Return how far a model is; and once it is ready, what the fronts do not know of it."""
    loaded = model.loaded
    state: dict[str, Any] = {"state": model.state, "progress": model.progress, "loaded": None}
    if loaded is not None:
        state["loaded"] = {name: getattr(loaded, name) for name in _LOADED}
        state["loaded"]["policy"] = asdict(loaded.queue.policy)
        state["loaded"]["agreement"] = loaded.agreement and asdict(loaded.agreement)
    return state


def decode_agreement(agreement: dict[str, Any] | None) -> Agreement | None:
    """Return how far an encoded model agrees with float32, if it is of int8."""
    return Agreement(**agreement) if agreement else None


def decode_policy(policy: dict[str, Any]) -> BatchPolicy:
    """Return the policy of an encoded model."""
    costs = {name: _decode_cost(policy[name]) for name in ("cost", "explaining")}
    return BatchPolicy(**policy | costs | {"sizes": tuple(policy["sizes"])})


def _decode_cost(cost: dict[str, Any] | None) -> RunCost | None:
    if cost is None:
        return None
    measured = tuple((size, least) for size, least in cost["measured"])
    return RunCost(**cost | {"measured": measured})
