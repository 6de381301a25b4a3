"""The report has the keys that it always has, and figures of the photos that could be classified."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.evaluation.answers import Answer
from app.evaluation.dataset import Photo
from app.evaluation.report import Evaluated, compare_with, conditions, digest, evaluate, to_json
from app.evaluation.run import NO_ROW
from app.setup_errors import SetupError
from tests.evaluation.conftest import made

KEYS = [
    "schema", "top1", "top5", "ece", "n", "accuracy", "calibration", "worst_classes",
    "confused_pairs", "errors", "segments", "odd_photos", "baselines", "suspected_label_errors", "damaged",
    "duplicates",
]  # fmt: skip


def evaluated(classes, damaged=(), photos=500):
    rows, labels = made(photos)
    answers = [
        Answer(f"{n}.jpg", (1, 1), str(n), (8, 8), "png", *(("broken", NO_ROW) if n in damaged else ("", rows[n])))
        for n in range(photos)
    ]  # fmt: skip
    named = [Photo(Path(f"{n}.jpg"), f"{n}.jpg", int(labels[n])) for n in range(photos)]
    return Evaluated(named, answers, classes)


def test_the_report_has_its_keys(classes):
    """A program that reads them goes on to work; every value can be written."""
    report = evaluate(evaluated(classes), None)

    assert KEYS == list(report)
    assert [1, 0.574, 0.862, 500] == [report[key] for key in ("schema", "top1", "top5", "n")]
    assert report["ece"] == pytest.approx(0.1759546993374824, abs=1e-9)
    assert report == json.loads(to_json(report))


def test_damaged_photos_are_not_counted(classes):
    """They are neither right nor wrong."""
    report = evaluate(evaluated(classes, damaged={0, 7}), None)

    assert (498, 2) == (report["n"], len(report["damaged"]))
    assert 498 == sum(one["n"] for one in report["calibration"]["bins"])


def test_the_figures_of_the_manifest_are_compared(classes):
    """Each with its own interval."""
    found = evaluate(evaluated(classes), (0.6, 0.5))["accuracy"]

    assert (0.6, True) == (found["top1"]["published"], found["top1"]["published_inside"])
    assert (0.5, False) == (found["top5"]["published"], found["top5"]["published_inside"])


def test_the_digest_is_of_photos_names_and_labels(classes):
    """Whatever their order; it changes with each of them, but not with the answers."""
    done = evaluated(classes, photos=9)
    turned = Evaluated(done.photos[::-1], done.answers[::-1], classes)
    rows = [replace(one, row=one.row[::-1]) for one in done.answers]
    bytes_ = [replace(one, sha256="another") for one in done.answers[:1]]
    label = [replace(done.photos[0], class_index=done.photos[0].class_index ^ 1)]

    assert digest(done) == digest(turned) == digest(Evaluated(done.photos, rows, classes))
    assert 64 == len(digest(done))
    assert digest(done) != digest(Evaluated(done.photos, [*bytes_, *done.answers[1:]], classes))
    assert digest(done) != digest(Evaluated([*label, *done.photos[1:]], done.answers, classes))


def test_without_a_photo_there_is_no_report(classes):
    """The first reason is said."""
    with pytest.raises(SetupError, match="None of the 3 photos could be classified: broken"):
        evaluate(evaluated(classes, damaged={0, 1, 2}, photos=3), None)


def test_a_comparison_takes_the_photos_of_both(classes):
    """Those that one side could not classify are left out."""
    first, second = evaluated(classes, damaged={1}), evaluated(classes, damaged={2, 3})
    found = compare_with(first, second)

    assert (497, 0) == (found["n"], found["changed"]["count"])
    with pytest.raises(SetupError, match="by both"):
        compare_with(evaluated(classes, {0}, 1), evaluated(classes, (), 1))


@pytest.mark.parametrize(
    ("top1", "ece", "met"),
    [(None, None, []), (0.7, None, [True]), (0.71, 0.05, [False, True]), (None, 0.04, [False])],
)
def test_conditions_are_met_at_their_limit(top1, ece, met):
    """Only those that are set."""
    found = conditions({"top1": 0.7, "ece": 0.05}, top1, ece)

    assert met == [one["met"] for one in found]


def test_swapped_labels_are_among_the_suspects(classes):
    """Where the model mostly knows better."""
    done = evaluated(classes)
    rows = np.stack([one.row for one in done.answers])
    labels = rows.argmax(axis=1)
    sure = np.flatnonzero(rows.max(axis=1) > 0.5)[:50]
    labels[sure] = rows[sure].argmin(axis=1)
    photos = [Photo(p.path, p.name, int(one)) for p, one in zip(done.photos, labels, strict=True)]
    found = evaluate(Evaluated(photos, done.answers, classes), None)["suspected_label_errors"]

    assert {f"{n}.jpg" for n in sure} == {one["name"] for one in found}
