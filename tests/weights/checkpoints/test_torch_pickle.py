"""A pickle gives tensors or an error that names what it wanted; nothing of it is ever run."""

import os
import pickle
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.setup_errors import CheckpointError
from app.weights.checkpoints.torch_pickle import (
    MAX_BYTES,
    StorageRef,
    TensorRef,
    read_structure,
)
from tests.weights.checkpoints.pth import call, number, pickle_of, tensor, text

STATE: dict[str, NDArray[Any]] = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.zeros(2, np.float16),
}


class Runs:
    """A pickle of this calls a function of the system."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def test_tensors_of_a_state_dict():
    """Each has its storage, its shape and its strides; no number has been read."""
    expected = {
        "a.weight": TensorRef(StorageRef("0", "float32", 6), 0, (2, 3), (3, 1)),
        "a.bias": TensorRef(StorageRef("1", "float16", 2), 0, (2,), (1,)),
    }

    assert expected == read_structure(pickle_of(STATE))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values(protocol):
    """What training scripts save beside the weights is read in each protocol."""
    saved = {"epoch": 3, "loss": 0.5, "best": True, "names": ["a", "b"], 1: None, "t": ((), (1, 2))}

    assert saved == read_structure(pickle.dumps(saved, protocol))


@pytest.mark.parametrize(
    ("value", "protocol"),
    [
        *((one, protocol) for one in (np.float64(0.5), Counter({3: 1})) for protocol in (2, 4)),
        ({"a"}, 2),  # later protocols have an instruction for sets, which PyTorch does not write
    ],
)
def test_plain_values_of_others_are_read_as_nothing(value, protocol):
    """The best accuracy of NumPy or the milestones of a schedule are beside the weights."""
    read = read_structure(pickle.dumps({"best": value, "epoch": 3}, protocol))

    assert 3 == read["epoch"]
    assert value != read["best"]


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        (Runs(os.system, "touch PWNED"), "posix.system"),
        (Runs(eval, "1"), "builtins.eval"),
        (Runs(exec, "1"), "builtins.exec"),
        (Runs(open, "PWNED", "w"), "io.open"),
        (Runs(getattr, "", "join"), "builtins.getattr"),
        (Runs(Path, "PWNED"), "pathlib.Path"),
        ({"state_dict": {}, "args": Runs(bytes, 10**12)}, "builtins.bytes"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_another_global_is_refused_by_its_name(hostile, name, protocol, tmp_path, monkeypatch):
    """It is not even looked up, and the error says how to save the weights alone."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(CheckpointError, match="refused") as caught:
        read_structure(pickle.dumps(hostile, protocol))

    assert name.replace("io.open", "open").rpartition(".")[2] in str(caught.value)
    assert "torch.save(model.state_dict()" in str(caught.value)
    assert [] == [*tmp_path.iterdir()]


INSTRUCTIONS = {
    "INST": b"(iposix\nsystem\n.",
    "OBJ": b"(cposix\nsystem\no.",
    "EXT1": b"\x82\x01.",
    "NEWOBJ": call("collections OrderedDict", b"")[:-1] + b"\x81.",
    "PERSID": b"Pstorage\n.",
    "INT": b"I1\n.",
    "LONG": b"L1\n.",
    "LONG4": b"\x8b\x01\x00\x00\x00\x01.",
    "STRING": b"S'a'\n.",
    "UNICODE": b"Va\n.",
    "GET": b"g0\n.",
    "DUP": b"N2.",
    "POP": b"N0.",
    "EMPTY_SET": b"\x8f.",
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", 1) + b"a.",
    "NEXT_BUFFER": b"\x97.",
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_another_instruction_is_refused_by_its_name(name):
    """PyTorch writes none of them."""
    with pytest.raises(CheckpointError, match=f"the pickle instruction {name},|wants to run"):
        read_structure(INSTRUCTIONS[name])


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\x80\x02",
        b".",
        b"N",
        b"R.",
        b"h\x07.",  # a place of the memo that is empty
        b"]NNs.",  # an item of a list
        b"}(Nu.",  # a key without a value
        b"})N" + b"s.",  # a tuple as a key
        b"Q.",
        b"N" + b"Q.",
        b"t.",
        b"N\x87.",
        b"\xff.",
        b"Nb.",
        call("torch._utils _rebuild_tensor_v2", b"") + b".",
        call("collections OrderedDict", number(1)) + b".",
        b"("
        + text("storage")
        + text("FloatStorage")
        + text("0")
        + text("cpu")
        + number(1)
        + b"tQ.",
    ],
)
def test_damaged_pickles_are_refused(damaged):
    """Whatever is missing, the error is ours."""
    with pytest.raises(CheckpointError):
        read_structure(damaged)


@pytest.mark.parametrize(
    ("shape", "strides", "count"),
    [
        ((2, 3), (3, 1), 5),
        ((2, 3), (3,), 6),
        ((-1,), (1,), 6),
        ((2,), (-1,), 6),
        ((2**30, 2**30), (1, 1), 6),
        ((1,), (1,), 0),
        ((10**5, 10**5), (0, 0), 1),  # one number, repeated
        ((2, 2), (1, 1), 3),
    ],
)
def test_a_tensor_stays_within_its_storage(shape, strides, count):
    """Strides and offsets could otherwise read any memory."""
    with pytest.raises(CheckpointError, match=r"impossible size|larger than its storage"):
        read_structure(tensor("0", "float32", shape, strides, count) + b".")


def test_a_large_place_in_the_memo_takes_no_memory():
    """Python's own reader would make room for four billion values."""
    assert read_structure(b"Nr\xff\xff\xff\xff.") is None


def test_a_long_pickle_is_refused():
    """Each byte may become an object."""
    with pytest.raises(CheckpointError, match="has a pickle of more than"):
        read_structure(b"}" * (MAX_BYTES + 1))


def nested(levels: int) -> bytes:
    """Push a list of two lists of two lists, and so on: each level has the lower one twice."""
    levels_of = (b"](h%ch%ceq%c" % (place, place, place + 1) for place in range(levels))
    return b"]q\x00" + b"".join(levels_of)


@pytest.mark.parametrize("end", [b")R.", b"h\x00\x93.", b"b.", b"Q."])
def test_what_is_nested_is_never_written_out(end):
    """As text, forty levels of a hundred bytes would be a terabyte."""
    with pytest.raises(CheckpointError) as caught:
        read_structure(b"}" + nested(40) + end)

    assert len(str(caught.value)) < 300


def test_numbers_that_have_one_hash_are_no_keys():
    """With 70,000 of them, a dict compares each with all others: two minutes for a megabyte."""
    keys = (n * (2**61 - 1) for n in range(1, 70_000))
    written = (n.to_bytes(11, "little", signed=True) for n in keys)
    items = b"".join(b"\x8a\x0b" + key + b"N" for key in written)

    with pytest.raises(CheckpointError, match="no plain value"):
        read_structure(b"}(" + items + b"u.")


def test_nested_tuples_do_not_exhaust_the_stack():
    """They are no keys, so that they are never hashed."""
    with pytest.raises(CheckpointError, match="no plain value"):
        read_structure(b"}" + b")" + b"\x85" * 500_000 + b"N" + b"s.")


def test_mutations_are_read_or_refused():
    """Of 2,000 damaged pickles each gives tensors or our error."""
    source, outcomes = random.Random(0), set()
    whole = pickle_of(STATE)
    for _ in range(2000):
        mutated = bytearray(whole)
        for _ in range(source.randint(1, 4)):
            place = source.randrange(len(mutated))
            match source.randrange(3):
                case 0:
                    mutated[place] = source.randrange(256)
                case 1:
                    del mutated[place : place + source.randint(1, 8)]
                case 2:
                    mutated[place:place] = source.randbytes(source.randint(1, 8))
        try:
            read_structure(bytes(mutated))
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")

    assert {"read", "refused"} == outcomes
