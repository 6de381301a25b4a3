"""Where weights come from, and which kind of serving graph is made of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.float16 import Precision, chosen
from app.graph.own_answers import Ask
from app.graph.vgg import VggConfig

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

    @property
    def graph_dir(self) -> Path:
        """Folder of the serving graphs."""
        return graph_dir(self.model_dir, self.cache_dir)


def for_device(
    provisioning: Provisioning,
    place: Literal["cpu", "cuda"],
    precision: Literal["auto", "float32", "float16"],
) -> Provisioning:
    """Return the provisioning for a device; convolution plans are for CPUs, and cuDNN has its own."""
    made = replace(provisioning, precision=chosen(precision, place))
    return made if place == "cpu" else replace(made, plan_for=directly, plans=(DIRECT,))
