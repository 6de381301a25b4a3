"""From probabilities to a ranked answer."""

from collections.abc import Sequence

import numpy as np

from app.records import Label, Prediction, Probabilities


def top_k(probabilities: Probabilities, labels: Sequence[Label], k: int) -> tuple[Prediction, ...]:
    """Return the k most probable classes, the best first; equal ones by class_index.

    Args:
        probabilities: float32 [classes].
        labels: One per class, in the same order.
        k: 1 to the number of classes.
    """
    order = np.argsort(-probabilities, kind="stable")[:k]
    return tuple(
        Prediction(
            rank=rank,
            label=labels[index].text,
            probability=float(str(probabilities[index])),  # its own digits, not a double's
            wnid=labels[index].wnid,
            class_index=index,
        )
        for rank, index in enumerate(order.tolist(), start=1)
    )
