"""What a manifest may say, key by key: the weights of one model, and what they expect."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)
from pydantic.dataclasses import dataclass

from app.graph.explain import METHODS
from app.graph.vgg import ARCHITECTURES, CONFIGURATIONS, INPUT_SIDE, VggConfig, architecture
from app.records import Explanation, Preprocess

FORMATS: Final = ("safetensors", "onnx", "keras", "caffe", "pth")
MAX_SIDE: Final = 1024
"""Pixels; a wider crop is probably a typo."""
SIDE_STEP: Final = 32
"""Pixels; each of the five groups of a VGG halves the side of its maps."""
MAX_SIZE: Final = 2**40
"""Bytes of a checkpoint; more is probably a typo."""

TEMPERATURES: Final = (0.05, 20.0)
"""From the least to the greatest: what is outside is a mistake, and nothing that a calibration finds."""

NAME: Final = "[a-z0-9][a-z0-9._-]{0,63}"
"""What a model may be called."""
_FILE: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$"
_ANY_FILE: Final = r"^[^/\\\x00-\x1f]{1,255}$"
_NO_OTHERS: Final = ConfigDict(extra="forbid")  # an unknown key is probably a typo


def _expect(description: str, **bounds: Any) -> Any:  # noqa: ANN401 (as pydantic's Field)
    """Say what a value has to be; error sentences end with the description."""
    return Field(strict=True, description=description, **bounds)


def _one_of(names: Iterable[str]) -> Any:  # noqa: ANN401 (as pydantic's Field)
    return _expect(f"one of {', '.join(names)}", pattern=f"^(?:{'|'.join(names)})$")


def _check_address(url: str | None) -> str | None:
    if url is not None:
        parts = urlsplit(url)  # a ValueError for "[" without an IPv6 address
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError
    return url


_Text: TypeAlias = Annotated[str, _expect("a text", pattern=r"\S")]
_Percent: TypeAlias = Annotated[float, _expect("a number from 0 to 100", ge=0, le=100)]
_Mean: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=255)]
_Units: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=2**16)]
_Std: TypeAlias = Annotated[float, Field(strict=True, ge=0.001, le=255)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class _Published:
    """A file that somebody published.

    Attributes:
        url: Where it is downloaded from; None if it has to be put there by hand.
        size: Bytes; None if not known.
        sha256: Its digest in hex digits, if it is pinned.
        sha384: The same of another algorithm.
    """

    url: Annotated[
        str | None, _expect("an http or https address"), AfterValidator(_check_address)
    ] = None
    size: Annotated[
        int | None, _expect(f"a whole number from 1 to {MAX_SIZE}", ge=1, le=MAX_SIZE)
    ] = None

    sha256: Annotated[str | None, _expect("64 lower-case hex digits", pattern="^[0-9a-f]{64}$")] = (
        None
    )
    sha384: Annotated[
        str | None, _expect("96 lower-case hex digits and no sha256", pattern="^[0-9a-f]{96}$")
    ] = None

    @property
    def digest(self) -> str | None:
        """`sha256:` or `sha384:` and hex digits; None if it is not pinned."""
        if self.sha384 is not None:
            return f"sha384:{self.sha384}"
        return None if self.sha256 is None else f"sha256:{self.sha256}"

    @field_validator("sha384")
    @classmethod
    def _only_one(cls, sha384: str | None, info: ValidationInfo) -> str | None:
        if sha384 is not None and info.data.get("sha256") is not None:
            raise ValueError
        return sha384


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class DataFile(_Published):
    """A file beside an ONNX file that holds weights of it (external data).

    `file` is its name, as the ONNX file has it.
    """

    file: Annotated[str, _expect("a file name without a folder", pattern=_ANY_FILE)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class Checkpoint(DataFile):
    """The published file that the serving graph is built from.

    `file` is its name in the model folder.
    """

    format: Annotated[str, _one_of(FORMATS)]
    file: Annotated[str, _expect("a file name without a folder, or a url", pattern=_FILE)]


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class Accuracy:
    """What the publisher of the weights measured on ImageNet's validation set.

    `top1` and `top5` are per cent, of a single centre crop; `source` is who measured them.
    """

    top1: _Percent
    top5: _Percent
    source: _Text


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class SelfTest:
    """A photo that the model has to recognise before it is ready.

    `photo` is a file in the model folder or beside the manifest; `class_` (in the file: `class`) is
    its class, as a WordNet id, a label or an index.
    """

    photo: Annotated[str, _expect("a file name without a folder", pattern=_FILE)]
    class_: Annotated[
        str | int,
        Field(alias="class", description="a WordNet id, a label or the index of a class"),
    ]


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class _Preprocess:
    """The checks of `Preprocess`, which has no need of pydantic."""

    crop: Annotated[int, _expect(f"a whole number from 1 to {MAX_SIDE}", ge=1, le=MAX_SIDE)]
    resize: Annotated[int, _expect(f"a whole number from crop to {MAX_SIDE}", le=MAX_SIDE)]
    channels: Annotated[str, _one_of(("RGB", "BGR"))]
    mean: Annotated[
        tuple[_Mean, _Mean, _Mean],
        Field(description="three numbers from 0 to 255, one per channel"),
    ]
    std: Annotated[
        tuple[_Std, _Std, _Std],
        Field(description="three numbers from 0.001 to 255, one per channel"),
    ]

    @field_validator("resize")
    @classmethod
    def _at_least_crop(cls, resize: int, info: ValidationInfo) -> int:
        if resize < info.data.get("crop", 1):
            raise ValueError
        return resize


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class _Architecture:
    """A member of the VGG family that differs from the paper's in its size."""

    configuration: Annotated[str, _one_of(CONFIGURATIONS)]
    width: Annotated[
        float, _expect("a number above 0 and up to 4: a share of the paper's channels", gt=0, le=4)
    ] = 1.0
    side: Annotated[
        int,
        _expect(
            f"a multiple of {SIDE_STEP} up to {MAX_SIDE}",
            multiple_of=SIDE_STEP,
            ge=SIDE_STEP,
            le=MAX_SIDE,
        ),
    ] = INPUT_SIDE
    hidden: Annotated[
        tuple[_Units, _Units], Field(description="two whole numbers: the units of fc6 and fc7")
    ] = (4096, 4096)


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class _Explanation:
    """The checks of `Explanation`, which has no need of pydantic."""

    method: Annotated[str, _one_of(METHODS)] = METHODS[0]
    layers: Annotated[
        tuple[Annotated[str, Field(strict=True)], ...],
        Field(description="a list of layers: conv5_3, pool4"),
    ] = ()
    threshold: Annotated[float, _expect("a number between 0 and 1", gt=0, lt=1)] = 0.15


def _network(value: object) -> VggConfig | None:
    """Return the network that a manifest names, or describes in a table."""
    if value is None or isinstance(value, VggConfig):
        return value
    if isinstance(value, dict):
        table = TypeAdapter(_Architecture).validate_python(value)
    elif isinstance(value, str) and value in ARCHITECTURES:
        return architecture(value)
    else:
        raise ValueError
    return VggConfig(table.configuration, hidden=table.hidden, side=table.side).scaled(table.width)


def _explanation(table: object) -> Explanation | None:
    if table is None or isinstance(table, Explanation):
        return table
    return Explanation(**asdict(TypeAdapter(_Explanation).validate_python(table)))


def _preprocess(table: object) -> Preprocess:
    if isinstance(table, Preprocess):
        return table
    return Preprocess(**asdict(TypeAdapter(_Preprocess).validate_python(table)))


@dataclass(frozen=True, slots=True, kw_only=True, config=_NO_OTHERS)
class Manifest(_Published):
    """One model: weights with their preprocessing, and where they come from.

    Attributes:
        path: The file that this was read from.
        name: What a request calls it.
        title: What a person calls it.
        license: SPDX identifier of the licence of the weights.
        labels: Name of the label file, without its suffix.
        preprocess: Belongs to the weights, not to the architecture.
        architecture: The network, with the paper's 1000 classes (`labels.network_of` knows how
            many there really are); None for a ready graph.
        checkpoint: What the serving graph is built from; None for a ready graph.
        onnx: File name of a ready graph, which `url`, `size` and the digests then describe; None for
            a checkpoint, which has its own.
        external: The files beside an ONNX file that hold its weights, if they are to be checked.
        explanation: How answers are explained; its layers are named. None for a ready graph.
        trained: False for weights that never saw an image (demonstrations, tests).
        temperature: Divides the logits before softmax, so that probabilities mean what they say;
            `vgg-serve evaluate` proposes one. 1 leaves them as they were trained.
        baseline: File of what its usual photos are like, in the model folder or beside the manifest;
            without the key it is `NAME.baseline.json`, if that is there.
    """

    path: Path
    name: Annotated[
        str,
        _expect("lower-case letters, digits, '.', '_', '-'", pattern=f"^{NAME}$"),
    ]
    title: _Text
    license: _Text
    labels: Annotated[str, _expect("the name of a label file", pattern=_FILE)]
    preprocess: Annotated[
        Preprocess, PlainValidator(_preprocess), Field(description="a table [preprocess]")
    ]
    architecture: Annotated[
        VggConfig | None,
        PlainValidator(_network),
        Field(description=f"one of {', '.join(ARCHITECTURES)}, or a table [architecture]"),
    ] = None
    checkpoint: Annotated[Checkpoint | None, Field(description="a table [checkpoint]")] = None
    onnx: Annotated[str | None, _expect("a file name without a folder", pattern=_FILE)] = None
    external: Annotated[
        tuple[DataFile, ...], Field(description="tables [[external]], each with a file")
    ] = ()
    trained: Annotated[bool, _expect("true or false")] = True
    temperature: Annotated[
        float,
        _expect(
            f"a number from {TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}, such as vgg-serve evaluate proposes",
            ge=TEMPERATURES[0],
            le=TEMPERATURES[1],
        ),
    ] = 1.0
    baseline: Annotated[str | None, _expect("a file name without a folder", pattern=_FILE)] = None
    accuracy: Annotated[Accuracy | None, Field(description="a table [accuracy]")] = None
    selftest: Annotated[SelfTest | None, Field(description="a table [selftest]")] = None
    explanation: Annotated[
        Explanation | None, PlainValidator(_explanation), Field(description="a table [explanation]")
    ] = None


TABLES: Final = {
    "architecture": _Architecture,
    "checkpoint": Checkpoint,
    "preprocess": _Preprocess,
    "accuracy": Accuracy,
    "selftest": SelfTest,
    "explanation": _Explanation,
    "external": DataFile,
}
"""The tables of a manifest, by name."""
