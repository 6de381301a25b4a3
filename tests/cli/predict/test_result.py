"""What became of all files."""

from pathlib import Path

from app.cli.files import Trouble
from app.cli.predict.result import FileResult, Tally


def result(kind: str = "", *, skipped: bool = False) -> FileResult:
    return FileResult(Path("a"), trouble=Trouble(kind, "", skipped=skipped) if kind else None)


def test_files_are_counted_by_reason():
    """The most frequent reason is the first."""
    tally = Tally()
    for one in [result()] * 1000 + [result("empty")] + [result("HEIC is not supported")] * 2:
        tally.add(one)
    tally.add(result("hidden", skipped=True))

    assert "1,000 classified, 3 failed, 1 skipped in 2.0 s (500.0 per second)" == tally.line(2)
    assert ["failed: 2 HEIC is not supported; 1 empty", "skipped: 1 hidden"] == [*tally.reasons()]
    assert 1004 == tally.done


def test_reasons_are_few_and_harmless():
    """A server that gives every photo a title of its own fills neither memory nor terminal."""
    tally = Tally()
    for number in range(1000):
        tally.add(result(f"\x1b[31m{number}" + "x" * 1000))
    [line] = tally.reasons()

    assert len(tally.failed) <= 31
    assert "970 other reasons" in line
    assert line.isprintable()
