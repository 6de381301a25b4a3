"""Compare an overloaded service by protocol: `.venv/bin/python -m tests.measure_oip`.

The same pictures go to POST /predict and to POST /v2/models/NAME/infer, in turns, at once the capacity and at ten times
that. The model and MEASURE_SECONDS are those of tests.measure_overload.
"""

import time
from statistics import median

from app.bench.loops import Closed, Open
from app.bench.target import Target, make_pictures, make_target
from app.web.protocols.oip.request import HEAD_LENGTH
from tests.measure_overload import (
    CONNECTIONS,
    MODEL,
    ROUNDS,
    SECONDS,
    load_it,
    quantile,
    say,
    served,
    server_of,
    status,
)

FACTORS = (1, 10)


def main() -> None:
    """Print what each protocol gets of the same service."""
    with server_of() as server:
        pictures = make_pictures("500x375:6")
        raw = f"{HEAD_LENGTH}: 0"  # the body is the photo, as it is for /predict
        targets = {
            "/predict": make_target(server.url, pictures, field=""),
            "infer": make_target(
                server.url, pictures, field="", path=f"/v2/models/{MODEL}/infer", headers=[raw]
            ),
        }
        busy = load_it(targets["/predict"], Closed(CONNECTIONS), 15)
        rate = len(served(busy)) / 15
        say(f"{MODEL}: {rate:.1f}/s with {CONNECTIONS} connections")
        say("to", "load", "200/s", "p50 ms", "p99 ms", "503/s", "503 p99", "other")
        goodput: dict[tuple[str, int], list[float]] = {}
        for _ in range(ROUNDS):
            for name, target in targets.items():
                for factor in FACTORS:
                    found = once(name, target, factor, rate)
                    goodput.setdefault((name, factor), []).append(found)
        for factor in FACTORS:
            ratios = [
                ours / theirs
                for ours, theirs in zip(
                    goodput["infer", factor], goodput["/predict", factor], strict=True
                )
            ]
            listed = ", ".join(f"{one:.3f}" for one in ratios)
            say(
                f"{factor}x: goodput of infer over that of /predict {median(ratios):.3f} ({listed})"
            )


def once(name: str, target: Target, factor: int, rate: float) -> float:
    """Print a line and return its goodput."""
    seconds = SECONDS / ROUNDS
    run = load_it(target, Open(factor * rate), seconds)
    counted = [s for s in run.samples if run.counted_from <= s.due < run.counted_to]
    good, refused = ([s for s in counted if status(s) == code] for code in ("200", "503"))
    time.sleep(2)  # until the queue is empty
    other = len(counted) - len(good) - len(refused) + len(run.not_sent)
    say(
        *(name, f"{factor}x", f"{len(served(run)) / seconds:.1f}"),
        *(quantile(good, 500), quantile(good, 990)),
        *(f"{len(refused) / seconds:.1f}", quantile(refused, 990), other),
    )
    return len(served(run)) / seconds


if __name__ == "__main__":
    main()
