"""A graph that is run once gives its outputs and leaves nothing behind."""

import numpy as np
import pytest
from onnx import TensorProto, parser

from app.errors import RunFailedError
from app.graph.serving_graph import INPUT
from app.runtime.run_once import run_once

OFFSET = np.array([0.5, 1, 2], np.float32)
BATCH = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)


def graph(*, rows=2):
    """Add a tensor of the file `weights.bin` to the pixels."""
    model = parser.parse_model(f"""<ir_version: 9, opset_import: ["": 17]>
        once (uint8[1,{rows},2,3] {INPUT}) => (float[1,{rows},2,3] sum, float[1,{rows},2,3] twice)
        {{
            pixels = Cast<to = {TensorProto.FLOAT}>({INPUT})
            sum = Add(pixels, offset)
            twice = Add(sum, sum)
        }}""")
    offset = TensorProto(
        name="offset", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "12")):
        offset.external_data.add(key=key, value=value)
    model.graph.initializer.append(offset)
    return model.SerializeToString()


def test_outputs_come_by_name_on_the_weights_beside_it(tmp_path):
    """Tensors are looked for in the folder that is named."""
    (tmp_path / "weights.bin").write_bytes(OFFSET.tobytes())

    found = run_once(graph(), tmp_path, BATCH, threads=2)

    expected = BATCH + OFFSET
    np.testing.assert_array_equal(expected, found["sum"])
    np.testing.assert_array_equal(2 * expected, found["twice"])


def test_failures_are_those_of_a_run(tmp_path):
    """A graph that cannot be opened, and one that does not take the batch, fail without details."""
    with pytest.raises(RunFailedError, match="The model failed"):
        run_once(graph(), tmp_path, BATCH, threads=1)  # no weights there
    (tmp_path / "weights.bin").write_bytes(np.zeros(3, np.float32).tobytes())
    with pytest.raises(RunFailedError, match="The model failed"):
        run_once(graph(rows=3), tmp_path, BATCH, threads=1)
    with pytest.raises(RunFailedError, match="The model failed"):
        run_once(b"no graph", tmp_path, BATCH, threads=1)
