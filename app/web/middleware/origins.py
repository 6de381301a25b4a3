"""Pages of other origins that may call the API from a browser: none, unless they are named."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp


class Origins(CORSMiddleware):
    """Starlette's, with what this API has; cookies and the like are never let through."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        """Wrap an app.

        Args:
            app: What answers.
            origins: Those that are let in, such as `https://example.org`; `*` for all.
        """
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-Request-ID", "X-Request-Timeout-Ms"),
            expose_headers=("Retry-After", "Server-Timing", "X-Batch-Size", "X-Request-ID"),
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return what a browser asks for before it sends a request of another origin.

        It reads the headers alone: those that are missing say no.
        """
        response = super().preflight_response(request_headers)
        return Response(status_code=204, headers=_without_body(response))


def _without_body(response: Response) -> dict[str, str]:
    dropped = {"content-length", "content-type"}
    return {name: value for name, value in response.headers.items() if name not in dropped}
