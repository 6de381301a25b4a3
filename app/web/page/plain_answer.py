"""The answer to POST /predict as HTML, for a form that was sent without JavaScript."""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from starlette.responses import HTMLResponse

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
  <link rel="icon" href="static/icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="static/style.css">
</head>
<body>
  <header class="top"><p class="brand"><a href="./">vgg-serve</a></p></header>
  <main><section class="network"><article>
    <h1>{title}</h1>
    {body}
    <p><a href="./">Classify another photo</a></p>
  </article></section></main>
</body>
</html>
"""
_UNTRAINED = """<p class="untrained">Untrained weights: this means nothing</p>"""


def answer_page(answer: PredictOut, classes: int, headers: Mapping[str, str]) -> HTMLResponse:
    """Write as a page what would have been sent as JSON."""
    rows = "\n".join(
        f"<li><span>{escape(guess.label)}: <b>{_share(guess.probability)}</b></span>"
        f'<meter value="{guess.probability:.4f}" aria-hidden="true"></meter></li>'
        for guess in answer.predictions
    )
    image, best = answer.image, answer.predictions[0]
    together = sum(guess.probability for guess in answer.predictions)
    body = (
        f"{'' if answer.model.trained else _UNTRAINED}<ol>{rows}</ol>"
        f"<p>These {len(answer.predictions)} add up to {_share(min(1.0, together))} of all {classes}"
        f" classes. The photo has {image.width} x {image.height} pixels"
        f" ({escape(image.format.upper())}); {escape(answer.model.name)} answered.</p>"
    )
    return _page(escape(best.label.split(",")[0]), body, HTTPStatus.OK, headers)


def problem_page(status: int, title: str, detail: str, headers: Mapping[str, str]) -> HTMLResponse:
    """Write a problem as a page, from the fields of its JSON."""
    return _page(escape(title), f'<p role="alert">{escape(detail)}</p>', status, headers)


def _page(title: str, body: str, status: int, headers: Mapping[str, str]) -> HTMLResponse:
    html = page_files().versioned(_PAGE).format(title=title, body=body)
    return HTMLResponse(html, status, {**headers, **HEADERS, "Vary": "Accept, Sec-Fetch-Mode"})


def _share(probability: float) -> str:
    return escape(percent(probability)).replace(" ", "\u202f")  # never broken at the end of a line
