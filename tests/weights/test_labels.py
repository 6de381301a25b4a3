"""The names are in the order of the network's output, and no other file passes for them."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from app.graph.vgg import VggConfig
from app.records import Label
from app.setup_errors import LabelsError
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import load_catalog
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
    ids = [str(label.wnid) for label in load_labels("imagenet-1k", tmp_path)]

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


def test_missing_file_says_what_to_do(tmp_path):
    """The error says where the file belongs and what it holds."""
    with pytest.raises(LabelsError, match=r"birds: there is no such label file, nor birds\.tsv"):
        load_labels("birds", tmp_path)


@pytest.mark.parametrize("name", ["flowers", "flowers.txt"])
def test_names_alone(tmp_path, name):
    """A text file with one name a line is enough; such classes have no WordNet id."""
    (tmp_path / "flowers.txt").write_text("daisy\nrose, garden rose\ntulip\n")

    labels = load_labels(name, tmp_path)

    assert (Label(None, "daisy"), Label(None, "rose, garden rose"), Label(None, "tulip")) == labels


def test_other_keys_are_dropped(tmp_path):
    """Before a tab may be any key, as folder names or numbers are; only WordNet's ids are kept."""
    write(tmp_path, ["0\tdaisy", "n11939491\tdaisy", "rosa_x\trose"])

    labels = load_labels("own", tmp_path)

    assert (Label(None, "daisy"), Label("n11939491", "daisy"), Label(None, "rose")) == labels


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("n01440764\t", r"is 'n01440764\\t'"),
        ("", "is ''"),
        (" ", "is ' '"),
        ("a\x1b[2J", r"is 'a\\x1b\[2J'"),
        ("x" * 1001, f"is '{'x' * 80}',"),
    ],
)
def test_wrong_line_is_named(tmp_path, line, shown):
    """A line without a name, or with one that cannot be shown, is quoted with its number."""
    write(tmp_path, [*lines()[:41], line, *lines()[42:]])

    with pytest.raises(LabelsError, match=rf"own\.tsv, line 42: {shown}.* the name of class 41"):
        load_labels("own", tmp_path)


@pytest.mark.parametrize(("count", "fits"), [(0, False), (1, False), (2, True), (100_001, False)])
def test_number_of_lines(tmp_path, count, fits):
    """Any number of classes from 2 to 100,000."""
    (tmp_path / "own.tsv").write_text("".join(f"{index}\n" for index in range(count)))

    if fits:
        assert count == len(load_labels("own", tmp_path))
    else:
        with pytest.raises(LabelsError, match=f"has {count} lines, expected 2 to 100000"):
            load_labels("own", tmp_path)


def test_repeated_id(tmp_path):
    """Two classes with one id would answer for each other."""
    write(tmp_path, [*lines()[:-1], lines()[0]])

    with pytest.raises(LabelsError, match="has n00000000 twice, expected different ids"):
        load_labels("own", tmp_path)


def test_binary_file(tmp_path):
    """Bytes that are no text are refused in a sentence as well."""
    (tmp_path / "own.tsv").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(LabelsError, match=r"own\.tsv: cannot be read as labels"):
        load_labels("own", tmp_path)


def test_a_network_has_as_many_outputs_as_labels(tmp_path):
    """The manifest names the network, its label file says how many classes it knows."""
    (tmp_path / "flowers.txt").write_text("daisy\nrose\ntulip\n")
    flowers = replace(load_catalog(tmp_path)["vgg16"], labels="flowers")

    labels = load_labels("flowers", tmp_path)

    assert VggConfig("D", classes=3) == network_of(flowers, labels)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_file_with_a_byte_order_mark(tmp_path, encoding):
    """What Windows' editors and PowerShell write is read; the mark is no part of the first id."""
    text = "\r\n".join(lines()) + "\r\n"
    (tmp_path / "own.tsv").write_bytes(text.encode(encoding))

    assert Label(wnid="n00000000", text="class 0, number 0") == load_labels("own", tmp_path)[0]
