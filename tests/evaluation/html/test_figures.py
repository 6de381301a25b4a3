"""The page has the main figures with intervals and n, and every warning."""

from app.evaluation.calibration import advice
from app.evaluation.html import figures


def test_main_figures_have_their_intervals(page, report):
    """And say whether the manifest's lie inside."""
    top1, top5 = report["accuracy"]["top1"], report["accuracy"]["top5"]

    for one, where in ((top1, "57.40 % inside"), (top5, "50.00 % outside the interval")):
        row = f"{100 * one['value']:.2f} % {100 * one['low']:.2f} to {100 * one['high']:.2f} % 499 {where}"
        assert row in page.text
    assert f"{report['ece']:.4f}" in page.text


def test_labels_of_several_classes_have_figures_of_their_own(page, report):
    """Below those of one label, with how many photos have any."""
    top1 = report["real"]["top1"]
    none = {"n": 0, "left_out": 3, "top1": None, "top5": None}

    assert f"top-1, labels of --real {100 * top1['value']:.2f} %" in page.text
    assert "labels of --real" not in figures.summary(report | {"real": none})
    assert "labels of --real" not in figures.summary(report | {"real": None})


def test_warnings_come_first(page):
    """Untrained weights, damaged files, copies with different labels."""
    first = page.text[: page.text.index("Accuracy, and the figures")]

    assert "The weights are untrained: these answers are meaningless." in first
    assert "1 photo could not be classified, and is not counted." in first
    assert "1 group of equal files has different labels." in first


def test_the_figures_of_the_paper_are_beside_those_of_the_user(page, report):
    """That of the same test is marked; weights for which none hold get none."""
    none = report | {"paper": {"source": None, "rows": [], "note": None}}

    assert "The paper's figures for these weights (A <paper>)" in page.text
    assert "dense at 256 pixels 74.00 % 92.00 % this test dense at 384 pixels 75.00 %" in page.text
    assert "The paper" not in figures.summary(none)
    assert "not published" in figures.summary(
        none | {"paper": none["paper"] | {"note": "not published"}}
    )


def test_conditions_are_shown(page, report):
    """With what they were compared with."""
    assert f"--min-top1 0.9000 {report['top1']:.4f} not met" in page.text
    assert f"--max-ece 0.5000 {report['ece']:.4f} met" in page.text


def test_the_temperature_is_a_proposal(page, report):
    """It says that it was not applied."""
    found = report["calibration"]["temperature"]["value"]

    assert f"Proposed temperature: {found:.3f}" in page.text
    assert "It is a proposal, and was not applied." in page.text


def test_a_temperature_that_was_applied_is_told(report, library):
    """With the proposal that comes on top, and where there are too few photos for one."""
    model = report["model"] | {"temperature": 1.5}
    found = report["calibration"]["temperature"]
    calibration = report["calibration"]
    advised = found | advice(calibration, 1.5, averaged=False)
    said = [
        figures.calibration(report | {"model": model, "calibration": calibration | {"temperature": one}}, library)
        for one in (advised, None)
    ]  # fmt: skip

    assert f"temperature = {1.5 * found['value']:.4f}".rstrip("0") in said[0]
    assert "The manifest&#x27;s, 1.5, was applied." in said[1]


def test_few_photos_get_no_temperature(report, library):
    """The page says so."""
    few = report | {"calibration": report["calibration"] | {"temperature": None}}

    assert "too few photos to propose a temperature" in figures.calibration(few, library)


def test_shuffled_labels_are_told_at_the_top(report):
    """And in their own section."""
    sentence = "The labels look shuffled."
    shuffled = report | {"baselines": report["baselines"] | {"sentence": sentence}}

    assert f'<p class="warning">{sentence}</p>' in figures.summary(shuffled)
    assert f'<p class="warning">{sentence}</p>' in figures.baselines(shuffled)


def test_photos_of_one_class_say_nothing_about_the_labels(report):
    """Such as one photo, right: a model that looks at none is right, too."""
    one = report["baselines"]["most_frequent"] | {"top1": 1.0}
    alone = report["baselines"] | {"sentence": None, "gain": 0.0, "most_frequent": one}

    said = figures.baselines(report | {"baselines": alone})

    assert "All photos are of one class" in said
    assert "better than one that looks at none" not in said


def test_a_model_that_gains_nothing_is_not_called_better(report):
    """Right nine times in ten, where nineteen photos in twenty are of one class."""
    one = report["baselines"]["most_frequent"] | {"top1": 0.95}
    found = report["baselines"] | {"sentence": None, "gain": -1.0, "most_frequent": one}

    said = figures.baselines(report | {"baselines": found})

    assert "always answers the most frequent class would be right as often" in said
