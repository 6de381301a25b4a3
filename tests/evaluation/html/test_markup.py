"""Text is escaped unless it is markup, and what cannot be seen is written out."""

from app.evaluation.html.markup import Figure, Markup, markup, table, tag


def test_text_is_escaped_and_markup_is_not():
    """In elements and in attributes."""
    found = tag("p", "<b>", tag("b", "&"), title='"')

    assert '<p title="&quot;">&lt;b&gt;<b>&amp;</b></p>' == found
    assert "<br>a&lt;" == markup(Markup("<br>"), "a<")


def test_attributes_have_the_names_of_html():
    """None leaves one out; empty elements are not closed."""
    assert '<img class="a" aria-label="b">' == tag("img", class_="a", aria_label="b", alt=None)


def test_what_cannot_be_seen_is_written_out():
    """Control characters, marks of direction, halves of characters."""
    assert r"a\nb\x00\u202ec\udc80" == markup("a\nb\0\u202ec\udc80")
    assert "Ünï 東京 🐈" == markup("Ünï 東京 🐈")


def test_a_table_has_a_caption_and_headers():
    """The first cell is the header of its row; figures stand to the right."""
    found = table("T<", ("a", Figure("b")), [["x", Figure("1")]])

    assert "<caption>T&lt;</caption>" in found
    assert '<th scope="col">a</th><th scope="col" class="figure">b</th>' in found
    assert '<tr><th scope="row">x</th><td class="figure">1</td></tr>' in found
    assert 'role="group" aria-label="T&lt;"' in found
