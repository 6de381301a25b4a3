"""The page as a whole: its head, its sections in their order, and what makes the run repeatable."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from app.evaluation.html import figures, photos, weak
from app.evaluation.html.markup import Markup, table, tag
from app.evaluation.html.parts import Pictures, Report, counted, paragraph, section, test_name
from app.evaluation.html.plots import Matplotlib

_STYLE: Final = Path(__file__).with_name("page.css")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing is loaded, and no script runs, whatever a file is called."""
_NAVIGATION: Final = {
    "summary": "Main figures", "calibration": "Calibration", "classes": "Classes",
    "segments": "Segments", "stress": "Flip rates", "suspects": "Suspects", "odd": "Odd photos", "files": "Files",
    "baselines": "Baselines", "comparison": "Comparison", "making": "How it was made",
}  # fmt: skip


def write_page(report: Report, pictures: Pictures, library: Matplotlib) -> str:
    """Write a report as one HTML file.

    Args:
        report: As `evaluate` of the command makes it.
        pictures: Of the photos that `photos.shown` names, those that there are.
        library: What draws.
    """
    made = report["model"]
    title = f"Evaluation of {made['name']}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    made_at = f"{report['made'][:16].replace('T', ' ')} UTC"
    below = f"{made['title']}; {counted(report['n'], 'photo', 'photos')}; {test_name(report['test'])}; {made_at}"
    links = (tag("li", tag("a", text, href=f"#{one}")) for one, text in _NAVIGATION.items())
    header = tag(
        "header",
        tag("h1", title),
        paragraph(below, kind="quiet"),
        tag("nav", tag("ul", *links), aria_label="Sections"),
    )
    main = tag(
        "main",
        figures.summary(report),
        figures.calibration(report, library),
        weak.classes(report, library),
        weak.segments(report, library),
        weak.stress(report, library),
        photos.suspects(report, pictures),
        photos.odd(report, pictures),
        photos.files(report),
        figures.baselines(report),
        photos.comparison(report, pictures),
        _making(report),
    )
    document = tag("html", head, tag("body", header, main), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def _making(report: Report) -> Markup:
    rows = [
        [name, tag("code", value)]
        for part in ("command", "model", "test", "photos", "speed", "machine", "versions")
        for name, value in _flat(part, report[part])
    ]
    if report["comparison"] is not None:
        second = report["comparison"]["second_model"] | {
            "test": report["comparison"]["second_test"]
        }
        rows += [[name, tag("code", value)] for name, value in _flat("second model", second)]
    return section(
        "making",
        "How it was made",
        paragraph("The same weights, photos, labels and settings give the same figures."),
        table("Everything that the figures depend on", ("what", "value"), rows),
    )


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401 (any part of a report)
    """Yield the values inside an object, with the way to each."""
    if isinstance(value, Mapping):
        for key, inside in value.items():
            yield from _flat(f"{name}.{key}", inside)
    else:
        yield name, f"{value:.6g}" if isinstance(value, float) else str(value)
