"""The parameters in the query of a request with a photo, and which of them is meant by a wrong name."""

import re
from difflib import get_close_matches
from typing import Final

from app.errors import UnknownParameterError
from app.web.endpoints import Endpoint

PARAMETERS: Final = ("model", "top_k", "explain", "classes", "against", "test")
"""Of POST /predict."""
EXAMPLES: Final = {"top_k": "1", "explain": "box", "classes": "281", "against": "281"}
"""Values that an example can have; a name is that of a model."""
QUESTION: Final = frozenset({"explain", "classes", "against"})
"""Those that app/web/question.py reads; few requests have one."""
LISTS: Final = frozenset({"explain", "classes"})
"""Those that a query may have several times, as their values add up."""
PARTS: Final = ("box", "evidence", "heat")
"""Of the parameter explain."""
PARAMETERS_OF: Final[dict[str, tuple[str, ...]]] = {
    Endpoint.PREDICT.path: PARAMETERS,
    Endpoint.INSPECT.path: ("model", "layer"),
    Endpoint.HF.path: ("top_k", "function_to_apply"),
    Endpoint.HF_BOXES.path: ("threshold",),
    Endpoint.TORCHSERVE.path: ("top_k",),
    Endpoint.TORCHSERVE_VERSION.path: ("top_k",),
}
"""By path."""
_SIMILAR: Final = 0.7
"""How alike a wrong name is to the right one (difflib's ratio): `topk`, `top_n`, `Model`; not `token`."""
_SANE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")


def spelled_parameter(name: str) -> str | None:
    """Return the parameter that a name is, however it is spelled: `topk`, `Top-K`."""
    return next((one for one in PARAMETERS if _letters(one) == _letters(name[:40])), None)


def unknown_parameter(name: str, known: tuple[str, ...] = PARAMETERS) -> UnknownParameterError:
    """Return the error for a name that is none of those known; it says which is meant."""
    shown = f" {name!r}" if _SANE_NAME.fullmatch(name) else ""
    spelled = name[:40].lower().replace("-", "_")
    closest = next(iter(get_close_matches(spelled, known, 1, _SIMILAR)), None)
    advice = f"Did you mean {closest!r}?" if closest else f"There are {_list(known)}."
    if "url" in name.lower():
        advice += " The server fetches nothing: send the image itself as the body."
    return UnknownParameterError(f"The query has an unknown parameter{shown}. {advice}")


def _letters(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _list(names: tuple[str, ...]) -> str:
    return " and ".join(", ".join(names).rsplit(", ", 1))
