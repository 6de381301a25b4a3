"""The figures of a run: counts, latencies, batch sizes; and of the repeats of a load."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from statistics import fmean, median
from typing import Any, Final

from app.bench.client import OK
from app.bench.loops import LoadRun

LATE: Final = 0.005
"""Seconds; a request that is sent later than this after it was due counts as late."""
REFUSALS: Final = frozenset({429, 503})
"""Answers of a busy server, as opposed to a broken one."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of one kind of answer (milliseconds); None where there are too few samples."""

    samples: int
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    p999: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, or several of the same load: then counts are sums, and everything else is medians.

    Attributes:
        seconds: Time that counts, without the warm-up.
        offered: Requests per second that were due.
        goodput: Answers 200 per second that arrived in this time.
        answered: Latency of 200s, from when they were due.
        refused: Latency of 429s and 503s, from when they were due.
        codes: Answers by HTTP status.
        failures: Requests without an answer, by reason.
        details: Start of the first body, by HTTP status other than 200.
        retry_after: Shortest and longest Retry-After (seconds).
        retried: Requests sent twice, because the server had closed their idle connection.
        late: Requests that were sent more than 5 ms after they were due.
        lag: How late requests were sent (milliseconds); part of the latencies above.
        not_sent: Requests that were due while too many were in flight.
        unfinished: Requests abandoned by Ctrl-C.
        batch_sizes: Answers 200 by the size of their batch.
        mean_batch_size: Mean over these answers.
        per_second: Answers 200 in each second, of single runs only.
        cpu_per_request: Processor time of the generator per request (microseconds).
    """

    seconds: float
    interrupted: bool
    offered: float
    goodput: float
    goodput_lowest: float
    goodput_highest: float
    answered: Latency
    refused: Latency
    codes: dict[str, int]
    failures: dict[str, int]
    details: dict[str, str]
    retry_after: tuple[float, float] | None
    retried: int
    requests: int
    late: int
    lag: Latency
    not_sent: int
    unfinished: int
    batch_sizes: dict[str, int]
    mean_batch_size: float | None
    per_second: tuple[int, ...]
    cpu_per_request: float | None


def summarise(run: LoadRun) -> Summary:
    """Summarise the time that counts.

    Latencies are those of requests that were due in it, whenever they were answered; goodput
    counts the answers that arrived in it, whenever they were due.
    """
    begin, end = run.counted_from, run.counted_to
    seconds = max(0.0, end - begin)
    due = [sample for sample in run.samples if begin <= sample.due < end]
    answers = [s.outcome for s in due if s.outcome.status]
    answered = [s for s in due if s.outcome.status == OK]
    refused = [s for s in due if s.outcome.status in REFUSALS]
    per_second = _per_second(run)
    goodput = _ratio(sum(per_second), seconds) or 0.0
    not_sent = sum(begin <= moment < end for moment in run.not_sent)
    batches = [s.outcome.batch_size for s in answered if s.outcome.batch_size]
    waits = [answer.retry_after for answer in answers if answer.retry_after is not None]
    return Summary(
        seconds=seconds,
        interrupted=run.interrupted,
        offered=_ratio(len(due) + not_sent + run.in_flight, seconds) or 0.0,
        goodput=goodput,
        goodput_lowest=goodput,
        goodput_highest=goodput,
        answered=latency_of(s.outcome.ended - s.due for s in answered),
        refused=latency_of(s.outcome.ended - s.due for s in refused),
        codes=_in_order(Counter(str(answer.status) for answer in answers)),
        failures=_in_order(Counter(s.outcome.failure for s in due if s.outcome.failure)),
        details={str(a.status): a.detail for a in reversed(answers) if a.status != OK},
        retry_after=(min(waits), max(waits)) if waits else None,
        retried=sum(s.outcome.retried for s in due),
        requests=len(due),
        late=sum(s.began - s.due > LATE for s in due),
        lag=latency_of(s.began - s.due for s in due),
        not_sent=not_sent,
        unfinished=run.in_flight,
        batch_sizes=_in_order(Counter(map(str, batches))),
        mean_batch_size=fmean(batches) if batches else None,
        per_second=per_second,
        cpu_per_request=_ratio(1e6 * run.cpu_seconds, len(run.samples)),
    )


def combine(runs: Sequence[Summary]) -> Summary:
    """Join the repeats of a load, at least one."""
    waits = [seconds for run in runs for seconds in run.retry_after or ()]
    own: dict[str, Any] = {
        "seconds": sum(run.seconds for run in runs),
        "goodput_lowest": min(run.goodput_lowest for run in runs),
        "goodput_highest": max(run.goodput_highest for run in runs),
        "details": {code: text for run in reversed(runs) for code, text in run.details.items()},
        "retry_after": (min(waits), max(waits)) if waits else None,
        "per_second": (),
    }
    names = [field.name for field in fields(Summary)]
    joined = {name: join([getattr(run, name) for run in runs]) for name in names if name not in own}
    return Summary(**joined, **own)


def join(values: Sequence[Any]) -> Any:  # noqa: ANN401 (returns the type that it is given)
    """Join one figure of several runs: counts are added, of others the median of the known ones."""
    match values[0]:
        case bool():
            return any(values)
        case int():
            return sum(values)
        case dict():
            return _in_order(sum(map(Counter, values), Counter()))
        case Latency():
            samples, *figures = zip(*map(astuple, values), strict=True)
            return Latency(sum(samples), *map(_median_known, figures))
    return _median_known(values)


def _median_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def percentile(ordered: Sequence[float], permille: int) -> float | None:
    """Return the smallest sample that so many of a thousand (1 to 999) do not exceed.

    None if there are too few samples, which ascend: 99.9 % takes 1000 of them, 99 % takes 100.
    """
    if len(ordered) * (1000 - permille) < 1000:  # noqa: PLR2004 (per mille)
        return None
    return ordered[-(-len(ordered) * permille // 1000) - 1]


def latency_of(seconds: Iterable[float]) -> Latency:
    """Return the percentiles of latencies in seconds."""
    ordered = sorted(1000 * one for one in seconds)
    p50, p90, p99, p999 = (percentile(ordered, permille) for permille in (500, 900, 990, 999))
    return Latency(len(ordered), p50, p90, p99, p999, ordered[-1] if ordered else None)


def _per_second(run: LoadRun) -> tuple[int, ...]:
    """Count the 200s of each second that counts; the last second may be shorter."""
    ends = Counter(
        int(s.outcome.ended - run.counted_from)
        for s in run.samples
        if s.outcome.status == OK and run.counted_from <= s.outcome.ended < run.counted_to
    )
    length = run.counted_to - run.counted_from
    return tuple(ends[second] for second in range(-int(-length // 1))) if length > 0 else ()


def _in_order(counts: Counter[str]) -> dict[str, int]:
    """Sort by key; numbers by value."""
    return dict(sorted(counts.items(), key=lambda item: (len(item[0]), item[0])))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
