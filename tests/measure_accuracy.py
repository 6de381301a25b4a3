"""Measure the accuracy of vgg16-mini on its validation photos, posted to a running service.

    python -m tests.measure_accuracy

The photos are those of ../shared/data (or $VGG_TEST_DATA): 10,100 JPEGs of 64 x 64 pixels. They are
posted as they are, and resized to 64 for this measurement, so that the network sees all of each.
"""

import csv
import io
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from app.weights.manifests.catalog import BUILT_IN
from tests.conftest import SHARED_DATA, running_server

NAME = "vgg16-mini"


def photos(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the class and the bytes of each photo."""
    with zipfile.ZipFile(archive) as files:
        rows = csv.DictReader(io.StringIO(files.read("val.csv").decode()))
        for row in rows:
            yield row["wnid"], files.read(f"images/{row['file']}")


def main() -> None:
    """Print top-1 and top-5."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = (BUILT_IN / f"{NAME}.toml").read_text()
        (folder / f"{NAME}.toml").write_text(manifest.replace("resize = 68", "resize = 64"))
        with (
            running_server(folder, models=NAME, queue_budget_ms="60000") as server,
            httpx.Client(base_url=server.url, timeout=60) as client,
            ThreadPoolExecutor(8) as pool,
        ):

            def rank(photo: tuple[str, bytes]) -> int:
                wnid, data = photo
                answer = client.post("/predict", content=data).raise_for_status().json()
                found = [one["wnid"] for one in answer["predictions"]]
                return found.index(wnid) if wnid in found else len(found)

            ranks = list(pool.map(rank, photos(SHARED_DATA / NAME / "val.zip")))
    first, five = (100 * sum(one < most for one in ranks) / len(ranks) for most in (1, 5))
    print(f"{len(ranks)} photos: top-1 {first:.2f} %, top-5 {five:.2f} %")  # noqa: T201


if __name__ == "__main__":
    main()
