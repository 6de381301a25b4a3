"""The page names weak classes, pairs, segments and changes, each with its interval."""

from app.evaluation.html import weak


def test_worst_classes_and_pairs_are_listed(page, report):
    """With their wnids, or indices."""
    worst = report["worst_classes"][1]
    pair = report["confused_pairs"][0]

    assert f"{worst['label']} {worst['wnid'] or 'index 0'} {100 * worst['top1']:.2f} %" in page.text
    assert f"{pair['count']:,} {100 * pair['share']:.2f} %" in page.text


def test_errors_between_kin_are_counted(report, library):
    """A share of those whose classes WordNet knows; nothing where it knows none."""
    same = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 1234}
    errors = {"n": 2000, "known": 1234, "same_parent": same}
    none = {"n": 3, "known": 0, "same_parent": None}

    found = weak.classes(report | {"errors": errors}, library)
    assert (
        "Of 1,234 errors between classes that WordNet has, <strong>50.00 %</strong> (10.00 to 90.00 %)"
        in found
    )
    assert "WordNet" not in weak.classes(report | {"errors": none}, library)


def test_thirds_are_listed_and_the_weak_ones_named(report, library):
    """In the table, and in the text of the plot."""
    thirds = [dict(one) for one in report["segments"]["properties"]["brightness"]["segments"]]
    thirds[0]["weak"] = True
    properties = {"brightness": {"meaning": "light", "segments": thirds}}
    found = weak.segments(
        report | {"segments": report["segments"] | {"properties": properties}}, library
    )
    name = f"brightness up to {thirds[0]['up_to']:.4g}"

    assert f"Weak: {name}." in found
    assert "brightness: light." in found


def test_segments_that_were_found_are_named(report, library):
    """With how many were tried."""
    one = {"text": "brightness up to 0.1", "where": [], "n": 7, "share": 0.1, "top1": 0.2, "low": 0.1, "high": 0.3}  # fmt: skip
    found = weak.segments(
        report | {"segments": report["segments"] | {"weak": [one], "tried": 1234}}, library
    )

    assert '<th scope="row">brightness up to 0.1</th>' in found
    assert "1,234 segments" in found


def test_flip_rates_have_intervals(page, report):
    """Of answers that changed, and of right ones."""
    first, second = report["stress"]["changes"]

    assert 0 == first["flip_rate"]["value"]
    assert "JPEG <50> 0.00 % 0.00 to 7.13 %" in page.text
    assert f"turned {100 * second['flip_rate']['value']:.2f} %" in page.text
    assert "50 of 499 photos, drawn with seed 0" in page.text
