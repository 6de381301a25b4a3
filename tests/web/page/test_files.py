"""The files of the page, from memory."""

import gzip
import shutil

import pytest
from fastapi import HTTPException, Request

from app.web.page.files import STATIC, PageFiles


def asking(**headers):
    """A request with these headers."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(STATIC, tmp_path / "static")


def test_no_request_reads_the_folder(folder):
    """A file that is removed or changed after the start is served as it was."""
    before = (folder / "style.css").read_bytes()
    files = PageFiles(folder)
    version = files.version
    shutil.rmtree(folder)
    answer = files.answer(f"{version}/style.css", asking())

    assert before == answer.body
    assert version == files.version
    assert "immutable" in answer.headers["cache-control"]
    assert "text/css; charset=utf-8" == answer.headers["content-type"]


@pytest.mark.parametrize(("name", "changes"), [("js/page.js", True), ("samples/cat.jpg", False)])
def test_version_follows_scripts_and_styles(folder, name, changes):
    """The version changes with a script, and not with a photo."""
    before = PageFiles(folder).version
    (folder / name).write_bytes(b"other")

    assert changes == (before != PageFiles(folder).version)


def test_text_is_compressed_and_photos_are_not():
    """A browser that takes gzip gets text compressed; photos are compressed already."""
    files = PageFiles(STATIC)
    script = files.answer("js/page.js", asking(accept_encoding="gzip, br"))
    photo = files.answer("samples/cat.jpg", asking(accept_encoding="gzip, br"))

    assert (STATIC / "js/page.js").read_bytes() == gzip.decompress(script.body)
    assert "gzip" == script.headers["content-encoding"]
    assert (STATIC / "samples/cat.jpg").read_bytes() == photo.body
    assert "content-encoding" not in photo.headers


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("br, GZIP;q=0.5", "gzip"),
        ("gzip;q=1", "gzip"),
        ("gzip;q=0", None),
        ("gzip ; q=0.000, br", None),
        ("br", None),
    ],
)
def test_a_client_may_refuse_gzip(accepted, encoding):
    """A quality of zero means that the client does not take gzip."""
    answer = PageFiles(STATIC).answer("js/page.js", asking(accept_encoding=accepted))

    assert encoding == answer.headers.get("content-encoding")


def test_a_file_that_the_client_has_is_not_sent_again():
    """The ETag of an answer brings 304 without a body."""
    files = PageFiles(STATIC)
    first = files.answer("js/page.js", asking())
    again = files.answer("js/page.js", asking(if_none_match=first.headers["etag"]))

    assert (304, b"") == (again.status_code, again.body)


@pytest.mark.parametrize(
    "path", ["nothing", "", "../routes.py", "js", "index.html", "v-000000000000/key.html"]
)
def test_nothing_else_is_served(path):
    """A path that is no file of the folder is 404, and so is HTML with fields to fill in."""
    with pytest.raises(HTTPException) as caught:
        PageFiles(STATIC).answer(path, asking())

    assert 404 == caught.value.status_code
