"""A cluster of Ray on this machine, and replicas whose device is a clock; run by a Python that has Ray.

python -m tests.ray_cluster 2    starts so many nodes of one CPU, prints the address, and ends with its input.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from fastapi import FastAPI
from ray.cluster_utils import Cluster

from app.service.logs import configure_logs
from app.service.ray import replica_app
from app.service.settings import Settings
from tests.instant import InstantSession

STORE = 80_000_000
"""Bytes of a node's object store, in which nothing is ever put."""
RUN_SECONDS = 0.1


class ClockSession(InstantSession):
    """A device whose run takes 100 ms and no processor, one batch at a time."""

    @property
    def lanes(self) -> list[tuple[Any, None]]:
        return [(self.run, None)]

    def run(self, batch):
        time.sleep(RUN_SECONDS)
        return super().run(batch)


def build_clock() -> FastAPI:
    """Build a replica whose device is a clock."""
    return replica_app(_settings(), ClockSession)  # type: ignore[arg-type] # a fake


def build_instant() -> FastAPI:
    """Build a replica whose runs take no time."""
    return replica_app(_settings(), InstantSession)  # type: ignore[arg-type] # a fake


def _settings() -> Settings:
    configure_logs("warning", "json")
    return Settings()


@contextmanager
def cluster(nodes: int, cpus: int) -> Iterator[Cluster]:
    """Start nodes that know each other, and stop them at the end; Ray has no cluster on the loopback address."""
    os.environ |= {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",  # the only proxy is on the first node
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    started = Cluster(shutdown_at_exit=True)
    try:
        for _ in range(nodes):
            add_node(started, cpus)
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


def add_node(started: Cluster, cpus: int) -> Any:
    """Start one more node, the first is the head."""
    return started.add_node(
        num_cpus=cpus,
        object_store_memory=STORE,
        include_dashboard=False,
        include_log_monitor=False,
    )


if __name__ == "__main__":
    with cluster(int(sys.argv[1]), 1) as running:
        sys.stdout.write(f"{running.address}\n")
        sys.stdout.flush()
        sys.stdin.read()
