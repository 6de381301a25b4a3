"""A rolling upgrade as Kubernetes does it: `python -m tests.rolling_cluster [UPGRADES] [LAG] [DELAY]`.

It stands for what could not be tried, a cluster: two replicas with the settings of
docker/kubernetes/base behind a relay of connections, as a Service is. For each pod of an upgrade a
new one starts, is probed as its readinessProbe says, and gets connections LAG seconds later; then
the old one gets SIGTERM, and connections for LAG seconds more (3 by default), as it does until
each node has heard. Four clients post all the time, two of them in one connection as long as
it lasts, and every answer is printed. DELAY in place of VGG_DRAIN_DELAY_MS shows what that is for.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx
import yaml

from tests.conftest import REPOSITORY, png, write_colours
from tests.nginx import free_ports

_BASE: Final = REPOSITORY / "docker" / "kubernetes" / "base"
_REPLICAS: Final = 2


class Service:
    """Relays each connection to one of the endpoints, whichever; nothing is tried twice."""

    def __init__(self) -> None:
        self.endpoints: list[int] = []
        self.address = ""

    async def open(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", random.choice(self.endpoints))
        except OSError:
            writer.transport.abort()  # as a closed port of a pod
            return
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def start(port: int, models: Path, delay_ms: str) -> asyncio.subprocess.Process:
    """Start a pod's container with the settings of the base, but for its places and its model."""
    lines = (_BASE / "settings.env").read_text().split()
    settings = dict(line.split("=", 1) for line in lines)
    settings |= {"VGG_HOST": "127.0.0.1", "VGG_PORT": str(port), "VGG_MODELS": "colours"}
    settings |= {"VGG_MODEL_DIR": str(models), "VGG_CACHE_DIR": str(models / "serving")}
    settings |= {"VGG_LOG_LEVEL": "error"}
    settings |= {"VGG_DRAIN_DELAY_MS": delay_ms} if delay_ms else {}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("VGG_")}
    command = (sys.executable, "-m", "app", "serve")
    return await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, env=kept | settings)


async def probed(port: int) -> None:
    """Ask as the readinessProbe does, until the answer is 200."""
    deployment = yaml.safe_load((_BASE / "deployment.yaml").read_text())
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    probe = container["readinessProbe"]
    async with httpx.AsyncClient() as client:
        while True:
            with suppress(httpx.TransportError):
                url = f"http://127.0.0.1:{port}{probe['httpGet']['path']}"
                if (await client.get(url)).is_success:
                    return
            await asyncio.sleep(probe["periodSeconds"])


async def post(service: Service, counts: Counter[str], over: asyncio.Event, *, keep: bool) -> None:
    """Post photos without a pause, in one connection as long as it lasts or in one each."""
    limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        while not over.is_set():
            try:
                answer = await client.post(f"{service.address}/predict", content=png())
                counts[str(answer.status_code)] += 1
            except httpx.TransportError as exc:
                counts[type(exc).__name__] += 1


async def upgrade(models: Path, upgrades: int, lag: float, delay_ms: str) -> Counter[str]:
    """Replace both replicas `upgrades` times under load; count the answers."""
    service, counts, over = Service(), Counter[str](), asyncio.Event()
    pods: dict[int, asyncio.subprocess.Process] = {}

    async def add() -> None:
        [port] = free_ports(1)
        pods[port] = await start(port, models, delay_ms)
        await probed(port)
        await asyncio.sleep(lag)
        service.endpoints.append(port)

    try:
        for _ in range(_REPLICAS):
            await add()
        async with await service.open(), asyncio.TaskGroup() as clients:
            for number in range(4):
                clients.create_task(post(service, counts, over, keep=number % 2 == 0))
            for _ in range(upgrades * _REPLICAS):
                old = service.endpoints[0]
                await add()  # maxSurge 1, maxUnavailable 0
                pods[old].send_signal(signal.SIGTERM)
                asyncio.get_running_loop().call_later(lag, service.endpoints.remove, old)
                await pods.pop(old).wait()
                await asyncio.sleep(lag)
            over.set()
    finally:
        for pod in pods.values():
            pod.terminate()
            await pod.wait()
    return counts


if __name__ == "__main__":
    given = [*sys.argv[1:], "", "", ""][:3]
    with tempfile.TemporaryDirectory() as name:
        write_colours(Path(name))
        pause = float(given[1] or 3)
        answers = asyncio.run(upgrade(Path(name), int(given[0] or 3), pause, given[2]))
    sys.stdout.write(f"{answers.total()} photos: {dict(answers)}\n")
