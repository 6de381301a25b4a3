"""The page shows photos to look at, bounded in number, and files to clear up."""

import base64

from app.evaluation.html import photos
from tests.evaluation.html.conftest import ODD


def test_suspects_are_shown_with_their_pictures(page, report, small):
    """Where there is no picture, a frame says so; the JSON has the rest."""
    source = f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
    more = len(report["suspected_label_errors"]) - photos.SUSPECTS

    assert ODD in photos.shown(report)
    assert {source} == set(page.attributes("img", "src"))
    assert "no picture" in page.text
    assert f"{more} more suspects are in the JSON." in page.text


def test_what_is_shown_is_bounded(report):
    """Each name once."""
    names = photos.shown(report)

    odd = sum(len(one["photos"][: photos.ODD]) for one in report["odd_photos"].values())
    assert len(set(names)) == len(names) <= photos.SUSPECTS + odd + photos.CHANGED


def test_without_suspects_the_page_says_so(report):
    """And without damaged files, copies, and answers that changed."""
    nothing = {"groups": 0, "files_too_many": 0, "with_different_labels": 0, "listed": []}
    changed = report["comparison"] | {"changed": {"count": 0, "share": 0.0, "photos": []}}
    clean = report | {
        "suspected_label_errors": [], "damaged": [], "duplicates": nothing, "comparison": changed
    }  # fmt: skip

    assert "There are none." in photos.suspects(clean, {})
    assert "All files could be classified." in photos.files(clean)
    assert "No two files have the same bytes." in photos.files(clean)
    assert "None." in photos.comparison(clean, {})


def test_odd_photos_are_shown(page, report):
    """Each property with its limits, and the farthest photos."""
    assert "3.jpg" in photos.shown(report)
    assert "contrast 0.2 0.2 0 1 499" in page.text
    assert "contrast 0.45 3.jpg" in page.text
    assert "jpeg quality" not in photos.odd(report, {})


def test_files_are_listed(page):
    """Damaged ones with the reason, copies with their labels."""
    assert "7.jpg It is <cut> short." in page.text
    assert "1 group of equal files: 1 file is a copy" in page.text
    assert "different labels" in page.text


def test_the_comparison_has_its_test(page, report):
    """Difference, interval, McNemar, and photos whose answer changed."""
    found = report["comparison"]

    assert f"{100 * found['difference']['top1']:+.2f} points" in page.text
    assert f"McNemar's test, exact: p {found['mcnemar']['p_exact']:.4g}" in page.text
    assert f"{found['changed']['count'] - photos.CHANGED} more photos are in the JSON." in page.text
    assert "mini (x=<y>)" in page.text
    first = found["changed"]["photos"][0]
    assert "first" == first["right"]
    assert f"labelled {first['label_text']} first, right: {first['first_text']}" in page.text
