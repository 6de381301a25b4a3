"""The demo page at `/`, its files, and /docs with assets from a package instead of a CDN."""

from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.staticfiles import StaticFiles

from app.images.formats import FORMATS, TITLES
from app.web.page.files import HEADERS, File, page_files

DOCS_POLICY: Final = (
    # Swagger UI starts from a script in its page and styles itself.
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def page(request: Request) -> Response:
    """Return the demo page, even before any model is ready."""
    file: File = request.app.state.page
    headers = {**HEADERS, "Cache-Control": "no-cache", "Link": page_files().preloads}
    return file.answer(request, headers)


@router.api_route("/static/{path:path}", methods=["GET", "HEAD"])
async def static(path: str, request: Request) -> Response:
    """Return a file of the page."""
    return page_files().answer(path, request)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def docs(request: Request) -> Response:
    """Return Swagger UI; its addresses are relative, as those of the page: a proxy may add a prefix."""
    here = "../" if request.scope["raw_path"].endswith(b"/") else ""  # /docs/ is /docs
    response = get_swagger_ui_html(
        openapi_url=f"{here}openapi.json",
        title="vgg-serve: API",
        swagger_js_url=f"{here}docs/assets/swagger-ui-bundle.js",
        swagger_css_url=f"{here}docs/assets/swagger-ui.css",
        swagger_favicon_url=f"{here}docs/assets/favicon.png",
    )
    response.headers["Content-Security-Policy"] = DOCS_POLICY
    return response


def install_page(app: FastAPI) -> None:
    """Read the page's files, complete the page for this server, serve Swagger UI's files."""
    found = page_files()
    html = found.text("index.html")
    fields = {
        "media types": ",".join(one.media_type for one in FORMATS),
        "formats": TITLES,
        "largest": _size(app.state.max_body_bytes),
        "key form": found.text("key.html") if app.state.keys is not None else "",
        "command": escape(app.state.models.command),
    }
    for name, value in fields.items():  # here: a script would move what is below them
        html = html.replace(f"{{{{{name}}}}}", value)
    app.state.page = File(html.encode(), ".html")
    assets = Path(str(files("fastapi_offline"))) / "static"
    app.mount("/docs/assets", StaticFiles(directory=assets))


def _size(count: int) -> str:
    unit, name = (1e6, "MB") if count >= 1e6 else (1e3, "kB")  # noqa: PLR2004 (a megabyte)
    return f"{count / unit:.3g}\u202f{name}"
