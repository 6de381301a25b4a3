"""The answer to a request for inference: JSON, and maybe a binary tensor behind it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from app.records import Prediction, Probabilities
from app.web.protocols.oip.request import OUTPUT, InferRequest

VERSION: Final = "1"
"""Of every model: one that changes gets another name, or another server."""


def write_answer(
    request: InferRequest,
    model: str,
    parameters: Mapping[str, Any],
    rows: Sequence[Probabilities],
    best: Sequence[Sequence[Prediction]],
) -> tuple[bytes, int | None]:
    """Return the body, and the length of its JSON; None if that is all.

    Args:
        request: What was asked.
        model: Its name.
        parameters: What else there is to say of the model.
        rows: Of each image the probabilities of all classes.
        best: Of each image its most probable classes; read instead if the request names a number.
    """
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32"}
    head: dict[str, Any] = {"model_name": model, "model_version": VERSION}
    if request.id:
        head["id"] = request.id
    if parameters:
        head["parameters"] = parameters
    head["outputs"] = [output]
    if request.classes:
        texts = [describe(one) for predictions in best for one in predictions]
        output |= {"datatype": "BYTES", "shape": [len(best), len(best[0])], "data": texts}
        tensor = b"".join(map(_element, texts))
    else:
        batch = np.stack(rows)
        output["shape"] = list(batch.shape)
        if not request.binary:  # nine digits are enough for every float32, and a double has more
            output["data"] = [float(f"{one:.9g}") for one in batch.ravel().tolist()]
        tensor = batch.astype("<f4", copy=False).tobytes()
    if not request.binary:
        return json.dumps(head).encode(), None
    output.pop("data", None)
    output["parameters"] = {"binary_data_size": len(tensor)}
    text = json.dumps(head).encode()
    return text + tensor, len(text)


def describe(prediction: Prediction) -> str:
    """Write a class as Triton does: `0.4251449:281:tabby, tabby cat`."""
    return f"{prediction.probability}:{prediction.class_index}:{prediction.label}"


def _element(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "little") + data
