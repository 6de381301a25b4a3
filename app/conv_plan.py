"""How the convolutions of a VGG are computed: by onnxruntime itself, or lowered (app/lowering.py).

Which plans are worth a try was found out layer by layer (docs/performance.md); which of them is
the fastest here, app/conv_choice.py measures.
"""

from dataclasses import dataclass
from typing import Final

from app.vgg import LayerRow

_KERNEL: Final = 3
"""Side of the kernels that can be lowered."""
_LARGE: Final = 28
"""Maps that are wider than this, in pixels, are large."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """How the convolutions of a VGG are computed.

    Attributes:
        first: Name of the layer from which on all with 3x3 kernels are lowered; None lowers nothing.
    """

    first: str | None = None

    def lowers(self, row: LayerRow) -> bool:
        """Say whether a layer is lowered; by their names layers are in order."""
        after = self.first is not None and row.name >= self.first
        return after and row.kind == "convolution" and row.kernel == _KERNEL


DIRECT: Final = ConvPlan()
"""Every convolution as onnxruntime computes it itself."""
PLANS: Final = (DIRECT, ConvPlan("conv4_1"), ConvPlan("conv2_1"))
"""Those that are worth a try, from none lowered to most: the small maps, or from the first layer on
that gains alone."""


def is_large(row: LayerRow) -> bool:
    """Say whether a layer reads large maps."""
    pooled = 2 if row.kind == "max-pooling" else 1
    return row.kind != "fully connected" and row.output_shape[-1] * pooled > _LARGE
