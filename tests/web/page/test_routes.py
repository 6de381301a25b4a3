"""The page and /docs, with their files."""

import sys
from pathlib import Path

import pytest

from app.command_line import command_line

pytestmark = pytest.mark.anyio


async def test_docs_ask_no_other_host(client):
    """/docs and its assets come from this server alone."""
    docs = await client.get("/docs")
    assets = [part.split('"')[0] for part in docs.text.split('"docs/assets/')[1:]]

    assert 200 == docs.status_code
    assert "http://" not in docs.text.replace("http://test", "")
    assert "https://" not in docs.text
    assert 3 == len(assets)
    for asset in assets:
        assert 200 == (await client.get(f"/docs/assets/{asset}")).status_code


@pytest.mark.parametrize("wanted", ["bytes=0-9", "bytes=9-1", "bytes=99999999-", "nonsense"])
async def test_files_of_the_page_are_whole(client, wanted):
    """A Range, however wrong, is not answered in parts, nor in plain text."""
    whole = await client.get("/static/style.css")
    answer = await client.get("/static/style.css", headers={"range": wanted})

    assert (200, whole.content) == (answer.status_code, answer.content)


async def test_the_page_is_complete(client):
    """Every field of the page is filled in; a server without keys has no field for one."""
    page = (await client.get("/")).text

    assert "{{" not in page
    assert 'id="access"' not in page


async def test_addresses_of_the_page_are_relative(client):
    """No address of the page begins at the root of its host: a proxy may put a prefix before it."""
    page = await client.get("/")
    text = page.text + page.headers["link"]

    for start in ('src="/', 'href="/', 'action="/', "</static"):
        assert start not in text


async def test_the_page_has_the_command_line(client):
    """The page knows how its server's commands are called."""
    page = (await client.get("/")).text

    assert f'data-command="{command_line(Path(sys.executable))}"' in page
