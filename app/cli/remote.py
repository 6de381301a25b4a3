"""Classify files on a server of this kind."""

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
    """Post files one after the other; one that is refused does not keep the others.

    Args:
        url: Of the server: `http://localhost:8000`.
        paths: Image files.
        model: None for the server's default.
        top_k: How many classes to return, 1 to 1000.
        key: An API key, if the server wants one.

    Raises:
        KeysError: If the key cannot be one.
        SetupError: If there is no such server at this address.
    """
    if "://" not in url:
        url = f"http://{url}"  # as curl has it
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
                raise SetupError(f"{url} cannot be asked: {exc!r}") from exc
            except (ValueError, KeyError, TypeError) as exc:
                raise SetupError(f"{url} is not a server of vgg-serve") from exc


def _result(path: Path, body: dict[str, dict[str, object]]) -> FileResult:
    return FileResult(
        path,
        predictions=tuple(Prediction(**row) for row in body["predictions"]),  # type: ignore[arg-type] # checked by its call
        image=ImageInfo(**body["image"]),  # type: ignore[arg-type] # the same
        model=str(body["model"]["name"]),
        trained=bool(body["model"]["trained"]),
    )
