"""The page is whole: well-formed, of one file, accessible by its structure, safe, and it holds everything."""

import re

from app.evaluation.html.page import write_page
from tests.evaluation.html.conftest import HOSTILE, Page

LAST = {
    "command": "vgg-serve evaluate 'a & b'",
    "weights": "ab" * 32,
    "cpu": "A & B",
    "numpy": "2.4",
}


def test_nothing_is_loaded_and_nothing_runs(page):
    """No script, no handler, no address but data and places in the page; the policy forbids the rest."""
    links = [
        value
        for _, pairs in page.tags
        for name, value in pairs.items()
        if name in {"href", "src"} and value
    ]

    assert page.source.startswith("<!DOCTYPE html>\n<html")
    assert set() == {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert [] == [name for _, pairs in page.tags for name in pairs if name.startswith("on")]
    assert [] == [one for one in links if not one.startswith(("#", "data:image/jpeg;base64,"))]
    assert [] == re.findall(
        r"url\((?!#)|@import|https?:", page.source.replace("http://www.w3.org", "")
    )
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.attributes(
        "meta", "content"
    )


def test_texts_of_others_are_shown_and_not_obeyed(page):
    """File names, labels, reasons, titles."""
    assert HOSTILE in page.text
    assert """<img src=x onerror="alert(1)">'\\n\\u202egpj.jpg""" in page.text
    assert "It is <cut> short." in page.text
    assert "A <mini> one" in page.text
    assert "JPEG <50>" in page.text
    assert "\u202e" not in page.source


def test_ids_are_unique_and_links_lead_somewhere(page):
    """Those of the plots too."""
    ids = [pairs["id"] for _, pairs in page.tags if pairs.get("id")]
    wanted = [pairs.get("aria-labelledby") for _, pairs in page.tags if "aria-labelledby" in pairs]
    links = [value for _, pairs in page.tags if (value := pairs.get("href") or "").startswith("#")]
    cuts = re.findall(r"url\(#(.*?)\)", page.source)

    assert sorted(set(ids)) == sorted(ids)
    assert set() == {*wanted, *cuts, *(one[1:] for one in links)} - set(ids)


def test_the_structure_is_spoken(page):
    """One h1, a heading a section, a title a plot, a caption and headers a table, a text a photo."""
    kinds = [tag for tag, _ in page.tags]
    tables = kinds.count("table")

    assert (1, 1, 11, 11) == tuple(kinds.count(tag) for tag in ("h1", "main", "h2", "section"))
    assert (tables, tables) == (kinds.count("caption"), kinds.count("thead"))
    assert {"row", "col"} == set(page.attributes("th", "scope"))
    assert ["img"] * 4 == page.attributes("svg", "role")
    assert 4 == len(page.attributes("svg", "aria-labelledby"))
    assert all(page.attributes("img", "alt"))
    assert ["en"] == page.attributes("html", "lang")


def test_what_makes_it_repeatable_is_there(page):
    """The command, the digest, the machine, versions."""
    assert list(LAST.values()) == [text for text in LAST.values() if text in page.text]


def test_it_looks_right_in_the_dark_and_on_paper(page):
    """The colours of the page follow the reader's choice, and those of the plots the page's."""
    assert "@media screen and (prefers-color-scheme: dark)" in page.source
    assert "@media print" in page.source
    svg = page.source[page.source.index("<svg") : page.source.rindex("</svg>")]
    assert [] == re.findall(r"(?:fill|stroke|color): ?#\w+", svg)
    assert {"var(--accent)", "var(--quiet)", "var(--warning)", "currentColor"} <= set(
        re.findall(r"var\(--\w+\)|currentColor", svg)
    )


def test_a_page_without_options_says_what_they_would_add(report, library):
    """No comparison, no stress, no conditions, no pictures."""
    plain = report | {"stress": None, "comparison": None, "conditions": []}
    found = Page(write_page(plain, {}, library))

    assert "Not measured: the option --stress does it." in found.text
    assert "the option --compare names another model" in found.text
    assert [] == found.attributes("img", "src")
