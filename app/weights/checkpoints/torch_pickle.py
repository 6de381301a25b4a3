"""Read which tensors a PyTorch checkpoint has from its pickle, without unpickling it.

A pickle is a program, and Python's own reader runs whatever it asks for. This one knows the
instructions and the globals that a file of tensors needs, and refuses every other by its name: it
builds dicts, lists, tuples and `TensorRef`s, and calls nothing. What training scripts keep beside the
weights (an accuracy of NumPy, the milestones of a schedule) is read as nothing. Instructions: `pickletools` of the
standard library. What PyTorch writes with them: `torch/serialization.py`, `torch/_utils.py`.
"""

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, Final

from app.setup_errors import CheckpointError
from app.weights.checkpoints.layout import Shape, shown

MAX_BYTES: Final = 2**20
"""A checkpoint of the family has 100,000 bytes of pickle; each may become 64 bytes of memory."""
_ADVICE: Final = "Save the weights alone: torch.save(model.state_dict(), 'weights.pth')"
_KEYS: Final = (str, int, float, bool, type(None))
"""Types of dict keys: nested tuples could exhaust the stack when they are hashed."""
_MOST_KEY: Final = 2**31
"""Of an int as a key: larger ones can be chosen so that all have one hash, and a dict takes minutes."""
_MARK: Final = object()

_STORAGES: Final = {
    "torch FloatStorage": "float32",
    "torch HalfStorage": "float16",
    "torch BFloat16Storage": "bfloat16",
    "torch DoubleStorage": "float64",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
    "torch ShortStorage": "int16",
    "torch CharStorage": "int8",
    "torch ByteStorage": "uint8",
    "torch BoolStorage": "bool",
}
_DICT: Final = "collections OrderedDict"
_TENSOR: Final = "torch._utils _rebuild_tensor_v2"
_PARAMETER: Final = "torch._utils _rebuild_parameter"
_BESIDE: Final = frozenset(
    {
        *("collections Counter", "__builtin__ set", "builtins set", "torch Size", "torch device"),
        *(f"torch {dtype}" for dtype in _STORAGES.values()),
        *("numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar"),
        "_codecs encode",
    }
)
"""Plain values, which no weight needs: `torch.serialization` allows most of them, too."""
_NOTHING: Final = object()
"""What stands for such a value."""
_GLOBALS: Final = {*_STORAGES, _DICT, _TENSOR, _PARAMETER}


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(frozen=True, slots=True)
class StorageRef:
    """Numbers in the file: the name of their entry, NumPy's name of their type, how many."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A view of a storage, inside of it; offset and strides count numbers."""

    storage: StorageRef
    offset: int
    shape: Shape
    strides: Shape


def read_structure(pickle: bytes) -> Any:  # noqa: ANN401 (whatever was saved)
    """Return what was saved: dicts, lists, tuples, plain values, and a TensorRef for each tensor.

    Raises:
        CheckpointError: If it holds anything else, which the error names.
    """
    if len(pickle) > MAX_BYTES:
        raise CheckpointError(f"has a pickle of more than {MAX_BYTES} bytes. {_ADVICE}")
    machine, stream = _Machine(), io.BytesIO(pickle)
    try:
        while code := stream.read(1):
            opcode = _OPCODES[code.decode("latin-1")]
            if opcode.name == "STOP":
                return machine.stack.pop()
            if opcode.name not in _ALLOWED:
                raise CheckpointError(
                    f"has the pickle instruction {opcode.name}, which is not run. {_ADVICE}"
                )
            machine.step(opcode.name, _argument(opcode, stream))
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as exc:
        raise CheckpointError(f"has a damaged pickle: {shown(exc)}") from exc
    raise CheckpointError("has a damaged pickle: it does not end")


def _argument(opcode: pickletools.OpcodeInfo, stream: io.BytesIO) -> Any:  # noqa: ANN401 (of any)
    if opcode.name == "GLOBAL":  # the module's own reader takes escapes for an old Python's
        lines = stream.readline(), stream.readline()
        return " ".join(line.decode().removesuffix("\n") for line in lines)
    return opcode.arg.reader(stream) if opcode.arg else None


class _Machine:
    """The stack and the memo of a pickle, and its allowed instructions."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:  # noqa: ANN401 (of any instruction)
        if name in _VALUES:
            self.stack.append(_VALUES[name](argument))
        elif name in _STEPS:
            _STEPS[name](self, argument)

    def find(self, name: str) -> None:
        if name in _BESIDE:
            self.stack.append(_NOTHING)
            return
        if name not in _GLOBALS:
            called = shown(name.replace(" ", "."))
            raise CheckpointError(
                f"wants to run {called}, which is refused: a checkpoint needs tensors alone. {_ADVICE}"
            )
        self.stack.append(_Global(name))

    def find_on_stack(self, _: object) -> None:
        match self.stack.pop(), self.stack.pop():
            case str(name), str(module):
                self.find(f"{module} {name}")
            case _:  # as text, nested lists of a few bytes could be endless
                raise TypeError("the name of a global is no text")

    def remember(self, place: int | None) -> None:
        self._memo[len(self._memo) if place is None else place] = self.stack[-1]

    def recall(self, place: int) -> None:
        self.stack.append(self._memo[place])

    def since_mark(self) -> list[Any]:
        places = reversed(range(len(self.stack)))
        place = next((i for i in places if self.stack[i] is _MARK), None)
        if place is None:
            raise IndexError("a mark is missing")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) < count:
            raise IndexError("a tuple of too few")
        del self.stack[-count:]
        self.stack.append(items)

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError("appends to what is no list")
        target.extend(items)

    def set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        keys, values = items[::2], items[1::2]
        if type(target) is not dict or not all(map(_is_key, keys)):
            raise TypeError("sets an item of what is no dict, or with a key that is no plain value")
        target.update(zip(keys, values, strict=True))

    def load_storage(self, _: object) -> None:
        match self.stack.pop():
            case ("storage", _Global(name), str(key), str(), int(count)) if name in _STORAGES:
                self.stack.append(StorageRef(key, _STORAGES[name], count))
            case _:
                raise CheckpointError(f"has a reference to what is no storage. {_ADVICE}")

    def call(self, _: object) -> None:
        arguments, called = self.stack.pop(), self.stack.pop()
        match called, arguments:
            case one, _ if one is _NOTHING:
                self.stack.append(_NOTHING)
            case _Global(name), () if name == _DICT:
                self.stack.append({})
            case _Global(name), (
                StorageRef() as storage,
                int(offset),
                tuple(shape),
                tuple(strides),
                *_,
            ) if name == _TENSOR:
                self.stack.append(_view(storage, offset, shape, strides))
            case _Global(name), (TensorRef() as tensor, *_) if name == _PARAMETER:
                self.stack.append(tensor)
            case _:
                name = called.name if isinstance(called, _Global) else type(called).__name__
                raise CheckpointError(f"calls {shown(name)} in an unknown way")

    def build(self, _: object) -> None:
        """Drop the attributes of a dict: PyTorch gives its own the versions of modules."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict and self.stack[-1] is not _NOTHING:
            raise CheckpointError("sets the state of an object, which a checkpoint does not need")


def _is_key(key: object) -> bool:
    return isinstance(key, _KEYS) and (not isinstance(key, int) or abs(key) <= _MOST_KEY)


def _view(storage: StorageRef, offset: int, shape: Shape, strides: Shape) -> TensorRef:
    numbers = (offset, storage.count, *shape, *strides)
    if not all(type(one) is int and one >= 0 for one in numbers) or len(shape) != len(strides):
        raise CheckpointError("has a tensor of impossible size")
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    # Numbers that are repeated (a stride of 0) could take any memory; no weights are stored so.
    if prod(shape) > storage.count or (0 not in shape and last >= storage.count):
        raise CheckpointError("has a tensor that is larger than its storage")
    return TensorRef(storage, offset, shape, strides)


_VALUES: Final[dict[str, Callable[[Any], Any]]] = {
    "MARK": lambda _: _MARK,
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    **dict.fromkeys(
        (
            *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
        ),
        lambda argument: argument,
    ),
}
"""Instructions that put one value onto the stack."""

_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "GLOBAL": _Machine.find,
    "STACK_GLOBAL": _Machine.find_on_stack,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.set(machine.since_mark()),
    "BINPERSID": _Machine.load_storage,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}

_OPCODES: Final = {opcode.code: opcode for opcode in pickletools.opcodes}
_ALLOWED: Final = {"PROTO", "FRAME", *_VALUES, *_STEPS}
