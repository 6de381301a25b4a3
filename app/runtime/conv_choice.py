"""Which plan for the convolutions is the fastest on this machine: measured once, then remembered.

FOLDER/conv.json has, for each kind of processor, number of threads, release of onnxruntime and
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
from app.runtime.conv_trial import FOLDER_PREFIX, Trial
from app.runtime.ort import VERSION

log = logging.getLogger(__name__)

ConvChoice: TypeAlias = Literal["auto", "direct", "winograd"]
Seconds: TypeAlias = tuple[float, float] | None
"""Seconds per image, alone and in a batch; None if the plan cannot be used here."""
Try: TypeAlias = Callable[[VggConfig, ConvPlan, int, int, Path], Trial]

CHOICE_FILE: Final = "conv.json"
_WORTHWHILE: Final = 10**9
"""Multiply-adds per image below which a request does not wait for its convolutions."""
_LEAST_GAIN: Final = 0.05
_MOST_IMAGES: Final = 8
"""Largest batch in a trial: a larger one gives the same order of plans, and takes time and memory."""


@dataclass(frozen=True, slots=True)
class PlanChooser:
    """Chooses how the convolutions of a network are computed on a CPU.

    Attributes:
        choice: `direct` lowers nothing, `winograd` as much as any plan does, however slow.
        folder: Where results are remembered; candidates are written there and deleted again.
        threads: Threads per run.
        images: The largest batch that will be run.
        plans: The plans to choose from, DIRECT first.
        try_plan: Measures one plan.
    """

    choice: ConvChoice
    folder: Path
    threads: int
    images: int
    plans: tuple[ConvPlan, ...]
    try_plan: Try

    def __call__(self, config: VggConfig, measuring: Callable[[], None]) -> ConvPlan:
        """Return the plan; `measuring` is called before plans are measured, which takes seconds.

        A plan has to give the answers of DIRECT and, for `auto`, to be 5 % faster; its gain in a
        batch counts twice, since a busy service runs batches. Nothing is measured if the folder
        cannot be written.
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
            seconds = self._seconds(config, measuring)
        except OSError as exc:
            log.warning("%s cannot be written, convolutions stay direct: %s", self.folder, exc)
            return DIRECT
        except (SessionError, RunFailedError, MemoryError) as exc:  # of DIRECT itself
            log.warning("convolutions cannot be measured and stay direct: %s", exc)
            return DIRECT
        plan = self.plans[self._fastest(seconds)]
        log.info(
            "VGG_CONV=%s lowers %d convolutions; ms per image alone and in a batch: %s",
            self.choice,
            sum(plan.lowers(row) for row in config.layers()),
            "; ".join(
                f"{name} {1000 * one[0]:.0f}, {1000 * one[1]:.0f}" if one else f"{name} fails"
                for name, one in zip(self._names(), seconds, strict=True)
            ),
        )
        return plan

    def _seconds(self, config: VggConfig, measuring: Callable[[], None]) -> list[Seconds]:
        """Return the times of the plans, remembered or measured now."""
        file = self.folder / CHOICE_FILE
        key = self._key(config)
        seconds = self._remembered(file, key)
        if seconds is not None:
            return seconds
        measuring()
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f".{CHOICE_FILE}.lock"):
            seconds = self._remembered(file, key)  # by another process meanwhile
            if seconds is None:
                for left in self.folder.glob(f"{FOLDER_PREFIX}*"):  # by a killed process
                    shutil.rmtree(left, ignore_errors=True)
                seconds = self._measured(config)
                _remember(file, key, dict(zip(self._names(), seconds, strict=True)))
        return seconds

    def _fastest(self, seconds: list[Seconds]) -> int:
        """Return the position of the plan to use."""
        usable = {number: one for number, one in enumerate(seconds) if one}
        if self.choice == "winograd":
            return max(usable)
        alone, batch = usable[0]
        scores = {n: (one[0] / alone + 2 * one[1] / batch) / 3 for n, one in usable.items()}
        best = min(scores, key=scores.__getitem__)
        return best if scores[best] <= 1 - _LEAST_GAIN else 0

    def _measured(self, config: VggConfig) -> list[Seconds]:
        direct = self.try_plan(config, DIRECT, self.threads, self._images, self.folder)
        seconds: list[Seconds] = [(direct.alone, direct.batch)]
        for plan in self.plans[1:]:
            try:
                trial = self.try_plan(config, plan, self.threads, self._images, self.folder)
            except (SessionError, RunFailedError, MemoryError) as exc:
                log.warning("convolutions lowered from %s on cannot be run: %s", plan.first, exc)
                seconds.append(None)
                continue
            # Another release or processor may compute something else, without an error.
            agrees = trial.agrees(direct)
            if not agrees:
                log.warning("convolutions lowered from %s on give other answers", plan.first)
            seconds.append((trial.alone, trial.batch) if agrees else None)
        return seconds

    @property
    def _images(self) -> int:
        """Images in the batch of a trial."""
        return min(self.images, _MOST_IMAGES)

    def _names(self) -> list[str]:
        return [plan.first or "direct" for plan in self.plans]

    def _key(self, config: VggConfig) -> str:
        plans = [asdict(plan) for plan in self.plans]
        batch = self.threads, self._images
        made = (processor(), *batch, VERSION, GRAPH_VERSION, plans, asdict(config))
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]

    def _remembered(self, file: Path, key: str) -> list[Seconds] | None:
        """Read the times; None if there are none, or the entry is not one of ours."""
        found = _read(file).get(key)
        try:
            times = [found[name] for name in self._names()] if isinstance(found, dict) else []
            seconds: list[Seconds] = [one and (float(one[0]), float(one[1])) for one in times]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        return seconds if seconds and seconds[0] and all(min(s) > 0 for s in seconds if s) else None


def _read(file: Path) -> dict[str, object]:
    """Read a file; it counts as empty if it is missing or not ours."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(file: Path, key: str, seconds: dict[str, Seconds]) -> None:
    new = file.with_name(f".{file.name}.new")  # not a temporary file: only one user could read it
    new.write_text(json.dumps(_read(file) | {key: seconds}, indent=2), encoding="utf-8")
    new.replace(file)
