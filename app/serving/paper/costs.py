"""What the tests of many views cost: predicted from what images cost, corrected by every whole photo."""

import math
from typing import Final, Literal, TypeAlias

from app.errors import DeadlineExceededError
from app.images.paper_views import usual_scales
from app.serving.loading import Loaded
from app.serving.turns import SHARE

ServedTest: TypeAlias = Literal["ten-crop", "dense"]

CROPS: Final = 10
_USUAL_SHAPE: Final = 4 / 3
"""Longer side by shorter side of most photos, before one is decoded."""
_MEMORY: Final = 0.5
"""Weight of the past in what is learned."""
_FORGET: Final = 0.9
"""What a refusal leaves of what was learned, perhaps on a busy machine: so a model is not refused for good."""


def images_of(loaded: Loaded, pixels: float) -> float:
    """Return how many images of the model's size a whole photo is worth, with its mirror image."""
    return 2 * pixels / loaded.manifest.preprocess.crop**2


def usual_images(loaded: Loaded, test: ServedTest) -> float:
    """Return how many images a test is worth, of a photo of the usual shape."""
    if test == "ten-crop":
        return CROPS
    [scale] = usual_scales(test, loaded.manifest.preprocess)
    return images_of(loaded, scale * scale * _USUAL_SHAPE)


def counted_as(loaded: Loaded, images: float) -> int:
    """Return as how many images that wait a whole photo counts while it is run.

    On the CPU it delays photos as so many more of them would; but it is no reason to refuse them, so it
    counts for a share of the queue budget at most.
    """
    if loaded.device != "cpu":
        return 0
    policy = loaded.queue.policy
    most = SHARE * policy.queue_budget / policy.cost(1) if policy.cost(1) else images
    return math.ceil(min(images, most))


class PaperCosts:
    """The seconds of tests, for all models of a process."""

    def __init__(self, slower: float) -> None:
        """Start from how many times as long an image takes beside others on a CPU."""
        self._usual = slower
        self._slower: dict[str, float] = {}  # a number per model that was tested

    def of_crops(self, loaded: Loaded, crops: int) -> float:
        """Predict the seconds of crops in the ordinary queue."""
        policy = loaded.queue.policy
        largest = policy.sizes[-1]
        return crops / largest * policy.cost(largest)

    def of_images(self, loaded: Loaded, images: float) -> float:
        """Predict the seconds of a whole photo; 0 before the first of a model on a GPU."""
        usual = self._usual if loaded.device == "cpu" else 0.0
        slower = self._slower.get(loaded.manifest.name, usual)
        return images * loaded.queue.policy.cost(1) * slower

    def check(self, loaded: Loaded, seconds: float, left: float) -> None:
        """Refuse at once what would not be done in the seconds that are left.

        Raises:
            DeadlineExceededError: If it would not.
        """
        if seconds > left:
            name = loaded.manifest.name
            if name in self._slower:
                self._slower[name] *= _FORGET
            raise DeadlineExceededError(
                f"The test would take about {seconds:.1f} s here; {max(0.0, left):.1f} s are left until"
                " the deadline. Allow more time, or leave test out."
            )

    def learn(self, loaded: Loaded, images: float, seconds: float, *, done: bool) -> None:
        """Learn how long a whole photo takes; one that was not done would have taken longer."""
        name, cost = loaded.manifest.name, images * loaded.queue.policy.cost(1)
        ratio = seconds / cost if cost else 1.0
        past = self._slower.get(name, ratio)
        if done:
            self._slower[name] = _MEMORY * past + (1 - _MEMORY) * ratio
        elif ratio > past:
            self._slower[name] = ratio
