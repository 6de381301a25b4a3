"""The graph that explains the answers of a serving graph, on the same device and the same weights."""

from pathlib import Path

import numpy as np

from app.errors import RunFailedError
from app.graph.explain import (
    AGAINST,
    CELLS,
    CLASSES,
    CONSTANTS,
    EXPLAIN_FILE,
    LOGITS,
    MAPS,
    ROWS,
    WITH_CELLS,
)
from app.records import Evidence, Features, Numbers
from app.runtime.device_errors import NOT_NUMBERS, run_error
from app.runtime.ort import OpenGraph, Provider, open_graph


class ExplainSession:
    """A graph of app/graph/explain.py that is loaded."""

    def __init__(self, session: OpenGraph) -> None:
        """Take the graph; `features` are the names of the other graph's outputs that it needs."""
        self._session = session
        question = {ROWS, CLASSES, AGAINST, WITH_CELLS}
        self.features = [i.name for i in session.get_inputs() if i.name not in question]

    def explain(
        self,
        features: Features,
        rows: Numbers,
        classes: Numbers,
        against: Numbers | None,
        *,
        cells: bool,
    ) -> Evidence:
        """Explain classes of some images; see `Explainer`."""
        question = {
            ROWS: np.repeat(rows, classes.shape[1]),
            CLASSES: classes.reshape(-1),
            AGAINST: np.full(classes.size, -1) if against is None else against.reshape(-1),
            WITH_CELLS: np.array(cells),
        }
        names = [MAPS, LOGITS, CELLS, CONSTANTS][: 4 if cells else 2]
        try:
            results = self._session.run(names, {**question, **features})
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            raise run_error(exc) from exc
        if not all(np.isfinite(one).all() for one in results):
            raise RunFailedError(NOT_NUMBERS)
        return Evidence(*(one.reshape(*classes.shape, *one.shape[1:]) for one in results))


def open_explain(graph: Path, where: list[Provider], threads: int) -> ExplainSession | None:
    """Load the graph that explains the answers of another, beside it; None if there is none."""
    path = graph.with_name(EXPLAIN_FILE)
    return ExplainSession(open_graph(path, where, threads)) if path.exists() else None
