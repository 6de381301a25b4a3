"""Where weights come from, and what a serving graph of them is to be like."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.float16 import Precision, chosen
from app.graph.vgg import VggConfig

SERVING: Final = "serving"
"""Folder of the serving graphs, in the model folder."""

Step: TypeAlias = Literal[
    "fetching", "verifying", "measuring convolutions", "building", "loading", "warming up"
]
Progress: TypeAlias = Callable[[Step, int, int | None], None]
"""Told the step, the bytes done and the bytes in all, if they are known."""
PlanFor: TypeAlias = Callable[[VggConfig, Callable[[], None]], ConvPlan]
"""Chooses how the convolutions of a network are computed; tells when it has to measure."""


def directly(_config: VggConfig, _told: Callable[[], None]) -> ConvPlan:
    """Leave all convolutions to onnxruntime."""
    return DIRECT


@dataclass(frozen=True, slots=True)
class Provisioning:
    """Where weights come from.

    Attributes:
        model_dir: Checkpoints lie here, and the serving graphs made from them.
        on_missing: What to do without the weights: `fail`, or `untrained` for a stand-in.
        offline: Never ask the network.
        endpoint: Mirror of the Hugging Face hub; None for the hub itself.
        precision: Of the serving graphs.
        or_float32: Build a graph in float32 if its network may not be had in that precision.
        plan_for: Chooses how convolutions in float32 are computed.
        plans: Where no graph of that can be made, one of these that is there will do.
    """

    model_dir: Path
    on_missing: Literal["fail", "untrained"] = "fail"
    offline: bool = False
    endpoint: str | None = None
    precision: Precision = "float32"
    or_float32: bool = False
    plan_for: PlanFor = directly
    plans: tuple[ConvPlan, ...] = (DIRECT,)


def for_device(
    provisioning: Provisioning,
    place: Literal["cpu", "cuda"],
    precision: Literal["auto", "float32", "float16"],
) -> Provisioning:
    """Let graphs be made for a device: plans of ours are for CPUs, cuDNN needs and takes none."""
    made = replace(provisioning, precision=chosen(precision, place))
    return made if place == "cpu" else replace(made, plan_for=directly, plans=(DIRECT,))
