"""Which plan for the convolutions is the fastest on this machine: measured once, then remembered.

FOLDER/conv.json has, for each kind of processor, number of threads, release of onnxruntime and
network, the seconds that each plan took, or null if it cannot be used.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from timeit import repeat
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from filelock import FileLock

from app.errors import RunFailedError
from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.serving_graph import GRAPH_FILE, GRAPH_VERSION, write_vgg
from app.graph.untrained import untrained_layers
from app.graph.vgg import VggConfig
from app.machine import processor
from app.records import Layer, Preprocess, ProbabilityBatch
from app.runtime.cpu_session import CpuSession
from app.runtime.ort import VERSION
from app.setup_errors import SessionError

log = logging.getLogger(__name__)

ConvChoice: TypeAlias = Literal["auto", "direct", "winograd"]
Seconds: TypeAlias = tuple[float, float] | None
"""Seconds per image, alone and in a batch; None if the plan cannot be used here."""

CHOICE_FILE: Final = "conv.json"
_WORTHWHILE: Final = 10**9
"""Multiply-adds per image below which a request does not wait for its convolutions."""
_LEAST_GAIN: Final = 0.05
_MOST_IMAGES: Final = 8
"""Largest batch in a trial: a larger one gives the same order of plans, and takes time and memory."""
_FOLDER_PREFIX: Final = ".measuring-"
"""Begins the names of folders with candidates, which a killed process leaves behind."""
_TOLERANCE: Final = 1e-3
"""Share of the greatest probability: lowering changes a hundredth of it, a wrong layout a thousand times it."""
_HIDDEN_UNITS: Final = 16
"""Keeps the fully connected layers, which are the same in every plan, from taking time."""
_NOISE: Final = Preprocess(1, 1, "RGB", (127.5,) * 3, (73.9,) * 3)
"""Mean and deviation of pixels of noise, so that answers are neither even nor sharp."""
_ROUNDS: Final = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """The measurement of a plan: seconds per image, alone and in a batch, and the answers.

    The pictures are the same in every trial.
    """

    alone: float
    batch: float
    answers: ProbabilityBatch

    def agrees(self, other: "Trial") -> bool:
        """Return whether two plans compute the same network."""
        greatest = max(self.answers.max(), other.answers.max())
        return bool(np.abs(self.answers - other.answers).max() < _TOLERANCE * greatest)


def try_plan(config: VggConfig, plan: ConvPlan, threads: int, images: int, folder: Path) -> Trial:
    """Run the convolutions of a network, with untrained weights and small fully connected layers.

    The folder holds the graph meanwhile, up to 300 MB.
    """
    narrow = replace(config, hidden=(_HIDDEN_UNITS, _HIDDEN_UNITS))
    preprocess = replace(_NOISE, resize=config.side, crop=config.side)
    random = np.random.default_rng(0)
    pixels = random.integers(256, size=(images, config.side, config.side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_FOLDER_PREFIX) as name:
        write_vgg(Path(name), narrow, lively_layers(narrow), preprocess, plan=plan)
        session = CpuSession(Path(name) / GRAPH_FILE, threads)
        session.tune(images)
        alone, batch = (  # the first round pays for caches and threads
            min(repeat(partial(session.run, pixels[:size]), number=1, repeat=_ROUNDS)[1:])
            for size in (1, images)
        )
        return Trial(alone, batch / images, session.run(pixels))


def lively_layers(config: VggConfig) -> Iterator[tuple[str, Layer]]:
    """Draw untrained weights with biases that are not zero, so that a missing one is noticed."""
    random = np.random.default_rng(1)
    for name, layer in untrained_layers(config):
        yield name, Layer(layer.weight, random.normal(0, 0.1, layer.bias.shape).astype(np.float32))


@dataclass(frozen=True, slots=True)
class PlanChooser:
    """Chooses how the convolutions of a network are computed on a CPU.

    Attributes:
        choice: `direct` lowers nothing, `winograd` as much as any plan does, however slow.
        folder: Where results are remembered; candidates are written there and deleted again.
        threads: Threads per run.
        images: The largest batch that will be run.
        plans: The plans to choose from, DIRECT first.
        try_plan: Measures one plan; tests pass another one.
    """

    choice: ConvChoice
    folder: Path
    threads: int
    images: int
    plans: tuple[ConvPlan, ...]
    try_plan: Callable[..., Trial] = try_plan

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
        plan = self._fastest(seconds)
        log.info(
            "VGG_CONV=%s lowers %d convolutions; ms per image alone and in a batch: %s",
            self.choice,
            sum(plan.lowers(row) for row in config.layers()),
            "; ".join(
                f"{name} {1000 * one[0]:.0f}, {1000 * one[1]:.0f}" if one else f"{name} fails"
                for name, one in seconds.items()
            ),
        )
        return plan

    def _seconds(self, config: VggConfig, measuring: Callable[[], None]) -> dict[str, Seconds]:
        """Return the times of the plans by name, remembered or measured now."""
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
                for left in self.folder.glob(f"{_FOLDER_PREFIX}*"):  # by a killed process
                    shutil.rmtree(left, ignore_errors=True)
                seconds = self._measured(config)
                _remember(file, key, seconds)
        return seconds

    def _fastest(self, seconds: dict[str, Seconds]) -> ConvPlan:
        """Return the plan to use."""
        usable = {plan: one for plan in self.plans if (one := seconds[plan.name])}
        if self.choice == "winograd":
            return [*usable][-1]
        alone, batch = usable[DIRECT]
        scores = {p: (one[0] / alone + 2 * one[1] / batch) / 3 for p, one in usable.items()}
        best = min(scores, key=scores.__getitem__)
        return best if scores[best] <= 1 - _LEAST_GAIN else DIRECT

    def _measured(self, config: VggConfig) -> dict[str, Seconds]:
        measure = partial(self.try_plan, config)
        batch = self.threads, self._images, self.folder
        direct = measure(DIRECT, *batch)
        seconds: dict[str, Seconds] = {DIRECT.name: (direct.alone, direct.batch)}
        for plan in self.plans[1:]:
            seconds[plan.name] = None
            try:
                trial = measure(plan, *batch)
            except (SessionError, RunFailedError, MemoryError) as exc:
                log.warning("convolutions lowered from %s on cannot be run: %s", plan.first, exc)
                continue
            if trial.agrees(direct):
                seconds[plan.name] = trial.alone, trial.batch
            else:  # another release or processor may compute something else, without an error
                log.warning("convolutions lowered from %s on give other answers", plan.first)
        return seconds

    @property
    def _images(self) -> int:
        """Images in the batch of a trial."""
        return min(self.images, _MOST_IMAGES)

    def _key(self, config: VggConfig) -> str:
        plans = [asdict(plan) for plan in self.plans]
        batch = self.threads, self._images
        made = (processor(), *batch, VERSION, GRAPH_VERSION, plans, asdict(config))
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]

    def _remembered(self, file: Path, key: str) -> dict[str, Seconds] | None:
        """Read the times; None if there are none, or the entry is not one of ours."""
        found = _read(file)
        try:
            times = {plan.name: found[key][plan.name] for plan in self.plans}
            seconds: dict[str, Seconds] = {
                name: one and (float(one[0]), float(one[1])) for name, one in times.items()
            }
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        usable = [one for one in seconds.values() if one]
        return seconds if seconds[DIRECT.name] and all(min(one) > 0 for one in usable) else None


def _read(file: Path) -> dict[str, Any]:
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
