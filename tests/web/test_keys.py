"""API keys in a file."""

import pytest

from app.errors import KeysError
from app.web.keys import Keys, make_key


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys"


def test_key_lets_its_holder_in_and_no_other(file):
    """Each of several keys belongs to its holder; no other key is valid."""
    made = {name: make_key(name) for name in ("alice", "bob", "lab-2.b_c")}
    file.write_text("# the class of 2026\n\n" + "\n".join(line for _, line in made.values()) + "\n")
    keys = Keys(file)

    assert 3 == len(keys)
    for name, (key, _) in made.items():
        assert name == keys.holder(key.encode())
    for wrong in (b"", b"vgg_", made["bob"][0].encode()[:-1], made["bob"][1].encode(), b"\xff"):
        assert keys.holder(wrong) is None


def test_key_is_not_in_its_line():
    """The line does not reveal the key, and no two keys are equal."""
    key, line = make_key("alice")
    again, _ = make_key("alice")

    assert key not in line
    assert key != again
    assert len(key) > 40


def test_comment_may_follow_a_line(file):
    """A # starts a comment anywhere."""
    key, line = make_key("alice")
    file.write_text(f"  {line}  # until June\n")

    assert "alice" == Keys(file).holder(key.encode())


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a\nb", "#a"])
def test_name_that_would_break_the_file_is_refused(name):
    """A name has only characters that every tool displays in the same way."""
    with pytest.raises(KeysError):
        make_key(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alice", "line 1"),
        ("\nalice sha256:00", "line 2"),
        ("vgg_the-key-itself", "line 1"),
        (f"a sha256:{'0' * 64}\na sha256:{'1' * 64}", "line 2"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_mistake_in_the_file_is_reported_with_its_line(file, text, said):
    """The error names the number of a wrong line and does not repeat its text."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KeysError, match=said) as refused:
        Keys(file)

    assert "the-key-itself" not in str(refused.value)


def test_missing_file_is_reported(file):
    """A misspelled path stops the start instead of admitting everyone."""
    with pytest.raises(KeysError, match="cannot be read"):
        Keys(file)


def test_mistake_while_reading_again_keeps_the_old_keys(file):
    """A mistake in the file keeps the previous keys; the corrected file replaces them."""
    key, line = make_key("alice")
    file.write_text(line)
    keys = Keys(file)
    file.write_text("broken")
    with pytest.raises(KeysError):
        keys.read()
    before = keys.holder(key.encode())
    file.write_text("")
    keys.read()

    assert ("alice", None) == (before, keys.holder(key.encode()))


def test_keys_go_from_process_to_process_as_text(file):
    """The text of the keys that one process has read gives another process the same keys."""
    key, line = make_key("alice")
    file.write_text(f"# staff\n{line}  # until June\n")
    keys = Keys()
    before = len(keys)
    keys.parse(Keys(file).text)

    assert 0 == before
    assert "alice" == keys.holder(key.encode())
