"""What a run comes to: counts, latencies, batch sizes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from app.bench.latency import Latency, combine_latencies, latency_of, median_known
from app.bench.loops import Run, Sample

LATE: Final = 0.005
"""Seconds; a request sent later than this after it was due counts as late."""
REFUSALS: Final = frozenset({429, 503})
"""What a server says that is busy, as opposed to one that is broken."""
OK: Final = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, or the median of several: then counts are sums, and all else is medians.

    Attributes:
        seconds: What was counted.
        interrupted: Whether it ended before its time.
        offered: Requests that began, or should have, per second.
        goodput: Answers 200 that came in this time, per second.
        goodput_lowest: Of the runs.
        goodput_highest: Of the runs.
        answered: Latency of 200s, from when they were due.
        refused: Latency of 429s and 503s, from when they were due.
        codes: Answers by HTTP status.
        failures: Requests without an answer, by reason.
        details: Begin of the first body, by HTTP status other than 200.
        retry_after: Shortest and longest Retry-After (seconds).
        retried: Requests sent twice, as the server had closed their idle connection.
        requests: Those that were sent.
        late: Of them, sent more than 5 ms after they were due.
        lag: How late they were sent (milliseconds); part of the latencies above.
        not_sent: Due while too many were in flight.
        unfinished: Left behind by Ctrl-C.
        batch_sizes: Answers 200 by the size of the batch that they shared.
        mean_batch_size: As those requests saw it.
        per_second: Answers 200 in each second; of single runs only.
        cpu_per_request: Processor time of the generator (microseconds).
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


def summarise(run: Run) -> Summary:
    """Count what belongs to the time that counts.

    Latencies are of the requests that were due in it, whenever their answers came; goodput
    is of the answers that came in it, whenever they were due.
    """
    begin, end = run.counted_from, run.counted_to
    seconds = max(0.0, end - begin)
    mine = [sample for sample in run.samples if begin <= sample.due < end]
    answered = [s for s in mine if _status(s) == OK]
    refused = [s for s in mine if _status(s) in REFUSALS]
    per_second = _per_second(run)
    goodput = _ratio(sum(per_second), seconds) or 0.0
    not_sent = sum(begin <= due < end for due in run.not_sent)
    batches = [s.outcome.answer.batch_size for s in answered if s.outcome.answer]
    batches = [size for size in batches if size]
    answers = [s.outcome.answer for s in mine if s.outcome.answer]
    waits = [answer.retry_after for answer in answers if answer.retry_after is not None]
    details: dict[str, str] = {}
    for answer in answers:
        if answer.status != OK:
            details.setdefault(str(answer.status), answer.detail)
    return Summary(
        seconds=seconds,
        interrupted=run.interrupted,
        offered=_ratio(len(mine) + not_sent + run.in_flight, seconds) or 0.0,
        goodput=goodput,
        goodput_lowest=goodput,
        goodput_highest=goodput,
        answered=latency_of(s.outcome.ended - s.due for s in answered),
        refused=latency_of(s.outcome.ended - s.due for s in refused),
        codes=_counts(answer.status for answer in answers),
        failures=_counts(s.outcome.failure for s in mine if s.outcome.failure),
        details=details,
        retry_after=(min(waits), max(waits)) if waits else None,
        retried=sum(s.outcome.retried for s in mine),
        requests=len(mine),
        late=sum(s.began - s.due > LATE for s in mine),
        lag=latency_of(s.began - s.due for s in mine),
        not_sent=not_sent,
        unfinished=run.in_flight,
        batch_sizes=_counts(batches),
        mean_batch_size=fmean(batches) if batches else None,
        per_second=per_second,
        cpu_per_request=_ratio(1e6 * run.cpu_seconds, len(run.samples)),
    )


def combine(runs: Sequence[Summary]) -> Summary:
    """Join the repeats of a load, at least one: counts are added, of all else the median."""
    return Summary(
        seconds=sum(run.seconds for run in runs),
        interrupted=any(run.interrupted for run in runs),
        offered=median(run.offered for run in runs),
        goodput=median(run.goodput for run in runs),
        goodput_lowest=min(run.goodput_lowest for run in runs),
        goodput_highest=max(run.goodput_highest for run in runs),
        answered=combine_latencies([run.answered for run in runs]),
        refused=combine_latencies([run.refused for run in runs]),
        codes=_sum([run.codes for run in runs]),
        failures=_sum([run.failures for run in runs]),
        details={code: text for run in reversed(runs) for code, text in run.details.items()},
        retry_after=_widest([run.retry_after for run in runs if run.retry_after]),
        retried=sum(run.retried for run in runs),
        requests=sum(run.requests for run in runs),
        late=sum(run.late for run in runs),
        lag=combine_latencies([run.lag for run in runs]),
        not_sent=sum(run.not_sent for run in runs),
        unfinished=sum(run.unfinished for run in runs),
        batch_sizes=_sum([run.batch_sizes for run in runs]),
        mean_batch_size=median_known([run.mean_batch_size for run in runs]),
        per_second=(),
        cpu_per_request=median_known([run.cpu_per_request for run in runs]),
    )


def _status(sample: Sample) -> int:
    return sample.outcome.answer.status if sample.outcome.answer else 0


def _per_second(run: Run) -> tuple[int, ...]:
    """Count the 200s of each second that counts; the last may be shorter than one."""
    ends = Counter(
        int(s.outcome.ended - run.counted_from)
        for s in run.samples
        if _status(s) == OK and run.counted_from <= s.outcome.ended < run.counted_to
    )
    length = run.counted_to - run.counted_from
    return tuple(ends[second] for second in range(-int(-length // 1))) if length > 0 else ()


def _counts(items: Iterable[object]) -> dict[str, int]:
    return _in_order(Counter(str(item) for item in items))


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return _in_order(total)


def _in_order(counts: Counter[str]) -> dict[str, int]:
    """Sort by key, numbers by what they are worth."""
    return dict(sorted(counts.items(), key=lambda item: (len(item[0]), item[0])))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _widest(ranges: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    if not ranges:
        return None
    return min(low for low, _ in ranges), max(high for _, high in ranges)
