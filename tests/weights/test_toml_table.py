"""A file that is no table of TOML is refused in a sentence, and no value passes for another."""

import pytest

from app.errors import ManifestError
from app.weights.toml_table import read_table


def write(folder, content):
    """Put bytes or text into a file."""
    path = folder / "a.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    ["name = ", "name = 'a'\nname = 'b'", "{}", "\ufeffname = 'a'", b"name = '\xff'", b"\x00"],
)
def test_not_toml(tmp_path, content):
    """Bad syntax, a repeated key and bytes that are no text name the file and the place."""
    path = write(tmp_path, content)

    with pytest.raises(ManifestError) as caught:
        read_table(path)

    assert (path, "") == (caught.value.path, caught.value.key)
    assert str(caught.value).startswith(f"{path}: cannot be read as TOML: ")


def test_not_there(tmp_path):
    """A file that cannot be opened is told in the same way."""
    with pytest.raises(ManifestError, match=r"none\.toml: cannot be read as TOML: .*No such file"):
        read_table(tmp_path / "none.toml")


def test_key_of_a_table_is_dotted(tmp_path):
    """A mistake deep inside is named from the top."""
    inner = read_table(write(tmp_path, "[a.b]\nc = 1")).table("a").table("b")

    with pytest.raises(ManifestError, match=r"a\.toml: a\.b\.c: is 1, expected a text"):
        inner.text("c")


@pytest.mark.parametrize("value", ["1", "'x'", "[]", "true", "2026-01-01"])
def test_not_a_table(tmp_path, value):
    """A value where a table belongs shows how a table is written."""
    with pytest.raises(ManifestError, match=r"a: is .*, expected a table \[a\]"):
        read_table(write(tmp_path, f"a = {value}")).table("a")


def test_unknown_key_lists_the_known_ones(tmp_path):
    """A slip of the pen is found, and the right word is at hand."""
    table = read_table(write(tmp_path, "crop = 1\nreszie = 2"))
    table.whole("crop", 0, 9)
    table.has("resize")

    with pytest.raises(ManifestError, match="reszie: is not known here, expected one of: crop, re"):
        table.finish()


def test_finish_when_all_was_asked_for(tmp_path):
    """A file without surprises passes."""
    table = read_table(write(tmp_path, "crop = 1"))
    table.has("crop")

    table.finish()


@pytest.mark.parametrize("value", ["0", "10", "5"])
def test_ends_of_a_range_belong_to_it(tmp_path, value):
    """Both ends are allowed, for whole and for other numbers."""
    table = read_table(write(tmp_path, f"a = {value}"))

    assert int(value) == table.whole("a", 0, 10) == table.number("a", 0, 10)


@pytest.mark.parametrize("value", ["-1", "11", "true", "5.0", "'5'", "[5]"])
def test_not_a_whole_number(tmp_path, value):
    """A bool is no number, and 5.0 is not whole."""
    with pytest.raises(ManifestError, match="expected a whole number from 0 to 10"):
        read_table(write(tmp_path, f"a = {value}")).whole("a", 0, 10)


@pytest.mark.parametrize("value", ["-0.1", "10.1", "nan", "inf", "false", "'5'"])
def test_not_a_number_of_the_range(tmp_path, value):
    """What has no order is in no range."""
    with pytest.raises(ManifestError, match="expected a number from 0 to 10"):
        read_table(write(tmp_path, f"a = {value}")).number("a", 0, 10)


@pytest.mark.parametrize(("text", "flag"), [("a = true", True), ("a = false", False), ("", True)])
def test_flag(tmp_path, text, flag):
    """True, false, or what holds without it."""
    assert flag is read_table(write(tmp_path, text)).flag("a", default=True)


def test_triple_of_whole_numbers(tmp_path):
    """Whole numbers become floats."""
    assert (0.0, 117.5, 255.0) == read_table(write(tmp_path, "a = [0, 117.5, 255]")).triple("a")


def test_no_digest(tmp_path):
    """A manifest need not pin anything."""
    assert read_table(write(tmp_path, "")).digest() is None
