"""The command is shown as it was typed, and without what is secret."""

from app.cli.evaluate.page import command_line


def test_the_command_can_be_typed_again():
    """Words with spaces are quoted, bytes that are no text are written out."""
    words = ["evaluate", "my photos", "--html", "a\udcff.html"]

    assert r"vgg-serve evaluate 'my photos' --html 'a\udcff.html'" == command_line(words)


def test_a_key_is_left_out():
    """In both ways to write it."""
    assert "vgg-serve --key ... --key=... x" == command_line(["--key", "a", "--key=b", "x"])
