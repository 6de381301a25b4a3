"""A whole report on photos with odd names, its page, and what a browser makes of that."""

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.evaluation.answers import Answer
from app.evaluation.classes import Classes
from app.evaluation.dataset import Photo
from app.evaluation.html.page import write_page
from app.evaluation.html.plots import matplotlib
from app.evaluation.real import real_accuracy
from app.evaluation.report import Evaluated, compare_with, conditions, evaluate
from app.evaluation.run import NO_ROW
from app.evaluation.stress import flip_rates
from app.records import Label
from tests.evaluation.conftest import made

ODD = """<img src=x onerror="alert(1)">'\n\u202egpj.jpg"""
"""A name with quotes, a tag, a line break, and a mark that turns letters around."""
HOSTILE = """</title></svg><script>alert('$a_b$')</script>"""
EMPTY = {"img", "meta"}


class Page(HTMLParser):
    """A page, read: its text by element, its ids and links; fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that is read, with single spaces."""
        return " ".join("".join(f"{one} " for one in self.texts).split())

    def attributes(self, tag: str, name: str) -> list[str]:
        """Return the values of an attribute of all elements of a kind."""
        return [value for kind, pairs in self.tags if kind == tag and (value := pairs.get(name))]


@pytest.fixture(scope="session")
def library():
    """Return matplotlib."""
    pytest.importorskip("matplotlib", reason="no matplotlib")
    return matplotlib()


@pytest.fixture(scope="session")
def report():
    """Return a report with everything in it: 500 photos, one of an odd name, one damaged, one twice."""
    rows, labels = made()
    labels[0] = rows[0].argmin()  # a suspect
    labels[1] = (labels[0] + 1) % rows.shape[1]  # another label of the same bytes
    names = [ODD, *(f"{n}.jpg" for n in range(1, 500))]
    random = np.random.default_rng(0)
    looks = [{"brightness": float(one), "contrast": 0.2} for one in random.random(500)]
    looks[3] = {"brightness": 0.5, "contrast": 0.45}  # an odd one
    answers = [
        Answer(name, (1, 1), str(n // 2 if n < 2 else n), (8, 8), "jpeg", "", rows[n], looks[n])
        for n, name in enumerate(names)
    ]
    answers[7] = Answer("7.jpg", (1, 1), "", (0, 0), "", "It is <cut> short.", NO_ROW)
    classes = Classes([Label(None, HOSTILE), *(Label(f"n0000000{n}", f"class {n}") for n in range(6))])  # fmt: skip
    photos = [Photo(Path(name), name, int(labels[n])) for n, name in enumerate(names)]
    done = Evaluated(photos, answers, classes)
    other = [one if one.trouble else replace(one, row=np.roll(one.row, 1)) for one in answers]
    found = evaluate(done, (0.574, 0.5))
    side = done.side(done.classified[:50])
    before = side.rows.argmax(axis=1)
    after = np.stack([before, np.roll(before, 1)], axis=1)
    model = {"name": "mini", "title": "A <mini> one", "trained": False, "temperature": 1.0} | {
        "weights_sha256": "ab" * 32
    }
    return found | {
        "conditions": conditions(found, 0.9, 0.5),
        "real": real_accuracy(side.rows, [frozenset({0, 1})] * 49 + [frozenset()]),
        "stress": flip_rates({"a": "JPEG <50>", "b": "turned"}, before, side.labels, after, 499),
        "comparison": {
            "with": "x=<y>",
            "second_model": model,
            "second_test": {"name": "single", "scales": ()},
            "speed": {},
        }
        | compare_with(done, Evaluated(photos, other, classes)),
        "test": {"name": "dense", "scales": (256,)},
        "paper": {
            "source": "A <paper>",
            "note": None,
            "rows": [
                {"test": "dense", "scales": [256], "top1": 0.74, "top5": 0.92, "same": True},
                {"test": "dense", "scales": [384], "top1": 0.75, "top5": 0.93, "same": False},
            ],
        },
        "command": "vgg-serve evaluate 'a & b'",
        "made": "2026-11-27T12:00:00+00:00",
        "model": model,
        "photos": {"place": "photos", "labels": None, "found": 500, "classified": 499},
        "speed": {"photos": 500, "seconds": 1.23456789, "seconds_per_thousand": 2.4691},
        "machine": {"cpu": "A & B"},
        "versions": {"numpy": "2.4"},
    }


@pytest.fixture(scope="session")
def small():
    """Return a small JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="session")
def page(report, library, small):
    """Return the page of the report, read."""
    return Page(write_page(report, {ODD: small}, library))
