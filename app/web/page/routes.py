"""The demo page at `/`, and /docs with assets from a package: no CDN is ever asked."""

from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.middleware.gzip import GZipMiddleware
from starlette.staticfiles import StaticFiles

from app.images.formats import FORMATS, TITLES
from app.web.page.files import HEADERS, STATIC, PageFiles, preloads, versioned

DOCS_POLICY: Final = (
    # Swagger UI starts from a script in its page and styles itself.
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

router = APIRouter(include_in_schema=False)


@router.head("/", include_in_schema=False)
@router.get("/")
def page(request: Request) -> Response:
    """Return the demo page; it is there before any model is."""
    html = versioned((STATIC / "index.html").read_text(encoding="utf-8"))
    html = html.replace("{{media types}}", ",".join(one.media_type for one in FORMATS))
    html = html.replace("{{formats}}", TITLES)
    # Written here: a script that adds it later would move what stands below.
    told = f'id="largest">, up to {_size(request.app.state.max_body_bytes)}<'
    html = html.replace('id="largest"><', told)
    etag = f'"{sha256(html.encode()).hexdigest()[:24]}"'
    headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": etag, "Link": preloads()}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(html, media_type="text/html", headers=headers)


def _size(count: int) -> str:
    unit, name = (1e6, "MB") if count >= 1e6 else (1e3, "kB")  # noqa: PLR2004 (a megabyte)
    return f"{count / unit:.3g}\u202f{name}"


@router.head("/docs", include_in_schema=False)
@router.get("/docs")
async def docs() -> Response:
    """Return Swagger UI."""
    response = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="vgg-serve: API",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="/docs/assets/favicon.png",
    )
    response.headers["Content-Security-Policy"] = DOCS_POLICY
    return response


def mount_files(app: FastAPI) -> None:
    """Serve the files that the two pages need."""
    app.mount("/static", GZipMiddleware(PageFiles()))  # text only; photos pass as they are
    assets = Path(str(files("fastapi_offline"))) / "static"
    app.mount("/docs/assets", StaticFiles(directory=assets))
