"""Classify every file, write its result, count it, and say at the end what became of all."""

import asyncio
from collections.abc import Iterable
from typing import Protocol

from app.cli.files import File, Trouble, TroubleError, open_photo
from app.cli.predict.progress import Report
from app.cli.predict.result import FileResult
from app.cli.predict.writers import Writer
from app.client.order import in_order


class Source(Protocol):
    """What classifies files: a model here, or a server.

    Attributes:
        ahead: Files to work on at a time.
    """

    ahead: int

    async def classify(self, file: File) -> FileResult:
        """Return what became of a file; raise what would become of all others, too."""

    def waiting_for(self) -> str:
        """Say in a few words why nothing happens; nothing if something does."""

    async def close(self) -> None:
        """End it."""


class Nothing:
    """Stands in for a model where no file is a photo, and says why each is none."""

    ahead = 1

    async def classify(self, file: File) -> FileResult:
        """Return the trouble with a file."""
        try:
            (await asyncio.to_thread(open_photo, file)).close()
        except TroubleError as exc:
            return FileResult(file.path, trouble=exc.trouble)
        sentence = "The file was no photo a moment ago. Try again."
        return FileResult(file.path, trouble=Trouble("changed meanwhile", sentence))

    def waiting_for(self) -> str:
        """Return nothing."""
        return ""

    async def close(self) -> None:
        """Do nothing."""


async def classify_all(
    source: Source, files: Iterable[File], writer: Writer, report: Report
) -> None:
    """Classify files, several at a time, and write the results in the order of the files.

    The summary comes at the end, also if Ctrl-C or an error ends it early, but not if nobody reads
    the results any more.
    """
    results = in_order(source.classify, files, source.ahead)
    finished = False
    try:
        async with report:
            async for result in results:
                if not result.skipped:
                    writer.write(result)
                report.add(result)
        finished = True
    except BrokenPipeError:
        report.hush()
        raise
    finally:
        await results.aclose()
        await source.close()
        report.summarise(stopped=not finished)
