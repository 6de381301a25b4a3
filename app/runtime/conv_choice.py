"""Which plan for the convolutions is the fastest on this machine: tried once, remembered.

FOLDER/conv.json holds, for each kind of processor, number of threads, release of onnxruntime and
network, the seconds that each plan took, or null if it cannot be used.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from filelock import FileLock

from app.errors import RunFailedError, SessionError
from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.serving_graph import GRAPH_VERSION
from app.graph.vgg import VggConfig
from app.machine import processor
from app.runtime.conv_trial import LEFT_BEHIND, Trial
from app.runtime.ort import VERSION

log = logging.getLogger(__name__)

ConvChoice: TypeAlias = Literal["auto", "direct", "winograd"]
Seconds: TypeAlias = tuple[float, float] | None
"""An image takes these: alone, and in a batch; None if the plan cannot be used here."""
Try: TypeAlias = Callable[[VggConfig, ConvPlan, int, int, Path], Trial]

CHOICE_FILE: Final = "conv.json"
_WORTHWHILE: Final = 10**9
"""Multiply-adds of an image below which the convolutions are not what a request waits for."""
_LEAST_GAIN: Final = 0.05
_MOST_IMAGES: Final = 8
"""In a batch that is tried: larger ones tell no more, and take their time and memory."""


@dataclass(frozen=True, slots=True)
class PlanChooser:
    """Chooses how the convolutions of a network are computed on a CPU.

    Attributes:
        choice: `direct` lowers nothing, and `winograd` all that may gain, whatever it takes.
        folder: Where trials are remembered; candidates are written there and deleted again.
        threads: Of one run.
        images: In the largest batch that will be run.
        plans: Those to choose from, DIRECT first.
        try_plan: Another one is given by tests.
    """

    choice: ConvChoice
    folder: Path
    threads: int
    images: int
    plans: tuple[ConvPlan, ...]
    try_plan: Try

    def __call__(self, config: VggConfig, told: Callable[[], None]) -> ConvPlan:
        """Return the plan; `told` is called if plans have to be tried, which takes seconds.

        A plan has to answer what `direct` answers and, for `auto`, to gain 5 % over it; what it gains in
        a batch counts twice, since a service that is busy runs batches. In a folder that cannot be
        written nothing is tried.
        """
        if self.choice == "direct":
            return DIRECT
        if len(self.plans) == 1:
            if self.choice == "winograd":
                log.warning("VGG_CONV=winograd: onnxruntime has no layout for it on this processor")
            return DIRECT
        if self.choice == "auto" and config.multiply_adds() < _WORTHWHILE:
            return DIRECT
        try:
            seconds = self._seconds(config, told)
        except OSError as exc:
            log.warning("%s cannot be written, no convolutions are tried: %s", self.folder, exc)
            return DIRECT
        except (SessionError, RunFailedError, MemoryError) as exc:  # of DIRECT itself
            log.warning("convolutions cannot be tried: %s", exc)
            return DIRECT
        plan = self.plans[self._chosen(seconds)]
        log.info(
            "VGG_CONV=%s lowers %d convolutions; ms an image alone and in a batch: %s",
            self.choice,
            sum(plan.lowers(row) for row in config.layers()),
            "; ".join(
                f"{name} {1000 * one[0]:.0f}, {1000 * one[1]:.0f}" if one else f"{name} fails"
                for name, one in zip(self._names(), seconds, strict=True)
            ),
        )
        return plan

    def _seconds(self, config: VggConfig, told: Callable[[], None]) -> list[Seconds]:
        """Return what each plan takes, remembered or measured now."""
        file = self.folder / CHOICE_FILE
        key = self._key(config)
        seconds = self._remembered(file, key)
        if seconds is not None:
            return seconds
        told()
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f".{CHOICE_FILE}.lock"):
            seconds = self._remembered(file, key)  # by another process meanwhile
            if seconds is None:
                for left in self.folder.glob(f"{LEFT_BEHIND}*"):  # by a killed process
                    shutil.rmtree(left, ignore_errors=True)
                seconds = self._tried(config)
                _remember(file, key, dict(zip(self._names(), seconds, strict=True)))
        return seconds

    def _chosen(self, seconds: list[Seconds]) -> int:
        """Return the number of the plan."""
        usable = {number: one for number, one in enumerate(seconds) if one}
        if self.choice == "winograd":
            return max(usable)
        alone, batch = usable[0]
        scores = {n: (one[0] / alone + 2 * one[1] / batch) / 3 for n, one in usable.items()}
        best = min(scores, key=scores.__getitem__)
        return best if scores[best] <= 1 - _LEAST_GAIN else 0

    def _tried(self, config: VggConfig) -> list[Seconds]:
        direct = self.try_plan(config, DIRECT, self.threads, self._images, self.folder)
        seconds: list[Seconds] = [(direct.alone, direct.batch)]
        for plan in self.plans[1:]:
            try:
                trial = self.try_plan(config, plan, self.threads, self._images, self.folder)
            except (SessionError, RunFailedError, MemoryError) as exc:
                log.warning("convolutions lowered from %s on cannot be run: %s", plan.first, exc)
                seconds.append(None)
                continue
            # Another release or processor may understand a graph in its own way, without an error.
            right = trial.agrees(direct)
            if not right:
                log.warning("convolutions lowered from %s on give other answers", plan.first)
            seconds.append((trial.alone, trial.batch) if right else None)
        return seconds

    @property
    def _images(self) -> int:
        """In a batch that is tried."""
        return min(self.images, _MOST_IMAGES)

    def _names(self) -> list[str]:
        return [plan.first or "direct" for plan in self.plans]

    def _key(self, config: VggConfig) -> str:
        plans = [asdict(plan) for plan in self.plans]
        batch = self.threads, self._images
        made = (processor(), *batch, VERSION, GRAPH_VERSION, plans, asdict(config))
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]

    def _remembered(self, file: Path, key: str) -> list[Seconds] | None:
        """Read what was measured; None if it was not, or what stands there is not ours."""
        found = _read(file).get(key)
        try:
            times = [found[name] for name in self._names()] if isinstance(found, dict) else []
            seconds: list[Seconds] = [one and (float(one[0]), float(one[1])) for one in times]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        return seconds if seconds and seconds[0] and all(min(s) > 0 for s in seconds if s) else None


def _read(file: Path) -> dict[str, object]:
    """Read a file; nothing from one that is not there or not ours."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(file: Path, key: str, seconds: dict[str, Seconds]) -> None:
    new = file.with_name(f".{file.name}.new")  # not a temporary file: those are for one user only
    new.write_text(json.dumps(_read(file) | {key: seconds}, indent=2), encoding="utf-8")
    new.replace(file)
