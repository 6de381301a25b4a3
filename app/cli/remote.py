"""Classify files on a running vgg-serve."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from app.cli.local import FileResult
from app.errors import SetupError
from app.records import ImageInfo, Prediction
from app.web.keys import authorization

_TIMEOUT = 60.0  # seconds


def classify_remotely(
    url: str, paths: Sequence[Path], *, model: str | None, top_k: int, key: str | None = None
) -> Iterator[FileResult]:
    """Post image files one after another; after one that is refused the next ones follow.

    Args:
        url: The server: `http://localhost:8000`, with or without the scheme.
        paths: Image files.
        model: None for the server's default.
        top_k: Number of classes to return, 1 to 1000.
        key: API key, if the server requires one.

    Raises:
        KeysError: If the key is malformed.
        SetupError: If no vgg-serve answers at this address.
    """
    if "://" not in url:
        url = f"http://{url}"  # as curl does
    params: dict[str, str | int] = {"top_k": top_k, **({"model": model} if model else {})}
    headers = {"Authorization": authorization(key)} if key else {}
    with httpx.Client(base_url=url, timeout=_TIMEOUT, headers=headers) as client:
        for path in paths:
            try:
                answer = client.post("/predict", params=params, content=path.read_bytes())
                body = answer.json()
                if answer.status_code == httpx.codes.OK:
                    yield _result(path, body)
                else:
                    yield FileResult(path, error=str(body["detail"]))
            except OSError as exc:
                yield FileResult(path, error=str(exc))
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                raise SetupError(
                    f"No answer from {url}: {exc!r}. Check the URL and that the server runs."
                ) from exc
            except (ValueError, KeyError, TypeError) as exc:
                raise SetupError(f"The server at {url} is not a vgg-serve.") from exc


def _result(path: Path, body: dict[str, dict[str, object]]) -> FileResult:
    return FileResult(
        path,
        predictions=tuple(Prediction(**row) for row in body["predictions"]),  # type: ignore[arg-type] # the call checks its keys
        image=ImageInfo(**body["image"]),  # type: ignore[arg-type] # the same
        model=str(body["model"]["name"]),
        trained=bool(body["model"]["trained"]),
    )
