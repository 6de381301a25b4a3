"""Answers, in JSON and with a binary tensor."""

import json

import numpy as np
import pytest

from app.records import Label
from app.serving.classifier import top_k
from app.web.protocols.oip.answer import write_answer
from app.web.protocols.oip.request import InferRequest

ROWS = np.random.default_rng(0).dirichlet([0.1] * 50, 3).astype(np.float32)
LABELS = [Label(None, f"class {number}, or é") for number in range(50)]


def write(classes=0, *, binary=False, identity=""):
    """Write an answer about three images; return its JSON, its tensor and its length."""
    asked = InferRequest(identity, None, [b""] * 3, binary, classes)
    best = [top_k(row, LABELS, classes or 1) for row in ROWS]
    body, length = write_answer(asked, "vgg", {"trained": False}, list(ROWS), best)
    return json.loads(body[:length]), b"" if length is None else body[length:], length


def test_probabilities_survive_json():
    """Every float32 is read back as it was."""
    head, _, length = write()
    [output] = head["outputs"]

    assert length is None
    assert ("probabilities", "FP32", [3, 50]) == (
        output["name"],
        output["datatype"],
        output["shape"],
    )
    assert np.array_equal(ROWS.ravel(), np.array(output["data"], np.float32))


def test_probabilities_come_as_bytes():
    """Behind the JSON, which says how many; there is no other copy of them."""
    head, tensor, _ = write(binary=True)
    [output] = head["outputs"]

    assert {"binary_data_size": len(tensor)} == output["parameters"]
    assert ROWS.tobytes() == tensor
    assert "data" not in output


@pytest.mark.parametrize("binary", [False, True])
def test_classes_are_texts_as_tritons(binary):
    """Value, index and label between colons, the best first."""
    head, tensor, _ = write(2, binary=binary)
    [output] = head["outputs"]
    texts = output.get("data", [])
    while tensor:
        size = int.from_bytes(tensor[:4], "little")
        texts.append(tensor[4 : 4 + size].decode())
        tensor = tensor[4 + size :]
    parts = [text.split(":") for text in texts]

    assert ("BYTES", [3, 2]) == (output["datatype"], output["shape"])
    order = np.argsort(-ROWS, axis=1)[:, :2].ravel()
    assert order.tolist() == [int(index) for _, index, _ in parts]
    assert [np.float32(value) for value, _, _ in parts] == [
        ROWS[row // 2, index] for row, index in enumerate(order)
    ]
    assert [f"class {index}, or é" for index in order] == [label for _, _, label in parts]


def test_answer_names_model_version_and_id():
    """The id comes back as it was, whatever it is; without one there is none."""
    head, _, _ = write(identity='"\ud800\0é')

    assert ("vgg", "1", '"\ud800\0é') == (head["model_name"], head["model_version"], head["id"])
    assert {"trained": False} == head["parameters"]
    assert "id" not in write()[0]
