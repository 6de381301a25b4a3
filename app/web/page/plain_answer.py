"""The answer to POST /predict as HTML, for a form that was sent without JavaScript.

The photo is not sent back: its outline shows where the box of the best class is.
"""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from starlette.responses import HTMLResponse
from starlette.types import Scope

from app.records import percent
from app.web.page.files import HEADERS, page_files
from app.web.schemas.answers import BoxOut, ExplainedOut, LocatedOut, PredictionOut, PredictOut

_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <title>{title}</title>
  <link rel="icon" href="{here}static/{version}/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="{here}static/{version}/style.css">
</head>
<body>
  <header class="top"><p class="brand"><a href="{here}">vgg-serve</a></p></header>
  <main><section class="network"><article>
    <h1>{title}</h1>
    {body}
    <p><a href="{here}">Classify another photo</a></p>
  </article></section></main>
</body>
</html>
"""
_UNTRAINED = """<p class="untrained">Untrained weights: this means nothing</p>"""
_UNUSUAL = "<p><strong>This photo is unlike those the model knows.</strong></p>"
_OUTLINE = """<figure><svg viewBox="0 0 {width} {height}" width="320" role="img" aria-label="{words}" \
fill="none" stroke="currentColor">
<rect width="{width}" height="{height}" stroke-width="{thin}"></rect>
<rect x="{view.xmin}" y="{view.ymin}" width="{across}" height="{down}" stroke-width="{thin}" \
stroke-dasharray="{dash}"></rect>
<rect x="{box.xmin}" y="{box.ymin}" width="{wide}" height="{tall}" stroke-width="{thick}"></rect>
</svg><figcaption>The photo in outline, what the network saw of it (dashed), and where it saw {label}.\
</figcaption></figure>"""
_THICK = 60
"""The line of a box is one pixel wide for so many pixels of the photo's longer side."""
_MOST_OF = 0.8
"""Share of the view from which on a box is called most of it."""
_STAND_IN = """<p class="untrained"><strong>{} stands in for {}.</strong></p>"""


def answer_page(
    scope: Scope, answer: PredictOut, classes: int, headers: Mapping[str, str]
) -> HTMLResponse:
    """Write as a page what would have been sent as JSON to the request of `scope`."""
    rows = "\n".join(
        f"<li><span>{escape(guess.label)}: <b>{_share(guess.probability)}</b>"
        f"{_place(guess, answer)}</span>"
        f'<meter value="{guess.probability:.4f}" aria-hidden="true"></meter></li>'
        for guess in answer.predictions
    )
    image, best, model = answer.image, answer.predictions[0], answer.model
    stands_in = (
        _STAND_IN.format(escape(model.name), escape(model.stands_in_for))
        if model.stands_in_for
        else ""
    )
    in_int8 = " in int8" if model.precision == "int8" else ""
    together = sum(guess.probability for guess in answer.predictions)
    body = (
        f"{'' if model.trained else _UNTRAINED}{stands_in}{_UNUSUAL if answer.unusual else ''}<ol>{rows}</ol>{_outline(answer)}"
        f"<p>These {len(answer.predictions)} add up to {_share(min(1.0, together))} of all {classes}"
        f" classes. The photo has {image.width} x {image.height} pixels"
        f" ({escape(image.format.upper())}); {escape(model.name)} answered{in_int8}.</p>"
    )
    return _page(scope, escape(best.label.split(",")[0]), body, HTTPStatus.OK, headers)


def problem_page(
    scope: Scope, status: int, title: str, detail: str, headers: Mapping[str, str]
) -> HTMLResponse:
    """Write a problem as a page, from the fields of its JSON."""
    return _page(scope, escape(title), f'<p role="alert">{escape(detail)}</p>', status, headers)


def _boxes(guess: PredictionOut, answer: PredictOut) -> tuple[BoxOut, BoxOut] | None:
    """Return the box of a class and the view; None if none was asked for, or nothing was seen."""
    if not isinstance(answer, ExplainedOut) or not isinstance(guess, LocatedOut):
        return None
    return (guess.box, answer.view) if guess.box and answer.view else None


def _place(guess: PredictionOut, answer: PredictOut) -> str:
    found = _boxes(guess, answer)
    return f", {where(*found)}" if found else ""


def where(box: BoxOut, view: BoxOut) -> str:
    """Return the place of a box in words: `left half, from 41, 20 to 390, 311`."""
    across = _part(box.xmin, box.xmax, view.xmin, view.xmax, ("left", "right"))
    down = _part(box.ymin, box.ymax, view.ymin, view.ymax, ("upper", "lower"))
    if across and down:
        place = f"{down} {across}"
    elif across or down:
        place = f"{across or down} half"
    else:
        large = (box.xmax - box.xmin) * (box.ymax - box.ymin) >= _MOST_OF * (
            (view.xmax - view.xmin) * (view.ymax - view.ymin)
        )
        place = "most of the view" if large else "middle"
    return f"{place}, from {box.xmin}, {box.ymin} to {box.xmax}, {box.ymax}"


def _part(start: int, end: int, first: int, last: int, names: tuple[str, str]) -> str:
    """Return the half of the view that holds most of a box along one side; nothing if both do."""
    middle = (first + last) / 2
    share = (min(end, middle) - min(start, middle)) / (end - start)
    if share >= 2 / 3:
        return names[0]
    return names[1] if share <= 1 / 3 else ""


def _outline(answer: PredictOut) -> str:
    """Draw the box of the best class in the outline of the photo."""
    best, image = answer.predictions[0], answer.image
    found = _boxes(best, answer)
    if found is None:
        return ""
    box, view = found
    line = max(image.width, image.height) / _THICK
    label = escape(best.label.split(",")[0])
    return _OUTLINE.format(
        width=image.width,
        height=image.height,
        view=view,
        box=box,
        across=view.xmax - view.xmin,
        down=view.ymax - view.ymin,
        wide=box.xmax - box.xmin,
        tall=box.ymax - box.ymin,
        thin=round(line / 3, 2),
        thick=round(line, 2),
        dash=round(line, 2),
        words=f"{label}: {where(box, view)}",
        label=label,
    )


def _page(
    scope: Scope, title: str, body: str, status: int, headers: Mapping[str, str]
) -> HTMLResponse:
    # Relative, as the page's addresses: a proxy may add a prefix. /predict/ is /predict.
    here = "../" if scope.get("raw_path", b"").endswith(b"/") else "./"
    html = _PAGE.format(here=here, version=page_files().version, title=title, body=body)
    return HTMLResponse(html, status, {**headers, **HEADERS, "Vary": "Accept, Sec-Fetch-Mode"})


def _share(probability: float) -> str:
    return escape(percent(probability)).replace(" ", "\u202f")  # never broken at the end of a line
