"""Which plan for the convolutions is the fastest on this machine: measured once, remembered.

FOLDER/conv.json holds, for each kind of processor, number of threads, release of onnxruntime and
network, the plan that won and the times of all.
"""

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from filelock import FileLock

from app.catalog import Preprocess
from app.conv_plan import DIRECT, ConvPlan
from app.cpus import processor
from app.errors import RunFailedError, SessionError
from app.graph import GRAPH_FILE, GRAPH_VERSION, write_vgg
from app.records import ProbabilityBatch
from app.runtime import VERSION
from app.session import Session
from app.stopwatch import least_seconds
from app.untrained import untrained_layers
from app.vgg import VggConfig

log = logging.getLogger(__name__)

ConvChoice: TypeAlias = Literal["auto", "direct", "winograd"]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a plan was seen to do.

    Attributes:
        alone: Seconds of an image by itself.
        batch: Seconds of an image in a batch.
        answers: float32 [N, 1000], for pictures that are always the same.
    """

    alone: float
    batch: float
    answers: ProbabilityBatch


Measure: TypeAlias = Callable[[VggConfig, ConvPlan, int, int, Path], Trial]

CHOICE_FILE: Final = "conv.json"
_CANDIDATE: Final = ".measuring-"
_WORTHWHILE: Final = 10**9
"""Multiply-adds of an image below which the convolutions are not what a request waits for."""
_LEAST_GAIN: Final = 0.05
_TOLERANCE: Final = 1e-4
"""Of a probability: a hundred times what lowering changes, and far below what a wrong layout does."""
_HIDDEN_UNITS: Final = 16
"""Of the networks that are timed: what follows the convolutions should take no time."""
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class PlanChooser:
    """Chooses how the convolutions of a network are computed on a CPU.

    Attributes:
        choice: `direct` and `winograd` are not measured: none lowered, or all that may gain.
        folder: Where the choice is remembered; candidates are written there and deleted again.
        threads: Of one run.
        images: In the largest batch that will be run.
        plans: Those to choose from, DIRECT first.
        measure: Times a plan; another one is given by tests.
    """

    choice: ConvChoice
    folder: Path
    threads: int
    images: int
    plans: tuple[ConvPlan, ...]
    measure: Measure

    def __call__(self, config: VggConfig, told: Callable[[], None]) -> ConvPlan:
        """Return the plan; `told` is called if it has to be measured, which takes seconds.

        A plan has to give what `direct` gives and to gain 5 % over it; what it gains in a batch
        counts twice, since a service that is busy runs batches. In a folder that cannot be written
        nothing is measured.
        """
        if self.choice == "direct":
            return DIRECT
        if self.choice == "winograd":
            if len(self.plans) == 1:
                log.warning("VGG_CONV=winograd: onnxruntime has no layout for it on this processor")
            return self.plans[-1]
        if len(self.plans) == 1 or config.multiply_adds() < _WORTHWHILE:
            return DIRECT
        key = self._key(config)
        file = self.folder / CHOICE_FILE
        known = _remembered(file).get(key)
        try:
            if known is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                with FileLock(self.folder / f".{CHOICE_FILE}.lock"):
                    known = _remembered(file).get(key)  # by another process meanwhile
                    if known is None:
                        for left in self.folder.glob(f"{_CANDIDATE}*"):  # by a killed process
                            shutil.rmtree(left)
                        told()
                        known = self._measured(config)
                        _remember(file, key, known)
        except OSError as exc:
            log.warning("%s cannot be written, convolutions are not measured: %s", file, exc)
            return DIRECT
        return next((plan for plan in self.plans if asdict(plan) == known["plan"]), DIRECT)

    def _measured(self, config: VggConfig) -> dict[str, Any]:
        direct = self.measure(config, DIRECT, self.threads, self.images, self.folder)
        tried = (self._seconds(config, plan, direct.answers) for plan in self.plans[1:])
        seconds = [(direct.alone, direct.batch), *tried]
        scores = [(alone / direct.alone + 2 * batch / direct.batch) / 3 for alone, batch in seconds]
        best = int(np.argmin(scores))
        if scores[best] > 1 - _LEAST_GAIN:
            best = 0
        log.info(
            "VGG_CONV=auto lowers %d convolutions: %.0f ms an image alone, %.0f in a batch;"
            " none: %.0f and %.0f; remembered in %s",
            sum(self.plans[best].lowers(row) for row in config.layers()),
            *(1000 * one for one in (*seconds[best], *seconds[0])),
            self.folder / CHOICE_FILE,
        )
        return {"plan": asdict(self.plans[best]), "seconds": seconds}

    def _seconds(
        self, config: VggConfig, plan: ConvPlan, expected: ProbabilityBatch
    ) -> tuple[float, float]:
        try:
            trial = self.measure(config, plan, self.threads, self.images, self.folder)
        except (SessionError, RunFailedError) as exc:  # what cannot be run here does not win
            log.warning("a plan for the convolutions cannot be measured: %s", exc)
            return inf, inf
        difference = float(np.abs(trial.answers - expected).max())
        if difference > _TOLERANCE:  # nor does what another release or processor understands wrong
            log.warning("a plan for the convolutions changes answers by %.1e", difference)
            return inf, inf
        return trial.alone, trial.batch

    def _key(self, config: VggConfig) -> str:
        made = (processor(), self.threads, self.images, VERSION, GRAPH_VERSION, asdict(config))
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16]


def measure_plan(
    config: VggConfig, plan: ConvPlan, threads: int, images: int, folder: Path
) -> Trial:
    """Time the convolutions of a network, with weights that never saw an image.

    Args:
        config: The network; its fully connected layers, which no plan changes, are made small.
        plan: How it is computed.
        threads: Of one run.
        images: In a batch.
        folder: Takes the graph meanwhile, up to 300 MB.

    Raises:
        OSError: If the folder cannot be written.
        SessionError: If the plan cannot be loaded.
        RunFailedError: If it cannot be run.
    """
    narrow = replace(config, hidden_units=_HIDDEN_UNITS)
    unchanged = Preprocess(config.side, config.side, "RGB", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with tempfile.TemporaryDirectory(dir=folder, prefix=_CANDIDATE) as name:
        write_vgg(Path(name), narrow, untrained_layers(narrow), unchanged, plan=plan)
        session = Session(Path(name) / GRAPH_FILE, device="cpu", threads=threads)
        session.tune(images)
        random = np.random.default_rng(0)
        pixels = random.integers(256, size=(images, config.side, config.side, 3), dtype=np.uint8)
        alone = least_seconds(lambda: session.run(pixels[:1]), _ROUNDS)
        batch = least_seconds(lambda: session.run(pixels), _ROUNDS) / images
        return Trial(alone, batch, session.run(pixels))


def _remembered(file: Path) -> dict[str, dict[str, Any]]:
    """Read what was chosen; nothing from a file that is not there or not ours."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): {"plan": value["plan"], **value} for key, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _remember(file: Path, key: str, choice: dict[str, Any]) -> None:
    new = file.with_name(f".{file.name}.new")  # not a temporary file: those are for one user only
    new.write_text(json.dumps(_remembered(file) | {key: choice}, indent=2), encoding="utf-8")
    new.replace(file)
