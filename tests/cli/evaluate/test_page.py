"""The command is shown as it was typed, and without what is secret."""

from app.cli.evaluate.page import command_line, without_login


def test_the_command_can_be_typed_again():
    """Words with spaces are quoted, bytes that are no text are written out."""
    words = ["evaluate", "my photos", "--html", "a\udcff.html"]

    assert r"vgg-serve evaluate 'my photos' --html 'a\udcff.html'" == command_line(words)


def test_a_key_is_left_out():
    """In both ways to write it."""
    assert "vgg-serve --key ... --key=... x" == command_line(["--key", "a", "--key=b", "x"])


def test_a_password_in_a_url_is_left_out():
    """A page is mailed: `http://NAME:PASSWORD@HOST` names the host alone, in both ways to write it."""
    urls = ["--url", "me:secret@a:1", "--compare=vgg19,https://me:se,cret@b/x@y", "photos@home"]

    shown = command_line(urls)

    assert "vgg-serve --url a:1 --compare=vgg19,https://b/x@y photos@home" == shown


def test_what_is_no_url_keeps_its_value():
    """Settings and models have no password."""
    assert "vgg19,decode=exact" == without_login("vgg19,decode=exact")
