"""The 1000 names are in the order of the network's output, and no other file passes for them."""

import hashlib
from pathlib import Path

import pytest

from app.errors import LabelsError
from app.records import Label
from app.weights.labels import load_labels
from tests.conftest import SHARED_DATA as DATA

SYNSET_WORDS_SHA256 = "acf75ef0abe89694b19056e0796401068b459c457baa30335f240c7692857355"


def lines(count: int = 1000) -> list[str]:
    """Make the lines of a label file."""
    return [f"n{number:08}\tclass {number}, number {number}" for number in range(count)]


def write(folder: Path, content: list[str], name: str = "own.tsv") -> None:
    """Put a label file into a model folder."""
    (folder / name).write_text("\n".join(content) + "\n", encoding="utf-8")


def test_imagenet_in_the_order_of_the_sorted_ids(tmp_path):
    """1000 different WordNet ids, ascending, as all published VGG weights have them."""
    ids = [label.wnid for label in load_labels("imagenet-1k", tmp_path)]

    assert 1000 == len(set(ids))
    assert sorted(ids) == ids


@pytest.mark.parametrize(
    ("index", "wnid", "text"),
    [
        (0, "n01440764", "tench, Tinca tinca"),
        (134, "n02012849", "crane"),
        (285, "n02124075", "Egyptian cat"),
        (517, "n03126707", "crane"),
        (999, "n15075141", "toilet tissue, toilet paper, bathroom tissue"),
    ],
)
def test_known_classes(tmp_path, index, wnid, text):
    """First, last, a cat, and the two cranes, which only their ids tell apart."""
    assert Label(wnid=wnid, text=text) == load_labels("imagenet-1k", tmp_path)[index]


def test_the_same_file_as_caffe(tmp_path):
    """Put back into Caffe's form, the labels are synset_words.txt to the last byte."""
    labels = load_labels("imagenet-1k", tmp_path)

    text = "".join(f"{label.wnid} {label.text}\n" for label in labels)

    assert SYNSET_WORDS_SHA256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.real
def test_the_same_as_the_file_of_the_test_data():
    """Compared line by line, so that a failure shows the line."""
    path = DATA / "synset_words.txt"
    if not path.exists():
        pytest.skip(f"{path} is not there")

    expected = path.read_text(encoding="utf-8").splitlines()

    assert expected == [f"{label.wnid} {label.text}" for label in load_labels("imagenet-1k", DATA)]


def test_own_file_wins(tmp_path):
    """A file in the model folder replaces the built-in one of the same name."""
    write(tmp_path, lines(), "imagenet-1k.tsv")

    labels = load_labels("imagenet-1k", tmp_path)

    assert Label(wnid="n00000007", text="class 7, number 7") == labels[7]


def test_missing_file_names_both_places(tmp_path):
    """The error says where it was looked for."""
    with pytest.raises(
        LabelsError,
        match=r"cannot read the labels 'birds' from .*birds\.tsv or .*birds\.tsv: .*No such file",
    ):
        load_labels("birds", tmp_path)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("n01440764 tench", r"is 'n01440764 tench'"),
        ("01440764\ttench", r"is '01440764\\ttench'"),
        ("n1440764\ttench", "is 'n1440764"),
        ("n01440764\t", r"is 'n01440764\\t'"),
        ("", "is ''"),
        ("x" * 500, f"is '{'x' * 80}',"),
    ],
)
def test_wrong_line_is_named(tmp_path, line, shown):
    """A line that is not id, tab and names is shown with its number and what was expected."""
    write(tmp_path, [*lines()[:41], line, *lines()[42:]])

    with pytest.raises(LabelsError, match=rf"own\.tsv, line 42: {shown}.* expected 'n01440764"):
        load_labels("own", tmp_path)


@pytest.mark.parametrize("count", [0, 999, 1001])
def test_wrong_number_of_lines(tmp_path, count):
    """1000 classes, no fewer and no more: 1001 would be a list with a background class."""
    (tmp_path / "own.tsv").write_text("".join(f"{line}\n" for line in lines(count)))

    with pytest.raises(LabelsError, match=f"has {count} lines, expected 1000"):
        load_labels("own", tmp_path)


def test_repeated_id(tmp_path):
    """Two classes with one id would answer for each other."""
    write(tmp_path, [*lines()[:-1], lines()[0]])

    with pytest.raises(LabelsError, match="expected 1000 with different ids"):
        load_labels("own", tmp_path)


def test_binary_file(tmp_path):
    """Bytes that are no text are refused in a sentence as well."""
    (tmp_path / "own.tsv").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(LabelsError, match="cannot read the labels 'own'"):
        load_labels("own", tmp_path)
