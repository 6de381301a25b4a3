"""What several tests of the web share."""

import pytest

from tests.conftest import client_of, started_app
from tests.web.explaining import ExplainingSession


@pytest.fixture
def explaining():
    return ExplainingSession()


@pytest.fixture
async def mini(tmp_path, explaining):
    """Talk to vgg16-mini's manifest with a session that sees the top left quarter."""
    async with (
        started_app(tmp_path, explaining, models="vgg16-mini") as app,
        client_of(app) as client,
    ):
        explaining.asked.clear()
        yield client
