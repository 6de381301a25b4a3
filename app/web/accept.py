"""Which form of an answer a client would rather have, by its header Accept (RFC 9110, 12.5.1)."""

from collections.abc import Iterable
from typing import Final

PNG: Final = "image/png"
JSON: Final = "application/json"


def prefers_png(accept: Iterable[str]) -> bool:
    """Return whether a picture is wanted, where JSON is what most clients get.

    `image/png` and `image/*` ask for it, alone or before JSON; `*/*` and no header do not.

    Args:
        accept: The values of all headers Accept.
    """
    wanted = dict(_parse(item) for item in ",".join(accept).lower().split(","))
    png = _quality(wanted, PNG)
    json = _quality(wanted, JSON)
    named = PNG in wanted or "image/*" in wanted
    return named and png > 0 and (png > json or (png == json and JSON not in wanted))


def _parse(item: str) -> tuple[str, float]:
    name, *parameters = map(str.strip, item.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, min(1.0, max(0.0, float(value)))
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(wanted: dict[str, float], media_type: str) -> float:
    """Return the quality of a type: by its name, else by its kind, else by `*/*`."""
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((wanted[one] for one in ranges if one in wanted), 0.0)
