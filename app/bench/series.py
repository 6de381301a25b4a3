"""A whole measurement: in each round session.run alone, then every load."""

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from app.bench.client import OK, Client, Outcome
from app.bench.loops import Load, Plan, run_load
from app.bench.progress import LiveProgress
from app.bench.raw import Round
from app.bench.summary import REFUSALS, Summary, summarise
from app.bench.target import Target
from app.outgoing.proxies import unused_proxy
from app.setup_errors import SetupError

if sys.platform == "win32":  # where there is no uvloop
    _new_event_loop = asyncio.new_event_loop
else:
    from uvloop import new_event_loop as _new_event_loop

_UNAUTHORIZED: Final = 401
_KEY_HINT: Final = ". Give its API key with --key KEY, or in the variable VGG_API_KEY"


@dataclass(slots=True)
class Series:
    """What was measured: the runs of each load, and the rounds of session.run."""

    served: dict[Load, list[Summary]] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    interrupted: bool = False


def measure(
    plan: Plan, target: Target | None, raw: Callable[[], Round] | None, progress: LiveProgress
) -> Series:
    """Measure all loads and session.run alone, interleaved; Ctrl-C keeps what was measured so far.

    Without a target only session.run is timed, by `raw`, once per round while the server is idle.
    """
    series = Series()
    try:
        with asyncio.Runner(loop_factory=_new_event_loop) as runner:
            if target is not None:
                target = runner.run(find_target(target, plan.timeout))
            for repeat in range(1, plan.repeats + 1):
                of = f"{repeat}/{plan.repeats}"
                if raw is not None:
                    progress.part(f"{of} session.run alone", None)
                    series.rounds.append(raw())
                if target is None:
                    continue
                for load in plan.loads:
                    progress.part(f"{of} {load.label}", plan.warmup + plan.seconds)
                    run = runner.run(run_load(load, plan, target, progress.tick))
                    summary = summarise(run)
                    if summary.requests or not run.interrupted:
                        series.served.setdefault(load, []).append(summary)
                    if run.interrupted:
                        raise KeyboardInterrupt  # noqa: TRY301 (ends like Ctrl-C between runs)
    except KeyboardInterrupt:
        series.interrupted = True
    return series


async def find_target(target: Target, timeout: float) -> Target:  # noqa: ASYNC109 (seconds per address)
    """Resolve the server's name and return the target with the first address that answers."""
    where = f"http://{target.host}:{target.port}{target.path}"
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise SetupError(
            f"Unknown host {target.host}: {exc}. Check the URL.{unused_proxy(where)}"
        ) from exc
    outcome = Outcome(0, "it has no address")
    for address in dict.fromkeys(str(info[4][0]) for info in found):
        client = Client(address, target.port, timeout)
        outcome = await client.post(target.requests[0])
        client.close()
        if outcome.status in {OK, *REFUSALS}:
            return replace(target, host=address)
        if outcome.status:
            hint = _KEY_HINT if outcome.status == _UNAUTHORIZED else ""
            raise SetupError(
                f"{where} answers {outcome.status} to a picture{hint}: {outcome.detail}"
            )
    raise SetupError(
        f"No answer from {where}: {outcome.failure}. Is the server running there?"
        f"{unused_proxy(where)}"
    )
