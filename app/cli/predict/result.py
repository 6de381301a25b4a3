"""What became of one file, and of all of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.cli.files import Trouble
from app.images.overlay import Marks
from app.records import ImageInfo, Prediction
from app.texts import printable

_MOST_KINDS: Final = 30
"""Kinds of trouble that are told apart: a server's titles are whatever it sends."""
_LONGEST_KIND: Final = 80


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file: predictions, image and model, or an error.

    Attributes:
        path: The file.
        predictions: Best first.
        image: Size and format.
        model: Name of the model.
        trained: False for untrained weights of the true size.
        precision: `int8`, whose answers differ from those of float32; mostly None.
        stands_in_for: The model that the server would have used, had it been there; mostly None.
        marks: Where its best class is in the photo; None if that was not asked, or nobody knows.
        overlay: The picture that was drawn of that.
        trouble: Why the file was not classified; None if it was.
    """

    path: Path
    predictions: tuple[Prediction, ...] = ()
    image: ImageInfo | None = None
    model: str | None = None
    trained: bool | None = None
    precision: str | None = None
    stands_in_for: str | None = None
    marks: Marks | None = None
    overlay: Path | None = None
    trouble: Trouble | None = None

    @property
    def error(self) -> str | None:
        """Return why the file failed; None if it did not."""
        return None if self.trouble is None else self.trouble.sentence

    @property
    def skipped(self) -> bool:
        """Return whether the file is only counted."""
        return self.trouble is not None and self.trouble.skipped


@dataclass(slots=True)
class Tally:
    """Counts what became of the files; failures and skipped files by their kind."""

    classified: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """Count all files so far."""
        return self.classified + self.failed.total() + self.skipped.total()

    def add(self, result: FileResult) -> None:
        """Count a file."""
        if result.trouble is None:
            self.classified += 1
            return
        kinds = self.skipped if result.trouble.skipped else self.failed
        kind = printable(result.trouble.kind.rstrip("."))[:_LONGEST_KIND]
        kinds[kind if kind in kinds or len(kinds) < _MOST_KINDS else "other reasons"] += 1

    def line(self, seconds: float) -> str:
        """Return one line that counts what was done in these seconds."""
        rate = self.classified / seconds if seconds > 0 else 0.0
        return (
            f"{self.classified:,} classified, {self.failed.total():,} failed,"
            f" {self.skipped.total():,} skipped in {seconds:,.1f} s ({rate:,.1f} per second)"
        )

    def reasons(self) -> Iterator[str]:
        """Yield a line for the failures and one for the skipped files, if there are any."""
        for name, kinds in (("failed", self.failed), ("skipped", self.skipped)):
            if kinds:
                counts = "; ".join(f"{number:,} {kind}" for kind, number in kinds.most_common())
                yield f"{name}: {counts}"
