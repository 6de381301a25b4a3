"""HTML in which any text is escaped: file names and labels may have any characters."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from app.texts import printable

_EMPTY: Final = frozenset({"img", "meta"})
"""Elements that are not closed."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def markup(*parts: object) -> Markup:
    """Join parts; those that are no Markup are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else _text(str(part)) for part in parts))


def tag(name: str, /, *inside: object, **attributes: str | None) -> Markup:
    """Return an element; `class_` stands for class, `aria_label` for aria-label, None leaves one out."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    written = "".join(f' {key}="{_text(value)}"' for key, value in pairs if value is not None)
    end = "" if name in _EMPTY else f"</{name}>"
    return Markup(f"<{name}{written}>{markup(*inside)}{end}")


def table(caption: object, heads: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table; the first cell of each row is its header, and columns of figures stand to the right.

    A row's cells that are figures are given as `Figure`.
    """
    body = [
        tag("tr", tag("th", first, scope="row"), *(_cell(cell) for cell in rest))
        for first, *rest in rows
    ]
    figures = [isinstance(head, Figure) for head in heads]
    head = tag(
        "tr",
        *(
            tag("th", one, scope="col", class_="figure" if right else None)
            for one, right in zip(heads, figures, strict=True)
        ),
    )
    inside = tag("caption", caption), tag("thead", head), tag("tbody", *body)
    # Focusable, so that the keyboard can scroll a table that is wider than the screen.
    return tag(
        "div",
        tag("table", *inside),
        class_="wide",
        tabindex="0",
        role="group",
        aria_label=str(caption),
    )


class Figure(str):
    """The text of a cell that stands to the right, as figures do."""

    __slots__ = ()


def _cell(cell: object) -> Markup:
    return tag("td", cell, class_="figure" if isinstance(cell, Figure) else None)


def _text(text: str) -> str:
    """Escape a text; what cannot be seen, or turns the text around it, is written as a code."""
    return escape(printable(text))
