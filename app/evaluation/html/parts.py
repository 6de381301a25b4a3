"""What the sections of the page are made of: headings, shares, classes, photos."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from app.evaluation.html.markup import Figure, Markup, markup, tag
from app.records import percent as shown

Report: TypeAlias = Mapping[str, Any]
"""The report as its JSON has it, or an object in it."""
Pictures: TypeAlias = Mapping[str, bytes]
"""Small JPEGs of photos, by their names."""


def section(anchor: str, title: str, *inside: object) -> Markup:
    """Return a section with its heading."""
    heading = tag("h2", title, id=f"{anchor}-heading")
    return tag("section", heading, *inside, id=anchor, aria_labelledby=f"{anchor}-heading")


def paragraph(*inside: object, kind: str | None = None) -> Markup:
    """Return a paragraph; of the kind `warning` it stands out."""
    return tag("p", *inside, class_=kind)


def percent(value: float) -> Figure:
    """Write a share as per cent."""
    return Figure(f"{100 * value:.2f} %")


def share_of(probability: float) -> Markup:
    """Write a probability as the service's page does, on one line."""
    return tag("span", shown(probability), class_="whole")


def interval(one: Report) -> Figure:
    """Write an interval of shares as per cent."""
    return Figure(f"{100 * one['low']:.2f} to {100 * one['high']:.2f} %")


def number(value: float | None) -> Figure:
    """Write a number, or a dash for one that is unknown."""
    return Figure("–" if value is None else f"{value:,.4f}")  # noqa: RUF001 (a dash)


def count(value: int) -> Figure:
    """Write how many there are."""
    return Figure(f"{value:,}")


def counted(value: int, one: str, many: str) -> str:
    """Write how many of something there are: `1 photo is`, `2 photos are`."""
    return f"{value:,} {one if value == 1 else many}"


def class_name(one: Report) -> Markup:
    """Write a class: its names, and its wnid or index."""
    return markup(one["label"], " ", tag("small", one["wnid"] or f"index {one['class_index']}"))


def test_name(test: Report) -> str:
    """Write how photos were classified: `single crop`, `dense at 256, 384 pixels`."""
    if test["name"] == "single":
        return "single crop"
    return f"{test['name']} at {', '.join(map(str, test['scales']))} pixels"


def file_name(name: str) -> Markup:
    """Write the name of a file, whose letters may run from right to left."""
    return tag("bdi", tag("code", name))


def picture(name: str, pictures: Pictures) -> Markup:
    """Show a small photo, or an empty frame where there is none."""
    data = pictures.get(name)
    if data is None:
        return tag("span", "no picture", class_="frame")
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return tag("img", src=source, alt=f"the photo {name}", width="96", height="96")


def cards(inside: Iterable[Markup]) -> Markup:
    """Lay out small photos with their texts."""
    return tag("ul", *(tag("li", one) for one in inside), class_="cards", role="list")


def more(listed: int, total: int, one: str) -> Markup:
    """Say how many are in the JSON alone."""
    if listed >= total:
        return Markup("")
    left = counted(total - listed, f"more {one} is", f"more {one}s are")
    return paragraph(f"{left} in the JSON.", kind="quiet")
