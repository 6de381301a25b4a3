"""How results are written: tables for people, JSON lines and CSV for programs."""

import csv
import json
import os
import sys
from dataclasses import asdict
from typing import Final, Protocol, TextIO

from rich.markup import escape

from app.cli.console import err, out, predictions_table
from app.cli.predict.result import FileResult
from app.setup_errors import SetupError
from app.texts import name_of, printable

_FORMULA: Final = tuple("=+-@\t\r＝＋－＠")  # noqa: RUF001 (Excel takes the wide ones, too)
"""Beginnings of a cell that a spreadsheet may run; https://owasp.org/www-community/attacks/CSV_Injection."""


class Writer(Protocol):
    """Writes one result after the other; those of skipped files are not given to it."""

    def write(self, result: FileResult) -> None:
        """Write a result, now: whoever reads gets each as soon as it is known."""


class Tables:
    """A table for each photo on standard output, an error on standard error."""

    def write(self, result: FileResult) -> None:
        """Write a result."""
        name = name_of(result.path)
        if result.error is not None:
            text = f"[bold red]{escape(printable(name))}:[/] {escape(printable(result.error))}"
            err.print(text, soft_wrap=True)
            return
        note = "  (UNTRAINED)" if result.trained is False else ""
        if result.precision is not None:
            note += f"  ({result.precision})"
        if result.stands_in_for is not None:
            note += f"  ({result.model} stands in for {result.stands_in_for})"
        with out.capture() as table:
            out.print(predictions_table(f"{name}{note}", result.predictions))
        drawn = f"    drawn in {printable(name_of(result.overlay))}\n" if result.overlay else ""
        _write(sys.stdout, table.get() + drawn)


class JsonLines:
    """One JSON object a line."""

    def write(self, result: FileResult) -> None:
        """Write a result."""
        row = {
            "file": name_of(result.path),
            "model": result.model,
            "trained": result.trained,
            **({"precision": result.precision} if result.precision else {}),
            **({"stands_in_for": result.stands_in_for} if result.stands_in_for else {}),
            "predictions": [asdict(prediction) for prediction in result.predictions],
            "image": asdict(result.image) if result.image else None,
            **({"overlay": name_of(result.overlay)} if result.overlay else {}),
            "error": result.error,
        }
        _write(sys.stdout, json.dumps(row) + "\n")


class Csv:
    """One row a file, in UTF-8, as RFC 4180 has it.

    Spreadsheets run cells that begin with =, +, - or @ as formulas. A file name gets `./` before
    it then, which names the same file; any other text gets an apostrophe.
    """

    def __init__(self, top_k: int) -> None:
        """Write the header, with the columns of so many classes."""
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", newline="")
        self._top_k = top_k
        self._rows = csv.writer(_Text())
        columns = [f"{name}_{rank}" for rank in range(1, top_k + 1)
                   for name in ("label", "probability", "wnid", "class_index")]  # fmt: skip
        self._rows.writerow(["file", "model", "trained", *columns, "error"])

    def write(self, result: FileResult) -> None:
        """Write a result."""
        name = name_of(result.path)
        if sys.stdout.isatty():
            name = printable(name)
        trained = "" if result.trained is None else str(result.trained).lower()
        cells = [cell for one in result.predictions[: self._top_k]
                 for cell in (_text(one.label), str(one.probability), _text(one.wnid), str(one.class_index))]  # fmt: skip
        cells += [""] * (4 * self._top_k - len(cells))
        file = f"./{name}" if _runs(name) else name
        self._rows.writerow([file, _text(result.model), trained, *cells, _text(result.error)])


class _Text:
    """What a csv.writer writes to: standard output, whatever that is by then."""

    def write(self, text: str) -> None:
        _write(sys.stdout, text)


def _runs(text: str) -> bool:
    return text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA)


def _text(text: str | None) -> str:
    """Return a cell that no spreadsheet runs, and no terminal."""
    shown = printable(text or "")
    return f"'{shown}" if _runs(shown) else shown


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _drop(stream)
        raise
    except OSError as exc:
        _drop(stream)
        raise SetupError(f"The results cannot be written: {exc.strerror or exc}.") from exc


def _drop(stream: TextIO) -> None:
    """Let the interpreter flush into nothing when it ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


def make_writer(top_k: int, *, as_json: bool, as_csv: bool) -> Writer:
    """Return the writer of a command's options."""
    if as_csv:
        return Csv(top_k)
    return JsonLines() if as_json else Tables()
