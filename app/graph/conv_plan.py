"""How the convolutions of a VGG are computed: by onnxruntime itself, or lowered (app/graph/layers.py).

Measurements of each layer show which plans are worth a try (docs/performance.md); which of them is
the fastest on this machine, app/runtime/conv_choice.py measures.
"""

from dataclasses import dataclass
from typing import Final

from app.graph.vgg import LayerRow

_KERNEL: Final = 3
"""Side of the kernels that can be lowered; only convolutions have one of 3."""
_LARGE: Final = 28
"""Maps that are wider than this, in pixels, are large."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """How the convolutions of a VGG are computed.

    Attributes:
        first: The first layer to lower; all layers with 3x3 kernels from there on are. None for none.
        block: Channels per block; the lowered layers have a multiple of it.
    """

    first: str | None = None
    block: int = 1

    @property
    def name(self) -> str:
        """Return the first lowered layer, or `direct`."""
        return self.first or "direct"

    def lowers(self, row: LayerRow) -> bool:
        """Return whether a layer is lowered; the order of names is the order of layers."""
        if self.first is None or row.kernel != _KERNEL or row.name < self.first:
            return False
        return not any(channels % self.block for channels in row.weight_shape[:2])


DIRECT: Final = ConvPlan()
"""onnxruntime computes every convolution itself."""


def plans(block: int) -> tuple[ConvPlan, ...]:
    """List the plans worth a try: lower nothing, the small maps, and every layer that gains.

    `block` is 0 where onnxruntime has no layout in blocks.
    """
    lowered = ConvPlan("conv4_1", block), ConvPlan("conv2_1", block)
    return (DIRECT, *lowered) if block else (DIRECT,)


def is_large(row: LayerRow) -> bool:
    """Return whether a layer reads large maps."""
    pooled = 2 if row.kind == "max-pooling" else 1
    return row.kind != "fully connected" and row.output_shape[-1] * pooled > _LARGE
