"""A model that answers labelled photos in this process, with the pixels and the graph of the service."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, get_args

from app import __version__
from app.cli.environment import find_manifest, ready_graph
from app.cli.evaluate.photos import stamp_of, unanswered
from app.cli.files import File, TroubleError, read_photo
from app.errors import RequestError
from app.evaluation.answers import Answer, Answers
from app.evaluation.classes import Classes
from app.evaluation.dataset import Photo
from app.evaluation.run import NO_ROW, Decoded, classify, largest_batch
from app.machine import usable_cpus
from app.runtime.open_session import Session, open_session
from app.service.parts import gpus, preparation
from app.service.settings import Settings
from app.setup_errors import SetupError
from app.weights.labels import load_labels
from app.weights.manifests.manifest import Manifest
from app.weights.store import ServingGraph

_BATCH: Final = {"cpu": 16, "cuda": 64}
_CHOICES: Final = ("precision", "decode", "conv", "device")
"""Settings that another side of a comparison may change."""


def other_side(settings: Settings, name: str | None, wanted: str) -> tuple[Settings, str | None]:
    """Return the settings and the model of `--compare`: `vgg19`, `precision=float16`, or several of these.

    Raises:
        SetupError: If a part is neither a model nor a setting, or a setting has no such value.
    """
    changed: dict[str, str] = {}
    for part in wanted.split(","):
        key, mark, value = (text.strip() for text in part.partition("="))
        if not mark:
            name = key
            continue
        if key not in _CHOICES:
            raise SetupError(f"--compare: {key!r} is none of {', '.join(_CHOICES)}.")
        known = get_args(Settings.model_fields[key].annotation)
        if value not in known:
            raise SetupError(f"--compare: {key} is {value!r}, expected one of {', '.join(known)}.")
        changed[key] = value
    find_manifest(settings, name)  # a mistake is told before anything is run
    return settings.model_copy(update=changed), name


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is ready, and with which settings it answers."""

    settings: Settings
    manifest: Manifest
    graph: ServingGraph
    classes: Classes
    session: Session

    @property
    def made_by(self) -> dict[str, Any]:
        """Return everything that its answers depend on, as far as it is known."""
        return {
            "model": self.manifest.name,
            "weights_sha256": self.graph.weights_sha256,
            "classes": len(self.classes),
            "precision": self.graph.precision,
            "device": self.session.device,
            "decode": self.settings.decode,
            "convolutions": asdict(self.graph.plan),
            "preprocess": asdict(self.manifest.preprocess),
            "max_pixels": self.settings.max_pixels,
            "vgg_serve": __version__,
        }

    def answer(self, photos: list[Photo], answers: Answers, done: Callable[[], None]) -> int:
        """Classify the photos that have no answer yet, or have changed; return how many those were.

        `done` is called for each photo that is dealt with.
        """
        left = unanswered(photos, answers, done)
        if not left:
            return 0
        crop = self.manifest.preprocess.crop
        most = min(_BATCH[self.session.device], len(left))
        batch = largest_batch(self.session.run, crop, most)
        # Tuning runs a batch a dozen times; on a CPU one image a thread shows as much as a full one.
        threads = self.settings.threads or usable_cpus()
        self.session.tune(batch if self.session.device == "cuda" else min(batch, threads))
        prepare, preprocess = preparation(self.settings), self.manifest.preprocess

        def decode(photo: Photo) -> Decoded:
            stamp, sha256 = stamp_of(photo.path), ""
            try:
                data = read_photo(File(photo.path, named=True), self.settings.all_upload_bytes)
                sha256 = hashlib.sha256(data).hexdigest()
                pixels, image = prepare(data, preprocess)
            except (TroubleError, RequestError) as exc:
                answer = Answer(photo.name, stamp, sha256, (0, 0), "", str(exc), NO_ROW)
                return Decoded(answer, None)
            size = (image.width, image.height)
            answer = Answer(photo.name, stamp, sha256, size, image.format, "", NO_ROW)
            return Decoded(answer, pixels)

        def add(answer: Answer) -> None:
            answers.add(answer)
            done()

        classify(left, decode, self.session.run, batch, usable_cpus(), add)
        return len(left)


def open_model(settings: Settings, name: str | None) -> Model:
    """Load a model as the service would, on the first GPU or on the CPU."""
    manifest = find_manifest(settings, name)
    labels = load_labels(manifest.labels, settings.model_dir)
    graph = ready_graph(settings, manifest)
    threads = settings.threads or usable_cpus()
    session = open_session(
        graph.path, device=settings.device, threads=threads, gpu=gpus(settings)[0]
    )
    return Model(settings, manifest, graph, Classes(labels), session)
