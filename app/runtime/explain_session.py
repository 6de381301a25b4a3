"""The graph that explains the answers of a serving graph, on the same device and the same weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

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
from app.runtime.ort import OpenGraph, Provider

NOT_EXPLAINED: Final = "This model has no graph that explains its answers."


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
            binding = self._session.io_binding()
            for name, numbers in question.items():
                binding.bind_cpu_input(name, numbers)
            for name, kept in features.items():
                if isinstance(kept, np.ndarray):
                    binding.bind_cpu_input(name, kept)
                else:  # a Buffer: it stays on its GPU
                    binding.bind_input(name, *kept)
            for name in names:
                binding.bind_output(name)
            self._session.run_with_iobinding(binding)
            results = binding.copy_outputs_to_cpu()
        except Exception as exc:  # onnxruntime's errors share no base class of their own
            raise run_error(exc) from exc
        if not all(np.isfinite(one).all() for one in results):
            raise RunFailedError(NOT_NUMBERS)
        return Evidence(*(one.reshape(*classes.shape, *one.shape[1:]) for one in results))


class Explained:
    """Explains the answers of a session whose graph has a second one for that; the rest is `Explainer`'s."""

    _explain: ExplainSession | None

    def explain(
        self,
        features: Features,
        rows: Numbers,
        classes: Numbers,
        against: Numbers | None = None,
        *,
        cells: bool = True,
    ) -> Evidence:
        """Explain classes of some images; see `Explainer`."""
        if self._explain is None:
            raise RunFailedError(NOT_EXPLAINED)
        return self._explain.explain(features, rows, classes, against, cells=cells)


def open_explain(
    graph: Path, where: list[Provider], open_graph: Callable[..., OpenGraph], threads: int = 1
) -> ExplainSession | None:
    """Load the graph that explains the answers of another, beside it; None if there is none."""
    path = graph.with_name(EXPLAIN_FILE)
    return ExplainSession(open_graph(path, where, threads=threads)) if path.exists() else None
