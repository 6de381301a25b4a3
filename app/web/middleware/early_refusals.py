"""Uploads refused for their estimated wait, answered without a request of ASGI.

Under overload most requests end here, and the processor time of each is missing for runs.
"""

import time
from asyncio import Event
from collections.abc import Iterable

from starlette.types import Scope

from app.errors import OverloadedError, RequestError, ServiceError
from app.serving.metrics import Metrics
from app.web.endpoints import KEY, MARKS
from app.web.keys import Keys, presented
from app.web.middleware.admission import Admission
from app.web.middleware.envelope import begin, enveloped, record, write_answer
from app.web.problems import answer_error


class EarlyRefusals:
    """Answers as the middleware would, where that would refuse; leaves all else to it.

    `Envelope`, `Access` and `Admission` do the same with the same functions. `Prefix` changes no
    path that is known here, and what proxies say of a client is not asked for. Pages for browsers
    are left to the middleware, and where other origins may ask, `Origins` has headers for each answer.
    """

    def __init__(
        self,
        admission: Admission,
        keys: Keys | None,
        metrics: Metrics,
        draining: Event,
        *,
        other_origins: bool,
    ) -> None:
        self._admission = admission
        self._keys = keys
        self._metrics = metrics
        self._draining = draining
        self._possible = not other_origins

    def answer(self, scope: Scope, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """Return the bytes of a refusal, counted and logged; None leaves the request as it is.

        Args:
            scope: A request whose connection stays open.
            default_headers: uvicorn's headers for every answer.
        """
        overloaded = time.monotonic() < self._admission.overloaded_until
        if not (self._possible and overloaded) or self._draining.is_set():
            return None
        scope = {**scope, "state": scope["state"].copy()}
        begin(scope)
        state = scope["state"]
        if not state["photo"] or state["html"] or not self._knows(scope):
            return None
        try:
            self._admission.check(scope)
        except OverloadedError as exc:
            response = answer_error(scope, exc)
        except (RequestError, ServiceError):
            return None
        else:
            return None
        state["status"] = response.status_code
        headers = [*default_headers, *enveloped(scope, response.raw_headers)]
        record(scope, self._metrics)
        return write_answer(response.status_code, headers, bytes(response.body))

    def _knows(self, scope: Scope) -> bool:
        """Return whether the request needs no key or has a valid one, and note whose."""
        if self._keys is None or KEY not in MARKS[scope["path"]]:
            return True
        scope["state"]["key"] = holder = self._keys.holder(presented(scope))
        return holder is not None
