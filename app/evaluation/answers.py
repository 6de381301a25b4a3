"""The answers of one model to photos, in a file that a later run goes on with.

The file has a line of JSON for each photo, below a first line that says which model answered, with
which settings: answers of another one are never mixed in. The probabilities of all classes are kept
(base64 of float32), so that every figure can be computed again: 270 MB for 50,000 photos of 1,000 classes.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from filelock import lock_descriptor

from app.records import Probabilities
from app.setup_errors import SetupError

_FORMAT: Final = "vgg-serve answers 2"
_FLOAT: Final = "<f4"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to one photo.

    Attributes:
        name: Of the photo.
        stamp: Its size in bytes and when it was changed: another one is classified again.
        sha256: Of the file; empty if it could not be read.
        size: Width and height in pixels, upright; 0 if it could not be classified.
        format: `jpeg`; empty if it could not be classified.
        trouble: Why it could not be classified; empty if it was.
        row: float32 [classes]; empty if it could not be classified.
        properties: Of the photo, by their names in app/evaluation/segments.py; those that were measured.
    """

    name: str
    stamp: tuple[int, int]
    sha256: str
    size: tuple[int, int]
    format: str
    trouble: str
    row: Probabilities
    properties: Mapping[str, float] = field(default_factory=dict)


class Answers:
    """The answers that are known, by the names of their photos; kept in a file if there is one."""

    def __init__(
        self, file: BinaryIO | None = None, known: dict[str, Answer] | None = None
    ) -> None:
        self._file = file
        self.known = known or {}

    def add(self, answer: Answer) -> None:
        """Keep an answer; a process that is killed loses at most the last one."""
        self.known[answer.name] = answer
        if self._file is not None:
            self._file.write(_line(answer))
            self._file.flush()


@contextmanager
def open_answers(path: Path | None, made_by: Mapping[str, Any]) -> Iterator[Answers]:
    """Open a file of answers, or begin one; without a path, answers are kept in memory alone.

    Raises:
        SetupError: If the file holds anything else, or answers that something else gave, or another
            run writes it.
    """
    if path is None:
        yield Answers()
        return
    head = {"format": _FORMAT, **made_by}
    try:
        with path.open("a+b") as file:
            _lock(path, file)
            file.seek(0)
            first = file.readline()
            if first.endswith(b"\n"):
                _check(path, first, head)
                known = _read(path, file)
            else:  # empty, or the run ended in the first line
                if first and not first.startswith(b'{"format"'):
                    raise SetupError(_strange(path))
                file.truncate(0)
                file.write(json.dumps(head).encode() + b"\n")
                known = {}
            yield Answers(file, known)
    except OSError as exc:
        raise SetupError(f"{path}: cannot be written: {exc.strerror}.") from exc


def _lock(path: Path, file: BinaryIO) -> None:
    """Keep other runs out until the file is closed, or the process ends in any way."""
    try:
        locked = lock_descriptor(file.fileno(), blocking=False)
    except OSError:  # a file system without locks
        return
    if not locked:
        raise SetupError(
            f"{path}: another run is writing it. Wait for its end, or name another file with --answers."
        )


def _check(path: Path, line: bytes, head: dict[str, Any]) -> None:
    try:
        there = json.loads(line)
        strange = there["format"] != _FORMAT
    except (ValueError, TypeError, KeyError) as exc:
        raise SetupError(_strange(path)) from exc
    if strange:
        raise SetupError(_strange(path))
    wanted = json.loads(json.dumps(head))
    different = [key for key in wanted | there if wanted.get(key) != there.get(key)]
    if different:
        raise SetupError(
            f"{path}: holds answers with another {', '.join(different)}"
            f" ({there.get(different[0])!r}, now {wanted.get(different[0])!r})."
            " Delete the file, or name another with --answers."
        )


def _read(path: Path, file: BinaryIO) -> dict[str, Answer]:
    known: dict[str, Answer] = {}
    whole = file.tell()
    for line in file:
        try:
            answer = _answer(line)
        except (ValueError, TypeError, KeyError) as exc:
            if line.endswith(b"\n"):
                raise SetupError(f"{path}: is damaged. Delete it.") from exc
            break  # the run ended in this line
        known[answer.name] = answer
        whole += len(line)
    file.truncate(whole)
    file.seek(0, 2)
    return known


def _line(answer: Answer) -> bytes:
    row = base64.b64encode(answer.row.astype(_FLOAT).tobytes()).decode()
    fields = {
        "name": answer.name, "stamp": answer.stamp, "sha256": answer.sha256, "size": answer.size,
        "format": answer.format, "trouble": answer.trouble,
        "properties": answer.properties, "row": row,
    }  # fmt: skip
    return json.dumps(fields).encode() + b"\n"


def _answer(line: bytes) -> Answer:
    if not line.endswith(b"\n"):
        raise ValueError
    fields = json.loads(line)
    row = np.frombuffer(base64.b64decode(fields.pop("row"), validate=True), _FLOAT)
    stamp, size = tuple(fields.pop("stamp")), tuple(fields.pop("size"))
    return Answer(**fields, stamp=stamp, size=size, row=row.astype(np.float32))


def _strange(path: Path) -> str:
    return f"{path}: is no file of answers. Name another with --answers."
