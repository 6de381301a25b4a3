"""Errors are told apart by WordNet: those between classes with a common parent, and the others."""

import numpy as np

from app.evaluation.accuracy import share
from app.evaluation.classes import Classes
from app.evaluation.kinds import kinds_of_errors, read_parents
from app.records import Label
from app.weights.labels import load_labels
from app.weights.manifests.catalog import BUILT_IN

TERRIER, BALL = "n02092468", "n02778669"


def test_all_classes_of_imagenet_have_a_parent():
    """The small VGG's too; some have several."""
    parents = read_parents()
    wnids = [{label.wnid for label in load_labels(name, BUILT_IN)} for name in ("imagenet-1k", "vgg16-mini")]  # fmt: skip

    assert wnids[0] == {*parents}
    assert wnids[1] <= {*parents}
    assert all(parents.values())
    assert {TERRIER} == parents["n02094258"]  # Norwich terrier
    assert BALL in parents["n02802426"]  # basketball
    assert 2 == len(parents["n02802426"])


def test_errors_of_one_parent_are_counted():
    """One of several parents is enough; classes that WordNet does not know are left out."""
    classes = Classes([
        Label("n02094258", "Norwich terrier"), Label("n02094114", "Norfolk terrier"),
        Label("n02802426", "basketball"), Label("n04254680", "soccer ball"), Label(None, "ghost"),
    ])  # fmt: skip
    labels = np.array([0, 0, 0, 2, 2, 4, 1])
    answers = np.array([1, 0, 2, 3, 4, 0, 0])
    found = kinds_of_errors(answers, labels, classes)

    assert (6, 4) == (found["n"], found["known"])
    assert (0.75, share(3, 4).low) == (found["same_parent"]["value"], found["same_parent"]["low"])


def test_without_an_error_there_is_no_share():
    """Nor where no class is WordNet's."""
    classes = Classes([Label(None, "a"), Label(None, "b")])

    assert {"n": 0, "known": 0, "same_parent": None} == kinds_of_errors(
        np.array([0, 1]), np.array([0, 1]), classes
    )
    assert (1, 0) == tuple(
        kinds_of_errors(np.array([1]), np.array([0]), classes)[key] for key in ("n", "known")
    )
