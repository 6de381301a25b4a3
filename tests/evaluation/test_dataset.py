"""Labels come from folders, tables and lists, and each mistake in them is named with its place."""

from pathlib import Path

import pytest

from app.evaluation.classes import Classes
from app.evaluation.dataset import by_folder, by_order, by_table, is_table
from app.records import Label
from app.setup_errors import LabelsError


@pytest.fixture
def put(tmp_path):
    """Write a file, and the folders above it."""

    def put(name: str, text: str = "") -> Path:
        path = Path(tmp_path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def pairs(photos):
    return [(photo.name, photo.class_index) for photo in photos]


def test_folders_are_labels(tmp_path, put, classes):
    """At any depth below."""
    paths = [put("n01440764/a.jpg"), put("tabby/images/b.jpg"), put("6/c.jpg")]

    expected = [("n01440764/a.jpg", 2), ("tabby/images/b.jpg", 3), ("6/c.jpg", 6)]
    assert expected == pairs(by_folder(tmp_path, paths, classes))


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["cat/a.jpg", "cat/b.jpg", "dog/c.jpg", "6/d.jpg"], "2 folders are named like no class"),
        (["6/a.jpg", "b.jpg"], "1 photo is in no folder of a class: b.jpg"),
        ([], "has no photos"),
    ],
)
def test_mistakes_in_folders_are_named(tmp_path, put, classes, names, sentence):
    """No photo is left out without a word."""
    with pytest.raises(LabelsError, match=sentence):
        by_folder(tmp_path, [put(name) for name in names], classes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "path,label\na.jpg,tench\nb.jpg,tabby cat\n"),
        ("a.csv", "a.jpg,2\r\nb.jpg,3\r\n"),
        ("a.csv", 'wnid,xmin,file\nn01440764,0,a.jpg\n"n02123045",5,b.jpg\n\n'),
        ("a.csv", "ImageId,PredictionString\na,n01440764 85 1 499 272\nb,n02123045 1 2 3 4\n"),
        ("a.tsv", "a.jpg\ttench, Tinca tinca\nb.jpg\ttabby\n"),
        ("a.csv", "\ufeffpath;label\na.jpg;2\nb.jpg;3\n"),
        ("a.csv", "Image Path,class_id\na.jpg,2\nb.jpg,3\n"),
        ("a.csv", "a.jpg;tench, Tinca tinca\nb.jpg;tabby, tabby cat\n"),
        ("val.txt", "a.jpg 2\nb.jpg 3\n"),
    ],
)
def test_tables_are_labels(tmp_path, put, classes, name, text):
    """With a header or without, in the ways of Excel, Kaggle and Caffe."""
    put("a.jpg"), put("images/b.jpg")
    table = put(name, text)

    assert is_table(table)
    assert [("a.jpg", 2), ("images/b.jpg", 3)] == pairs(by_table(table, tmp_path, classes))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path,label\na.jpg,cat\n", "line 2: 'cat' is no class"),
        ("a.jpg,2\nc.jpg,2\n", "line 2: there is no file 'c.jpg'"),
        (f"a.jpg,2\n{'c' * 5000}.jpg,2\n", "line 2: there is no file 'ccc"),
        ("a.jpg,2\na.jpg,3\n", "line 2: 'a.jpg' was there before, with another label"),
        ("a.jpg,2\nb.jpg\n", "line 2: expected a path and a label"),
        ("path,label\n", "has no lines"),
        ("", "has no lines"),
    ],
)
def test_mistakes_in_tables_are_named(tmp_path, put, classes, text, sentence):
    """With their line."""
    put("a.jpg")
    with pytest.raises(LabelsError, match=sentence):
        by_table(put("a.csv", text), tmp_path, classes)


def test_a_mark_inside_quotes_divides_nothing(tmp_path, put, classes):
    """A photo may be called `a; b.jpg`."""
    put("a; b.jpg")
    table = put("a.csv", '"a; b.jpg","tench, Tinca tinca"\n')

    assert [("a; b.jpg", 2)] == pairs(by_table(table, tmp_path, classes))


@pytest.mark.parametrize("lines", ["2\n3\n", "n01440764\nn02123045\n", "tench\ntabby, tabby cat"])
def test_lines_are_labels_in_the_order_of_names(tmp_path, put, classes, lines):
    """As for ILSVRC's validation photos."""
    paths = [put("val_2.JPEG"), put("val_1.JPEG")]
    labels = put("labels.txt", lines)

    assert not is_table(labels)
    expected = [("val_1.JPEG", 2), ("val_2.JPEG", 3)]
    assert expected == pairs(by_order(labels, paths, tmp_path, classes))


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("2\n", "has 1 labels, .* has 2 photos"),
        ("2\ncat\n", "line 2: 'cat' is no class"),
        ("1\n5\n", "counts classes from 1 to 5. Subtract 1"),
    ],
)
def test_mistakes_in_lines_are_named(tmp_path, put, lines, sentence):
    """A file that counts from 1 is no file that counts from 0, one class further."""
    five = Classes([Label(None, name) for name in "abcde"])
    with pytest.raises(LabelsError, match=sentence):
        by_order(put("labels.txt", lines), [put("1.jpg"), put("2.jpg")], tmp_path, five)


def test_photos_in_several_folders_have_no_order(tmp_path, put, classes):
    """The labels of a flat folder would go to other photos."""
    paths = [put("a/2.jpg"), put("b/1.jpg")]
    with pytest.raises(LabelsError, match="name each photo before its label"):
        by_order(put("labels.txt", "2\n3\n"), paths, tmp_path, classes)


def test_numbers_of_ilsvrc_are_no_indices(tmp_path, put):
    """ILSVRC2012_validation_ground_truth.txt has another order than the network's classes."""
    thousand = Classes([Label(None, f"class {number}") for number in range(1000)])
    paths = [put("1.jpg"), put("2.jpg")]
    with pytest.raises(LabelsError, match="file of wnids"):
        by_order(put("truth.txt", "490\n1000\n"), paths, tmp_path, thousand)


def test_a_file_that_is_no_text_is_named(tmp_path, put, classes):
    """A binary file in place of labels."""
    path = put("labels.csv")
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(LabelsError, match="cannot be read as labels"):
        by_table(path, tmp_path, classes)


def test_each_path_has_a_name_of_its_own(tmp_path, put, classes):
    """A byte that is no UTF-8, and a file that is called like the text which stands for it."""
    paths = [put("6/bad\udcff.jpg"), put(r"6/bad\xff.jpg"), put(r"6/bad\\xff.jpg")]
    table = put("labels.txt", r"6/bad\xff.jpg 6")

    names = [r"6/bad\xff.jpg", r"6/bad\\xff.jpg", r"6/bad\\\\xff.jpg"]
    assert names == [photo.name for photo in by_folder(tmp_path, paths, classes)]
    assert names[1:2] == [photo.name for photo in by_table(table, tmp_path, classes)]
