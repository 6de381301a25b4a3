"""Answers are kept, found again, and never mixed with those of another model."""

import numpy as np
import pytest

from app.evaluation.answers import Answer, open_answers
from app.setup_errors import SetupError

MADE_BY = {"model": "vgg16", "preprocess": {"mean": (1.0, 2.0, 3.0)}}
ROW = np.array([0.1, 0.7, 0.2], np.float32)
ANSWER = Answer("a\udc80.jpg", (12, 34), "ab", (8, 9), "jpeg", "", ROW)


@pytest.fixture
def path(tmp_path):
    """A file with one answer."""
    path = tmp_path / "answers"
    with open_answers(path, MADE_BY) as answers:
        answers.add(ANSWER)
    return path


def known(path):
    with open_answers(path, MADE_BY) as answers:
        return answers.known


def test_an_answer_is_found_again(path):
    """To the last bit of its probabilities."""
    [found] = known(path).values()

    assert ROW.tobytes() == found.row.tobytes()
    assert ("a\udc80.jpg", (12, 34), "ab", (8, 9)) == (
        found.name,
        found.stamp,
        found.sha256,
        found.size,
    )


def test_a_torn_line_is_dropped(path):
    """A process that was killed may leave one; the next answer begins a line of its own."""
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:50])
    with open_answers(path, MADE_BY) as answers:
        assert 1 == len(answers.known)
        answers.add(Answer("b", (0, 0), "", (0, 0), "", "It is damaged.", np.zeros(0, np.float32)))

    assert ["a\udc80.jpg", "b"] == list(known(path))
    assert 0 == len(known(path)["b"].row)


def test_the_first_line_may_be_torn(path):
    """Then the file begins again."""
    path.write_bytes(path.read_bytes()[:20])

    assert {} == known(path)
    assert {} == known(path)


def test_answers_of_another_model_are_refused(path):
    """The sentence says what differs, and what to do."""
    with (
        pytest.raises(SetupError, match=r"another model \('vgg16', now 'vgg19'\)"),
        open_answers(path, MADE_BY | {"model": "vgg19"}),
    ):
        pass

    assert 1 == len(known(path))


@pytest.mark.parametrize("data", [b"a photo", b"{}\n", b"[1]\n", b"\xff\xd8\xff\xe0\n"])
def test_another_file_is_not_overwritten(tmp_path, data):
    """Whatever a user names by mistake."""
    path = tmp_path / "mine"
    path.write_bytes(data)
    with pytest.raises(SetupError, match="is no file of answers"):
        known(path)

    assert data == path.read_bytes()


def test_a_damaged_line_is_told(path):
    """Only the last line can be torn."""
    path.write_bytes(path.read_bytes().replace(b'"row": "', b'"row": "!!!') + b"{}\n")
    with pytest.raises(SetupError, match="is damaged"):
        known(path)


def test_a_folder_that_is_missing_is_told(tmp_path):
    """It is not made."""
    with pytest.raises(SetupError, match="cannot be written: No such file"):
        known(tmp_path / "missing" / "answers")


def test_without_a_file_answers_are_kept_in_memory():
    """For a run that shows its figures only."""
    with open_answers(None, MADE_BY) as answers:
        answers.add(ANSWER)

        assert [ANSWER] == list(answers.known.values())


def test_two_runs_do_not_write_one_file(path):
    """The second is told, and changes nothing; once the first has ended, it goes on."""
    with open_answers(path, MADE_BY) as answers:
        before = path.read_bytes()
        with (
            pytest.raises(SetupError, match="another run is writing it"),
            open_answers(path, MADE_BY),
        ):
            pass
        with (
            pytest.raises(SetupError, match="another run is writing it"),
            open_answers(path, MADE_BY | {"model": "vgg19"}),
        ):
            pass
        assert before == path.read_bytes()
        answers.add(Answer("b", (0, 0), "", (0, 0), "", "It is damaged.", np.zeros(0, np.float32)))

    assert ["a\udc80.jpg", "b"] == list(known(path))
