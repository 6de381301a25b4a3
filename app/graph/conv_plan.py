"""How the convolutions of a VGG are computed: by onnxruntime itself, or lowered (app/graph/lowering.py).

Which plans are worth a try was found out layer by layer (docs/performance.md); which of them is
the fastest here, app/runtime/conv_choice.py measures.
"""

from dataclasses import dataclass
from typing import Final

from app.graph.vgg import LayerRow

_KERNEL: Final = 3
"""Side of the kernels that can be lowered."""
_LARGE: Final = 28
"""Maps that are wider than this, in pixels, are large."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """How the convolutions of a VGG are computed.

    Attributes:
        first: Name of the layer from which on all with 3x3 kernels are lowered; None lowers nothing.
        block: How many channels lie side by side in those; they have a multiple of it.
    """

    first: str | None = None
    block: int = 1

    def lowers(self, row: LayerRow) -> bool:
        """Say whether a layer is lowered; by their names layers are in order."""
        after = self.first is not None and row.name >= self.first
        return (
            after
            and row.kind == "convolution"
            and row.kernel == _KERNEL
            and not any(channels % self.block for channels in row.weight_shape[:2])
        )


DIRECT: Final = ConvPlan()
"""Every convolution as onnxruntime computes it itself."""


def plans(block: int) -> tuple[ConvPlan, ...]:
    """List the plans that are worth a try, from none lowered to most.

    The small maps alone, or from the first layer on that gains.

    Args:
        block: How many channels lie side by side where onnxruntime convolves; 0 where it has no
            such layout, and nothing is lowered.
    """
    lowered = ConvPlan("conv4_1", block), ConvPlan("conv2_1", block)
    return (DIRECT, *lowered) if block else (DIRECT,)


def is_large(row: LayerRow) -> bool:
    """Say whether a layer reads large maps."""
    pooled = 2 if row.kind == "max-pooling" else 1
    return row.kind != "fully connected" and row.output_shape[-1] * pooled > _LARGE
