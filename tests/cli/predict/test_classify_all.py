"""All files, their results and the end."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from app.cli.files import File, Trouble
from app.cli.predict.classify_all import Nothing, classify_all
from app.cli.predict.progress import Report
from app.cli.predict.result import FileResult
from app.setup_errors import SetupError


class FakeSource:
    """Classifies in a second; records that it was closed. Files `bad`, `skip` and `end` are special."""

    ahead = 3

    def __init__(self) -> None:
        self.closed = 0

    async def classify(self, file: File) -> FileResult:
        await asyncio.sleep(1)
        match file.path.stem:
            case "end":
                raise SetupError("Nothing goes on.")
            case "bad" | "skip" as name:
                return FileResult(file.path, trouble=Trouble(name, name, skipped=name == "skip"))
        return FileResult(file.path)

    def waiting_for(self) -> str:
        return ""

    async def close(self) -> None:
        self.closed += 1


class FakeWriter:
    """Records results; its reader leaves after `most` of them."""

    def __init__(self, most: int = 99) -> None:
        self.names: list[str] = []
        self.most = most

    def write(self, result: FileResult) -> None:
        if len(self.names) == self.most:
            raise BrokenPipeError
        self.names.append(result.path.stem)


@pytest.fixture
def classify(turned):
    """Classify files by name; return what was shown at the end."""

    def classify(names, source, writer, stop_after=None, raises=None):
        console = Console(file=io.StringIO(), width=200)
        report = Report(console, len(names), bar=False)
        files = [File(Path(f"{name}.jpg")) for name in names]

        async def main():
            task = asyncio.create_task(classify_all(source, files, writer, report))
            if stop_after is not None:
                asyncio.get_running_loop().call_later(stop_after, task.cancel)
            await task

        if raises is None:
            turned(main())
        else:
            with pytest.raises(raises):
                turned(main())
        return console.file.getvalue()  # type: ignore[attr-defined]

    return classify


def test_one_failure_ends_nothing(classify):
    """It is written in its place; what is skipped is only counted."""
    source, writer = FakeSource(), FakeWriter()
    shown = classify(["a", "bad", "skip", "b"], source, writer)

    assert ["a", "bad", "b"] == writer.names
    assert shown.startswith("2 classified, 1 failed, 1 skipped")
    assert 1 == source.closed


def test_an_interrupt_ends_with_the_summary_so_far(classify):
    """Ctrl-C cancels; the results up to then are written and counted."""
    source, writer = FakeSource(), FakeWriter()
    names = [str(number) for number in range(99)]
    shown = classify(names, source, writer, stop_after=2.5, raises=asyncio.CancelledError)

    assert names[: len(writer.names)] == writer.names
    assert shown.startswith(f"stopped: {len(writer.names)} classified")
    assert 1 == source.closed


def test_a_reader_that_leaves_ends_it_quietly(classify):
    """Nothing is said: whoever typed `head` knows."""
    source = FakeSource()
    shown = classify(
        [str(number) for number in range(9)], source, FakeWriter(2), raises=BrokenPipeError
    )

    assert not shown
    assert 1 == source.closed


def test_an_error_of_all_files_ends_with_the_summary_so_far(classify):
    """What was classified before stays."""
    source, writer = FakeSource(), FakeWriter()
    shown = classify(["a", "b", "end", "c", "d"], source, writer, raises=SetupError)

    assert ["a", "b"] == writer.names
    assert shown.startswith("stopped: 2 classified")
    assert 1 == source.closed


def test_without_any_photo_each_trouble_is_told(classify, tmp_path):
    """No model is needed for that."""
    (tmp_path / "text.jpg").write_text("text")
    writer = FakeWriter()
    classify([tmp_path / "text"], Nothing(), writer)

    assert ["text"] == writer.names
