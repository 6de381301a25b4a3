"""Results as tables, JSON lines and CSV."""

import csv
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from app.cli.files import Trouble
from app.cli.predict.result import FileResult
from app.cli.predict.writers import make_writer
from app.records import ImageInfo, Prediction

BEST = (
    Prediction(1, "tabby, tabby cat", 0.5, "n02123045", 281),
    Prediction(2, '=HYPERLINK("x")', 0.25, "n2", 7),
)


def good(name: str = "a.jpg") -> FileResult:
    return FileResult(Path(name), BEST, ImageInfo(3, 2, "jpeg"), "vgg16", trained=True)


def bad(name: str = "b.jpg", sentence: str = "It is broken.") -> FileResult:
    return FileResult(Path(name), trouble=Trouble("broken", sentence))


def written(capsys, *results, **form):
    """Return what is on standard output, and on standard error."""
    options = {"as_json": False, "as_csv": False} | form
    writer = make_writer(2, **options)
    for result in results:
        writer.write(result)
    return capsys.readouterr()


def rows(text: str) -> list[list[str]]:
    return [*csv.reader(io.StringIO(text, newline=""), strict=True)]


def test_csv_has_one_row_a_file(capsys):
    """A header, all classes in one row, the error at the end; lines end as RFC 4180 has it."""
    text = written(capsys, good(), bad(), as_csv=True).out

    assert [
        ["file", "model", "trained", "label_1", "probability_1", "wnid_1", "class_index_1",
         "label_2", "probability_2", "wnid_2", "class_index_2", "error"],
        ["a.jpg", "vgg16", "true", "tabby, tabby cat", "0.5", "n02123045", "281",
         "'=HYPERLINK(\"x\")", "0.25", "n2", "7", ""],
        ["b.jpg", *[""] * 10, "It is broken."],
    ] == rows(text)  # fmt: skip
    assert 3 == text.count("\r\n") == text.count("\n")


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=1+1.jpg", "./=1+1.jpg"),
        ("+a.jpg", "./+a.jpg"),
        ("-rf.jpg", "./-rf.jpg"),
        ("@SUM(A1).jpg", "./@SUM(A1).jpg"),
        ("\t=a.jpg", "./\t=a.jpg"),
        (" =a.jpg", "./ =a.jpg"),
        ("\uff1da.jpg", "./\uff1da.jpg"),
        ("a=b.jpg", "a=b.jpg"),
        ("/photos/=a.jpg", "/photos/=a.jpg"),
        ('a,"b".jpg', 'a,"b".jpg'),
        ("new\nline.jpg", "new\nline.jpg"),
        ("日本é.jpg", "日本é.jpg"),
        ("\x1b[31m.jpg", "\x1b[31m.jpg"),
    ],
)
def test_a_name_in_csv_still_names_the_file_and_runs_nothing(capsys, name, cell):
    """A name that a spreadsheet would run gets ./ before it; all others stay as they are."""
    [_, row] = rows(written(capsys, good(name), as_csv=True).out)

    assert cell == row[0]
    assert Path(name) == Path(row[0])


@pytest.mark.parametrize("sentence", ["=cmd|' /C calc'!A1", "@x", "\n=1", "\x1b[2J"])
def test_what_a_server_says_runs_nothing(capsys, sentence):
    """Neither in a spreadsheet nor on a terminal."""
    cell = rows(written(capsys, bad(sentence=sentence), as_csv=True).out)[1][-1]

    assert cell[0] in "'\\"
    assert cell.isprintable()


def test_json_is_one_object_a_line(capsys):
    """All fields, for photos and failures alike."""
    lines = written(capsys, good("new\nline.jpg"), bad(), as_json=True).out.splitlines()
    first, second = map(json.loads, lines)

    assert "new\nline.jpg" == first["file"]
    assert {"rank": 1, "label": "tabby, tabby cat", "probability": 0.5, "wnid": "n02123045",
            "class_index": 281} == first["predictions"][0]  # fmt: skip
    assert ("It is broken.", [], None) == (second["error"], second["predictions"], second["model"])


def test_int8_is_told(capsys):
    """An answer in whole numbers says so; one in float32 is as it always was."""
    result = replace(good(), precision="int8")

    assert "(int8)" in written(capsys, result).out
    assert "int8" == json.loads(written(capsys, result, as_json=True).out)["precision"]
    assert "precision" not in json.loads(written(capsys, good(), as_json=True).out)


def test_a_stand_in_is_told(capsys):
    """An answer of another model than the one that was wanted is never taken for it."""
    result = replace(good(), model="vgg16-mini", stands_in_for="vgg16")

    assert "(vgg16-mini stands in for vgg16)" in written(capsys, result).out
    assert "vgg16" == json.loads(written(capsys, result, as_json=True).out)["stands_in_for"]


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
@pytest.mark.parametrize("form", ["as_json", "as_csv"])
def test_a_name_that_is_not_utf_8_is_valid_utf_8(capsys, form):
    """Programs get text that they can read."""
    text = written(capsys, good(os.fsdecode(b"\xff.jpg")), **{form: True}).out
    name = json.loads(text)["file"] if form == "as_json" else rows(text)[1][0]

    assert "\\xff.jpg" == name
    text.encode()


def test_a_table_goes_to_standard_output_and_an_error_to_standard_error(capsys):
    """Nothing in a name or a sentence acts on the terminal."""
    said = written(capsys, good("\x1b[31m[red].jpg"), bad("\x9b1m.jpg", "\x1b[2J[bold]"))

    assert r"\x1b[31m[red].jpg" in said.out
    assert "tabby, tabby cat" in said.out
    assert r"\x9b1m.jpg: \x1b[2J[bold]" in said.err
    assert not {"\x1b", "\x9b"} & {*said.out, *said.err}


@pytest.mark.parametrize("form", [{}, {"as_json": True}, {"as_csv": True}])
def test_each_result_is_written_at_once(monkeypatch, form):
    """Whoever reads the pipe does not wait for a full buffer."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(raw), "utf-8"))
    writer = make_writer(2, **{"as_json": False, "as_csv": False} | form)
    before = len(raw.getvalue())
    writer.write(good())

    assert b"tabby" in raw.getvalue()[before:]


def test_csv_is_utf_8_whatever_the_terminal_speaks(monkeypatch):
    """As is said in the help."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    make_writer(1, as_json=False, as_csv=True).write(good("é.jpg"))

    assert "é.jpg".encode() in raw.getvalue()


def test_a_picture_is_named(capsys):
    """Below the table, and in the line of JSON."""
    drawn = replace(good(), overlay=Path("out/a.jpg.png"))

    assert "    drawn in out/a.jpg.png\n" in written(capsys, drawn).out
    assert "out/a.jpg.png" == json.loads(written(capsys, drawn, as_json=True).out)["overlay"]
    assert "overlay" not in json.loads(written(capsys, good(), as_json=True).out)
