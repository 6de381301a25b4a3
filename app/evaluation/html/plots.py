"""Plots as SVG that stands inside a page: drawn by matplotlib, in the colours and the font of the page."""

import importlib
import io
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.evaluation.html.markup import Markup, tag
from app.setup_errors import SetupError

_COLOURS: Final = {
    "#000001": "currentColor",
    "#000002": "var(--accent)",
    "#000003": "var(--quiet)",
    "#000004": "var(--warning)",
    "#000005": "var(--line)",
}
"""What stands for the colours of the page, which are not known while a plot is drawn."""
_TEXT, _ACCENT, _QUIET, _WARNING, _LINE = _COLOURS
_STYLE: Final = {
    "svg.fonttype": "none", "svg.hashsalt": "vgg-serve", "font.size": 10, "font.family": "sans-serif",
    "text.color": _TEXT, "axes.labelcolor": _TEXT, "axes.edgecolor": _QUIET, "axes.titlesize": 11,
    "xtick.color": _QUIET, "ytick.color": _QUIET, "xtick.labelcolor": _TEXT, "ytick.labelcolor": _TEXT,
    "grid.color": _LINE, "grid.linewidth": 0.8, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "savefig.transparent": True, "path.simplify": True,
}  # fmt: skip
_WIDTH: Final = 7.2
"""Inches of 72 pixels."""


@dataclass(frozen=True, slots=True)
class Matplotlib:
    """The parts of matplotlib that draw, without its global state."""

    figure: Any
    context: Callable[..., Any]


def matplotlib() -> Matplotlib:
    """Return matplotlib; raise before anything is measured what would otherwise fail behind it.

    Raises:
        SetupError: If it is not installed.
    """
    try:
        figure = importlib.import_module("matplotlib.figure").Figure
        return Matplotlib(figure, importlib.import_module("matplotlib").rc_context)
    except ImportError as exc:
        raise SetupError(
            "--html needs matplotlib, which draws the plots and is not installed."
            f" Install it with: {sys.executable} -m pip install matplotlib"
        ) from exc


@dataclass(frozen=True, slots=True)
class Point:
    """A share with its interval, on a line of its own."""

    name: str
    value: float
    low: float
    high: float
    marked: bool = False


def reliability(library: Matplotlib, bins: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """Draw how often the answers of each bin are right, and below how many photos it has."""

    def draw(figure: Any) -> None:  # noqa: ANN401 (a class of an optional package)
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        edges = [0.0, *(one["up_to"] for one in bins)]
        known = [one for one in bins if one["n"]]
        says = [one["mean_probability"] for one in known]
        hits = [one["top1"] for one in known]
        upper.plot([0, 1], [0, 1], color=_QUIET, linestyle="--", label="as sure as right")
        upper.vlines(says, says, hits, color=_WARNING, linewidth=2.5, label="gap")
        upper.plot(says, hits, color=_ACCENT, marker="o", markersize=4, label="right answers")
        upper.set_ylabel("share of right answers")
        upper.set_ylim(0, 1.02)  # a marker at 1 is seen whole
        upper.legend(loc="upper left")
        lower.bar(
            edges[:-1], [one["n"] for one in bins], 1 / len(bins), align="edge", color=_ACCENT
        )
        lower.set_ylabel("photos")
        lower.set_xlabel("probability of the first answer")
        lower.set_xlim(0, 1)

    return _svg(library, "reliability", title, 4.6, draw)


def intervals(
    library: Matplotlib,
    name: str,
    title: str,
    points: Sequence[Point],
    mean: float | None,
    axis: str,
) -> Markup:
    """Draw shares with their intervals below each other, and a line for all photos if `mean` is given."""

    def draw(figure: Any) -> None:  # noqa: ANN401 (the same)
        axes = figure.subplots()
        for place, point in enumerate(points):
            colour = _WARNING if point.marked else _ACCENT
            axes.plot([point.low, point.high], [place, place], color=colour, linewidth=2)
            axes.plot([point.value], [place], color=colour, marker="o", markersize=5)
        ends = [end for point in points for end in (point.low, point.high)]
        if mean is not None:
            axes.axvline(mean, color=_QUIET, linestyle="--")
            ends.append(mean)
        axes.set_yticks(range(len(points)), [_plain(point.name) for point in points])
        axes.set_ylim(len(points) - 0.5, -0.5)
        axes.set_xlim(min(ends) - 0.02, max(ends) + 0.02)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(axis)

    return _svg(library, name, title, 0.9 + 0.24 * len(points), draw)


def _plain(text: str) -> str:
    """Return a text that matplotlib does not take for mathematics, short enough for an axis."""
    short = text if len(text) <= 36 else f"{text[:35]}…"  # noqa: PLR2004 (a third of the width)
    return short.replace("$", r"\$")


def _svg(
    library: Matplotlib,
    name: str,
    title: str,
    height: float,
    draw: Callable[[Any], None],
) -> Markup:
    with library.context(_STYLE):
        figure = library.figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        file = io.StringIO()
        with warnings.catch_warnings():
            # The browser draws the text, in a font that has the letters.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return Markup(_inline(file.getvalue(), name, title))


def _inline(svg: str, name: str, title: str) -> str:
    """Make a file of matplotlib a part of a page: with a title, the page's colours, ids that are its own."""
    svg = svg[svg.index("<svg") :]
    for left_out in (
        r"<metadata>.*?</metadata>",
        r"<!--.*?-->",
        r"<style.*?</style>",
        r"(?<=<g) id=\S+?(?=>| )",
    ):
        svg = re.sub(left_out, "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("> <", "><")
    view = re.search(r'viewBox="[^"]*"', svg)
    if view is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    named = tag("title", title, id=f"{name}-title")
    head = f'<svg {view[0]} role="img" aria-labelledby="{name}-title">{named}'
    svg = head + svg[svg.index(">") + 1 :]
    for colour, shown in _COLOURS.items():
        svg = svg.replace(colour, shown)
    svg = re.sub(r'(font: [\d.]+px |font-family: )[^;"]*', r"\1inherit", svg)
    svg = re.sub(rf'\bid="(?!{name}-title")', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    return svg.replace("xlink:href", "href")
