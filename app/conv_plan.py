"""How the convolutions of a VGG are computed: by onnxruntime itself, or lowered (app/lowering.py).

Which plans are worth a try was found out layer by layer (docs/performance.md); which of them is
the fastest here, app/conv_choice.py measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from app.vgg import LayerRow, VggConfig

_KERNEL: Final = 3
"""Side of the kernels that can be lowered."""
_LARGE: Final = 28
"""Maps that are wider than this, in pixels, are large."""
_MANY: Final = 128
"""Input channels from which on a lowered layer gains."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """How the convolutions of a VGG are computed.

    Attributes:
        strips: Rows of tiles in a strip, of each layer with large maps that is lowered.
        stacked: Whether all layers with small maps are lowered.
    """

    strips: Mapping[str, int] = field(default_factory=dict, hash=False)
    stacked: bool = False

    def lowers(self, row: LayerRow) -> bool:
        """Say whether a layer is lowered."""
        small = row.kind == "convolution" and not is_large(row)
        return row.name in self.strips or (self.stacked and small)


DIRECT: Final = ConvPlan()
"""Every convolution as onnxruntime computes it itself."""


def is_large(row: LayerRow) -> bool:
    """Say whether a layer reads large maps."""
    pooled = 2 if row.kind == "max-pooling" else 1
    return row.kind != "fully connected" and row.output_shape[-1] * pooled > _LARGE


def plans(config: VggConfig) -> list[ConvPlan]:
    """List the plans that are worth a try for a network, from none lowered to most."""
    convolutions = [row for row in config.layers() if row.kind == "convolution"]
    small = [row for row in convolutions if not is_large(row)]
    stacked = all(row.kernel == _KERNEL for row in small)  # those of configuration C are not
    strips = {
        row.name: 7 if row.output_shape[-1] <= 2 * _LARGE else 4
        for row in convolutions
        if row.kernel == _KERNEL and is_large(row) and row.weight_shape[1] >= _MANY
    }
    found = [DIRECT]
    if stacked:
        found.append(ConvPlan(stacked=True))
    if strips:
        found.append(ConvPlan(strips, stacked))
    return found
