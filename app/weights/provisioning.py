"""Where weights come from, and which kind of serving graph is made of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.float16 import Precision, PrecisionChoice, chosen
from app.graph.own_answers import Ask
from app.graph.vgg import VggConfig
from app.setup_errors import SessionError
from app.weights.calibration.calibrated_graph import OpenProbe
from app.weights.calibration.photos import PhotoFiles, find_photos

SERVING: Final = "serving"
"""Folder of the serving graphs, in the model folder, unless they have one of their own."""


def graph_dir(model_dir: Path, cache_dir: Path | None) -> Path:
    """Return the folder of what is made here: serving graphs, and times of convolutions."""
    return cache_dir or model_dir / SERVING


PlanFor: TypeAlias = Callable[[VggConfig, Callable[[], None]], ConvPlan]
"""Chooses how the convolutions of a network are computed; calls its argument before measuring."""


def directly(_config: VggConfig, _measuring: Callable[[], None]) -> ConvPlan:
    """Leave all convolutions to onnxruntime."""
    return DIRECT


@dataclass(frozen=True, slots=True)
class Calibration:
    """How int8 graphs are calibrated on this machine.

    Attributes:
        open_probe: Loads a graph on the CPU.
        samples: Photos in the box.
        folder: Photos to use in their place; None for the samples, or for whatever photos a graph
            that is there was calibrated with.
        fast: Whether the processor sums products of bytes (`app.machine.sums_bytes`).
    """

    open_probe: OpenProbe
    samples: tuple[Path, ...]
    folder: Path | None = None
    fast: bool = True

    def photos(self) -> PhotoFiles:
        """Find the photos; a CalibrationError if there are none."""
        return find_photos(self.folder, self.samples)


@dataclass(frozen=True, slots=True)
class Provisioning:
    """Where weights come from, and what to make of them.

    Attributes:
        model_dir: Holds checkpoints and ready graphs; only a download writes into it.
        ask: Asks a ready graph what its numbers mean, by running it.
        on_missing: What to do without the weights: `fail`, or `untrained` for random ones.
        offline: Never use the network.
        endpoint: Mirror of the Hugging Face hub; None for the hub itself.
        precision: Precision of the serving graphs.
        or_float32: Whether to build a float32 graph if the weights do not fit into `precision`.
        plan_for: Chooses how convolutions in float32 are computed.
        plans: Plans that this host can run; a graph of one of them serves where the graph of the
            chosen plan cannot be built.
        cache_dir: Holds the serving graphs; None for SERVING in the model folder.
        calibration: How int8 graphs are calibrated; None where none is made.
    """

    model_dir: Path
    ask: Ask
    on_missing: Literal["fail", "untrained"] = "fail"
    offline: bool = False
    endpoint: str | None = None
    precision: Precision = "float32"
    or_float32: bool = False
    plan_for: PlanFor = directly
    plans: tuple[ConvPlan, ...] = (DIRECT,)
    cache_dir: Path | None = None
    calibration: Calibration | None = None

    @property
    def graph_dir(self) -> Path:
        """Folder of the serving graphs."""
        return graph_dir(self.model_dir, self.cache_dir)


def for_device(
    provisioning: Provisioning, place: Literal["cpu", "cuda"], precision: PrecisionChoice
) -> Provisioning:
    """Return the provisioning for a device; convolution plans are for float32 on a CPU.

    Raises:
        SessionError: If int8 cannot be computed there, or not fast.
    """
    made = replace(provisioning, precision=chosen(precision, place))
    if precision == "int8":
        _check_int8(provisioning.calibration, place)
    planned = place == "cpu" and precision != "int8"
    return made if planned else replace(made, plan_for=directly, plans=(DIRECT,))


def _check_int8(calibration: Calibration | None, place: Literal["cpu", "cuda"]) -> None:
    if place == "cuda":
        raise SessionError(
            "VGG_PRECISION=int8 is for a CPU. For the GPU set VGG_PRECISION=float16, or set"
            " VGG_DEVICE=cpu."
        )
    if calibration is None or not calibration.fast:
        raise SessionError(
            "VGG_PRECISION=int8 needs a processor that sums products of bytes: VNNI or AMX on x86, dot"
            " products on ARM. None was found here, where int8 would be slow and its sums could overflow."
            " Set VGG_PRECISION=float32."
        )
