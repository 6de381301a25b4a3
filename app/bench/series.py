"""A whole measurement: every load in turn, the limit before each round, and again."""

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from app.bench.client import Lane, Outcome
from app.bench.connection import Answer
from app.bench.loops import Run, run_load
from app.bench.plan import Load, Plan
from app.bench.summary import OK, REFUSALS, Summary, combine, summarise
from app.bench.target import Target
from app.errors import SetupError

_REFUSED: Final = "connection refused"


class Watch(Protocol):
    """Told how far a measurement is."""

    def part(self, title: str, seconds: float | None) -> None:
        """Begin a part that takes so many seconds, if that is known."""

    def tick(self, run: Run) -> None:
        """Look at a run that goes on."""


@dataclass(slots=True)
class Series:
    """What was measured.

    Attributes:
        served: Each load with its runs.
        rounds: Images per second of session.run alone, by batch size; one a round.
        interrupted: Whether Ctrl-C ended it early.
    """

    served: dict[Load, list[Summary]] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False

    def points(self) -> dict[Load, Summary]:
        """Return the median of each load."""
        return {load: combine(runs) for load, runs in self.served.items()}


def measure(
    plan: Plan, target: Target | None, raw: Callable[[], dict[str, float]] | None, watch: Watch
) -> Series:
    """Measure all there is to measure, sides interleaved; Ctrl-C keeps what there is.

    Args:
        plan: Which loads, and how often.
        target: Whom to put them on; None for the limit alone.
        raw: Measures a round of the limit, while the server is idle; None to leave it out.
        watch: Told how far it is.

    Raises:
        SetupError: If nobody answers, or with an error.
    """
    series = Series()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            found = runner.run(find_target(target, plan.timeout)) if target else None
            for repeat in range(1, plan.repeats + 1):
                of = f"{repeat}/{plan.repeats}"
                if raw is not None:
                    watch.part(f"{of} session.run alone", None)
                    series.rounds.append(raw())
                if found is None:
                    continue
                for load in plan.loads:
                    watch.part(f"{of} {load.label}", plan.warmup + plan.seconds)
                    run = runner.run(_run(load, plan, found, watch))
                    summary = summarise(run)
                    if summary.requests or not run.interrupted:
                        series.served.setdefault(load, []).append(summary)
                    if run.interrupted:
                        raise KeyboardInterrupt  # noqa: TRY301 (the same end as between runs)
    except KeyboardInterrupt:
        series.interrupted = True
    return series


async def find_target(target: Target, patience: float) -> Target:
    """Look its name up, ask each of its addresses once, and take the first that answers.

    Args:
        target: Its host may be a name.
        patience: Seconds for an answer.

    Raises:
        SetupError: If none does, or the answer is neither a 200 nor a refusal.
    """
    where = f"http://{target.host}:{target.port}{target.path}"
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise SetupError(f"{target.host} is not known: {exc}") from exc
    addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    outcome = Outcome(0, None, _REFUSED)
    for address in addresses:
        lane = Lane(address, target.port, patience)
        outcome = await lane.ask(target.requests[0])
        lane.close()
        if outcome.answer is not None:
            _check(where, outcome.answer)
            return replace(target, host=address)
    raise SetupError(f"Nobody answers at {where}: {outcome.failure}.")


def _check(where: str, answer: Answer) -> None:
    if answer.status != OK and answer.status not in REFUSALS:
        raise SetupError(f"{where} answers {answer.status} to a picture: {answer.detail}")


async def _run(load: Load, plan: Plan, target: Target, watch: Watch) -> Run:
    """Run a load; Ctrl-C ends it early."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread, no signals
        loop.add_signal_handler(signal.SIGINT, stop.set)
    try:
        return await run_load(load, plan, target, stop=stop, watch=watch.tick)
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGINT)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Take uvloop where there is one."""
    try:
        import uvloop  # noqa: PLC0415 (there is none for Windows)
    except ImportError:
        return None
    return uvloop.new_event_loop
