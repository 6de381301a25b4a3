"""API keys in a file."""

import pytest

from app.errors import KeysError
from app.web.keys import Keys, make_key


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys"


def test_key_lets_its_holder_in_and_no_other(file):
    """Of several keys each is its own holder's; anything else is nobody's."""
    made = {name: make_key(name) for name in ("alice", "bob", "lab-2.b_c")}
    file.write_text("# the class of 2026\n\n" + "\n".join(line for _, line in made.values()) + "\n")
    keys = Keys(file)

    assert 3 == len(keys)
    for name, (key, _) in made.items():
        assert name == keys.holder(key.encode())
    for wrong in (b"", b"vgg_", made["bob"][0].encode()[:-1], made["bob"][1].encode(), b"\xff"):
        assert keys.holder(wrong) is None


def test_key_is_not_in_its_line():
    """What is stored does not tell the key, and no two keys are alike."""
    key, line = make_key("alice")
    again, _ = make_key("alice")

    assert key not in line
    assert key != again
    assert len(key) > 40


def test_comment_may_follow_a_line(file):
    """A # begins a comment anywhere."""
    key, line = make_key("alice")
    file.write_text(f"  {line}  # until June\n")

    assert "alice" == Keys(file).holder(key.encode())


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65, "a\nb", "#a"])
def test_name_that_would_break_the_file_is_refused(name):
    """A name is one word of letters that every tool shows alike."""
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
def test_mistake_in_the_file_is_told_with_its_line(file, text, said):
    """A line that is no key is named by its number; what stands in it is not repeated."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KeysError, match=said) as refused:
        Keys(file)

    assert "the-key-itself" not in str(refused.value)


def test_file_that_is_not_there_is_told(file):
    """A path with a slip of the pen stops the start, and lets nobody in."""
    with pytest.raises(KeysError, match="cannot be read"):
        Keys(file)


def test_mistake_while_reading_again_keeps_the_old_keys(file):
    """After a mistake in the file those who were let in still are; once mended, it holds."""
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
    """What one process has read, another has after parsing its text."""
    key, line = make_key("alice")
    file.write_text(f"# staff\n{line}  # until June\n")
    keys = Keys()
    before = len(keys)
    keys.parse(Keys(file).text)

    assert 0 == before
    assert "alice" == keys.holder(key.encode())
