"""The answer to POST /predict as HTML, for a form that was sent without JavaScript."""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from starlette.responses import HTMLResponse
from starlette.types import Scope

from app.records import percent
from app.web.page.files import HEADERS, page_files
from app.web.schemas import PredictOut

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
_STAND_IN = """<p class="untrained"><strong>{} stands in for {}.</strong></p>"""


def answer_page(
    scope: Scope, answer: PredictOut, classes: int, headers: Mapping[str, str]
) -> HTMLResponse:
    """Write as a page what would have been sent as JSON to the request of `scope`."""
    rows = "\n".join(
        f"<li><span>{escape(guess.label)}: <b>{_share(guess.probability)}</b></span>"
        f'<meter value="{guess.probability:.4f}" aria-hidden="true"></meter></li>'
        for guess in answer.predictions
    )
    image, best, model = answer.image, answer.predictions[0], answer.model
    stands_in = (
        _STAND_IN.format(escape(model.name), escape(model.stands_in_for))
        if model.stands_in_for
        else ""
    )
    together = sum(guess.probability for guess in answer.predictions)
    body = (
        f"{'' if model.trained else _UNTRAINED}{stands_in}<ol>{rows}</ol>"
        f"<p>These {len(answer.predictions)} add up to {_share(min(1.0, together))} of all {classes}"
        f" classes. The photo has {image.width} x {image.height} pixels"
        f" ({escape(image.format.upper())}); {escape(model.name)} answered.</p>"
    )
    return _page(scope, escape(best.label.split(",")[0]), body, HTTPStatus.OK, headers)


def problem_page(
    scope: Scope, status: int, title: str, detail: str, headers: Mapping[str, str]
) -> HTMLResponse:
    """Write a problem as a page, from the fields of its JSON."""
    return _page(scope, escape(title), f'<p role="alert">{escape(detail)}</p>', status, headers)


def _page(
    scope: Scope, title: str, body: str, status: int, headers: Mapping[str, str]
) -> HTMLResponse:
    # Relative, as the page's addresses: a proxy may add a prefix. /predict/ is /predict.
    here = "../" if scope.get("raw_path", b"").endswith(b"/") else "./"
    html = _PAGE.format(here=here, version=page_files().version, title=title, body=body)
    return HTMLResponse(html, status, {**headers, **HEADERS, "Vary": "Accept, Sec-Fetch-Mode"})


def _share(probability: float) -> str:
    return escape(percent(probability)).replace(" ", "\u202f")  # never broken at the end of a line
