"""Photos to look at: suspected labels, odd ones, answers that changed, files that are damaged or there twice."""

from collections.abc import Sequence

from app.evaluation.html.markup import Figure, Markup, markup, table, tag
from app.evaluation.html.parts import (
    Pictures,
    Report,
    cards,
    count,
    counted,
    file_name,
    more,
    paragraph,
    percent,
    picture,
    section,
    share_of,
)
from app.evaluation.segments import short

SUSPECTS = 100
CHANGED = 60
"""Photos that are shown; the JSON has more."""
_LISTED = 50
ODD = 4
"""Odd photos that are shown of each property."""


def shown(report: Report) -> list[str]:
    """Return the names of the photos that the page shows, the most important first."""
    suspects = [one["name"] for one in report["suspected_label_errors"][:SUSPECTS]]
    compared = report["comparison"]
    changed = [one["name"] for one in compared["changed"]["photos"][:CHANGED]] if compared else []
    odd = [one["name"] for _, one in _oddest(report)]
    return [*dict.fromkeys([*suspects, *odd, *changed])]


def suspects(report: Report, pictures: Pictures) -> Markup:
    """Return the photos whose labels may be wrong."""
    found = report["suspected_label_errors"]
    listed = found[:SUSPECTS]
    if not found:
        return section("suspects", "Suspected label errors", paragraph("There are none."))
    said = (
        "Photos whose label is least probable, the most suspect first. Look at each: the label may be"
        " wrong, or the model."
    )
    shown_ones = (
        _card(
            one["name"],
            pictures,
            (
                ("labelled", one["label"]["label"], one["label_probability"]),
                ("answered", one["answer"]["label"], one["answer_probability"]),
            ),
        )
        for one in listed
    )
    return section(
        "suspects",
        "Suspected label errors",
        paragraph(said),
        cards(shown_ones),
        more(len(listed), len(found), "suspect"),
    )


def odd(report: Report, pictures: Pictures) -> Markup:
    """Return the photos that are unlike the others by a property."""
    rows = [
        [_words(name), Figure(short(one["low"])), Figure(short(one["high"])), count(one["below"]), count(one["above"]), count(one["n"])]
        for name, one in report["odd_photos"].items()
    ]  # fmt: skip
    heads = (
        "property", Figure("usual from"), Figure("to"), Figure("photos below"), Figure("above"), Figure("n"),
    )  # fmt: skip
    said = (
        "Usual is up to 1.5 interquartile ranges below the lower quartile and above the upper one (Tukey's"
        " fences). The farthest photos are shown: see whether they belong here."
    )
    shown_ones = [
        markup(
            picture(one["name"], pictures),
            tag("div", tag("span", f"{_words(name)} ", tag("b", short(one["value"]))), file_name(one["name"])),
        )
        for name, one in _oddest(report)
    ]  # fmt: skip
    return section(
        "odd",
        "Odd photos",
        paragraph(said),
        table("Properties of photos, and how many are beyond what is usual", heads, rows),
        cards(shown_ones) if shown_ones else "",
    )


def _oddest(report: Report) -> list[tuple[str, Report]]:
    return [
        (name, one) for name, found in report["odd_photos"].items() for one in found["photos"][:ODD]
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _card(name: str, pictures: Pictures, lines: Sequence[tuple[str, str, float | None]]) -> Markup:
    """Return a photo with lines below each other: what, a class, and its probability if there is one."""
    texts = (
        tag("span", what, " ", tag("b", label), " ", "" if sure is None else share_of(sure))
        for what, label, sure in lines
    )
    return markup(picture(name, pictures), tag("div", *texts, file_name(name)))


def _side(name: str, one: Report) -> str:
    return f"{name}, right:" if one["right"] == name else f"{name}:"


def comparison(report: Report, pictures: Pictures) -> Markup:
    """Return the paired comparison, and the photos whose answer changed."""
    found = report["comparison"]
    if found is None:
        said = "Nothing was compared: the option --compare names another model, or another setting."
        return section("comparison", "Comparison", paragraph(said))
    difference, test, changed = found["difference"], found["mcnemar"], found["changed"]
    points = f"{100 * difference['low']:+.2f} to {100 * difference['high']:+.2f} points"
    rows = [
        [report["model"]["name"], percent(found["first"]["top1"]), percent(found["first"]["top5"])],
        [f"{found['second_model']['name']} ({found['with']})", percent(found["second"]["top1"]),
         percent(found["second"]["top5"])],
    ]  # fmt: skip
    figures = [
        ["difference of top-1", Figure(f"{100 * difference['top1']:+.2f} points")],
        ["its 95 % interval (paired bootstrap)", Figure(points)],
        ["photos that the first alone gets right", count(test["only_first_right"])],
        ["photos that the second alone gets right", count(test["only_second_right"])],
        ["McNemar's test, exact: p", Figure(f"{test['p_exact']:.4g}")],
        ["first answers that changed", count(changed["count"])],
        ["share of answers that changed", percent(changed["share"])],
    ]
    listed = changed["photos"][:CHANGED]
    shown_ones = (
        _card(
            one["name"],
            pictures,
            (
                ("labelled", one["label_text"], None),
                (_side("first", one), one["first_text"], one["first_probability"]),
                (_side("second", one), one["second_text"], one["second_probability"]),
            ),
        )
        for one in listed
    )
    return section(
        "comparison",
        "Comparison",
        table(
            f"Both sides, on the same {counted(found['n'], 'photo', 'photos')}",
            ("side", Figure("top-1"), Figure("top-5")),
            rows,
        ),
        table("Second minus first", ("figure", Figure("value")), figures),
        tag("h3", "Photos whose first answer changed"),
        paragraph("First those that the first side got right.") if listed else paragraph("None."),
        cards(shown_ones) if listed else "",
        more(len(listed), changed["count"], "photo"),
    )


def files(report: Report) -> Markup:
    """Return the files that are damaged, and those that are there twice."""
    damaged, alike = report["damaged"], report["duplicates"]
    parts: list[object] = []
    if damaged:
        rows = [[file_name(one["name"]), one["why"]] for one in damaged[:_LISTED]]
        parts += [
            table("Files that could not be classified, and are not counted", ("file", "why"), rows),
            more(min(_LISTED, len(damaged)), len(damaged), "damaged file"),
        ]
    else:
        parts.append(paragraph("All files could be classified."))
    if alike["groups"]:
        listed = alike["listed"][:_LISTED]
        rows = [
            [
                markup(*(tag("div", file_name(name)) for name in one["names"][:_LISTED])),
                ", ".join(sorted({*one["labels"]})),
                "different labels" if one["different_labels"] else "",
            ]
            for one in listed
        ]
        groups = counted(alike["groups"], "group", "groups")
        copies = counted(alike["files_too_many"], "file is a copy", "files are copies")
        said = f"{groups} of equal files: {copies}"
        parts += [
            table(said, ("files with the same bytes", "labels", "finding"), rows),
            more(len(listed), alike["groups"], "group"),
        ]
    else:
        parts.append(paragraph("No two files have the same bytes."))
    return section("files", "Damaged and duplicate files", *parts)
