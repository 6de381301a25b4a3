"""From a map of evidence to a box: the largest connected area above a threshold, as Grad-CAM's paper does.

Source: Selvaraju et al., Grad-CAM, arXiv 1610.02391, section 4.1.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.records import Area


def find_box(evidence: NDArray[np.float32], threshold: float, crop: int) -> Area | None:
    """Return the box around the largest 8-connected area of a map.

    Args:
        evidence: float32 [s, s], 0 or more; it is resized to the crop, bilinearly, each value at
            the centre of its cell.
        threshold: Share of the largest value from which on a pixel counts.
        crop: Side of the network's image, in pixels.

    Returns:
        Its box; None if the map is empty, with no value above 0. Of areas of the same size it is the
        first, from the top.
    """
    if not evidence.max() > 0:
        return None
    large = np.asarray(Image.fromarray(evidence).resize((crop, crop), Image.Resampling.BILINEAR))
    return _largest_area(large >= threshold * large.max())


def _largest_area(inside: NDArray[np.bool_]) -> Area:
    """Find the largest area, by the runs of its rows, and return its box."""
    parents: list[int] = []
    runs: list[tuple[int, int, int]] = []  # row, start, end

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    above: range = range(0)
    edges = np.diff(np.pad(inside, ((0, 0), (1, 1))).astype(np.int8))
    for row, line in enumerate(edges):
        first = len(runs)
        for start, end in zip(
            np.flatnonzero(line == 1).tolist(), np.flatnonzero(line == -1).tolist(), strict=True
        ):
            number = len(runs)
            runs.append((row, start, end))
            parents.append(number)
            for other in above:
                if runs[other][1] <= end and start <= runs[other][2]:  # corners count
                    first_root, second_root = sorted((root(other), root(number)))
                    parents[second_root] = first_root
        above = range(first, len(runs))
    areas: dict[int, list[tuple[int, int, int]]] = {}
    for number, run in enumerate(runs):
        areas.setdefault(root(number), []).append(run)
    best = max(areas.values(), key=lambda area: sum(end - start for _, start, end in area))
    rows, starts, ends = zip(*best, strict=True)
    return Area(float(min(starts)), float(min(rows)), float(max(ends)), float(max(rows) + 1))
