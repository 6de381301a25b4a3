"""A model that answers labelled photos in this process, with the pixels and the graph of the service."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, TypeAlias, get_args

from app import __version__
from app.cli.environment import find_manifest, ready_graph
from app.cli.evaluate.photos import stamp_of, unanswered
from app.cli.files import File, TroubleError, read_photo
from app.errors import RequestError
from app.evaluation.answers import Answer, Answers
from app.evaluation.baseline import UsualPhotos
from app.evaluation.classes import Classes
from app.evaluation.dataset import Photo
from app.evaluation.paper import PaperTest, mean_of_crops, mean_of_scales, read_test
from app.evaluation.run import NO_ROW, Decoded, classify, even, largest_batch, stacked
from app.evaluation.segments import properties
from app.graph.inner_maps import NoMapsError
from app.machine import usable_cpus
from app.records import Pixels, ProbabilityBatch
from app.runtime.dense_session import DenseSession, open_dense
from app.runtime.open_session import Session, open_session
from app.service.parts import gpus, preparation
from app.service.settings import Settings
from app.setup_errors import SetupError
from app.weights.labels import load_labels, network_of
from app.weights.manifests.manifest import Manifest
from app.weights.store import ServingGraph

_BATCH: Final = {"cpu": 16, "cuda": 64}
Views: TypeAlias = Callable[[list[list[Pixels]]], ProbabilityBatch]
"""Classifies some photos, each of which has one or several views."""
_CHOICES: Final = ("precision", "decode", "conv", "device")
"""Settings that another side of a comparison may change."""


@dataclass(frozen=True, slots=True)
class Side:
    """A model, and how it is to answer: `--model`, `--test` and `--scales`, or the same of `--compare`."""

    settings: Settings
    name: str | None
    test: str = "single"
    scales: str | None = None


def other_side(side: Side, wanted: str) -> Side:
    """Return the side of `--compare`: `vgg19`, `precision=float16`, `test=dense`, or several of these.

    A test of its own has its usual scales.

    Raises:
        SetupError: If a part is neither a model nor a setting, or a setting has no such value.
    """
    changed: dict[str, str] = {}
    names: list[str] = []
    for part in wanted.split(","):
        key, mark, value = (text.strip() for text in part.partition("="))
        if not mark:
            names.append(key)
            continue
        if key == "test":
            side = replace(side, test=value, scales=None)
            continue
        if key not in _CHOICES:
            raise SetupError(f"--compare: {key!r} is none of {', '.join(_CHOICES)}, test.")
        known = get_args(Settings.model_fields[key].annotation)
        if value not in known:
            raise SetupError(f"--compare: {key} is {value!r}, expected one of {', '.join(known)}.")
        changed[key] = value
    if "" in names or len(names) > 1:
        raise SetupError(
            f"--compare is {wanted!r}: expected one model, or settings, or both, separated by commas."
        )
    side = replace(side, name=names[0]) if names else side
    manifest = find_manifest(side.settings, side.name)  # a mistake is told before anything is run
    read_test(side.test, side.scales, manifest.preprocess)
    return replace(side, settings=side.settings.model_copy(update=changed))


def at_temperature(temperature: float) -> dict[str, float]:
    """Return what `made_by` says of a temperature: nothing of 1, which earlier answers had."""
    return {} if temperature == 1 else {"temperature": temperature}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is ready, and with which settings it answers.

    Attributes:
        batch: Images of a run, at most.
        usual: Gathers what its photos are like.
    """

    settings: Settings
    manifest: Manifest
    graph: ServingGraph
    classes: Classes
    session: Session | DenseSession
    batch: int
    test: PaperTest
    usual: UsualPhotos = field(default_factory=lambda: UsualPhotos(wanted=False))

    @property
    def published_as(self) -> tuple[str, str]:
        """Return the digest of the weights' file, and who measured the manifest's accuracy."""
        checkpoint, accuracy = self.manifest.checkpoint, self.manifest.accuracy
        digest = checkpoint and checkpoint.digest
        return digest or "", accuracy.source if accuracy else ""

    @property
    def made_by(self) -> dict[str, Any]:
        """Return everything that its answers depend on, as far as it is known."""
        test = {} if self.test.name == "single" else {"test": asdict(self.test)}
        return {
            **test,
            **at_temperature(self.manifest.temperature),
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

        `done` is called for each photo that is dealt with. Where photos are gathered all are classified.
        """
        left = photos if self.usual.wanted else unanswered(photos, answers, done)
        if not left:
            return 0
        batch, run = self._classifier()
        prepare, preprocess = preparation(self.settings), self.manifest.preprocess

        def decode(photo: Photo) -> Decoded[list[Pixels]]:
            stamp, sha256 = stamp_of(photo.path), ""
            try:
                data = read_photo(File(photo.path, named=True), self.settings.all_upload_bytes)
                sha256 = hashlib.sha256(data).hexdigest()
                pixels, image = prepare(data, preprocess)
                views = [pixels]
                if self.test.name != "single":
                    views = self.test.views(prepare, data, preprocess)
            except (TroubleError, RequestError) as exc:
                answer = Answer(photo.name, stamp, sha256, (0, 0), "", str(exc), NO_ROW)
                return Decoded(answer, None)
            self.usual.decoded(photo.name, pixels)
            size = (image.width, image.height)
            seen = properties(data, pixels)
            answer = Answer(photo.name, stamp, sha256, size, image.format, "", NO_ROW, seen)
            return Decoded(answer, views)

        def add(answer: Answer) -> None:
            answers.add(answer)
            self.usual.answered(answer)
            done()

        classify(left, decode, run, batch, usable_cpus(), add)
        return len(left)

    def _classifier(self) -> tuple[int, Views]:
        """Return how many photos are classified at a time, and what does it."""
        session, batch = self.session, self.batch
        if isinstance(session, DenseSession):
            return 1, lambda some: mean_of_scales(some[0], session)
        if self.test.name == "single":
            run_some = session.run if batch == 1 else even(session.run)
            run = stacked(self.usual.watching(run_some, session.energies))
            return batch, lambda some: run([one for [one] in some])
        return 1, lambda some: mean_of_crops(some[0], session.run, batch)


def open_model(side: Side) -> Model:
    """Load a model as the service would, on the first GPU or on the CPU; whole photos need the CPU.

    Raises:
        SetupError: If the model cannot be loaded, or cannot take the test.
    """
    settings, test = side.settings, side.test
    manifest = find_manifest(settings, side.name)
    labels = load_labels(manifest.labels, settings.model_dir)
    wanted = read_test(test, side.scales, manifest.preprocess)
    network = network_of(manifest, labels)
    if wanted.dense and network is None:
        raise SetupError(
            f"--test {test}: {manifest.name} is a ready ONNX graph, which takes images of one size."
            " Only networks built here from a checkpoint take whole photos; ten-crop and multi-crop"
            " are for any model."
        )
    graph = ready_graph(settings, manifest)
    threads = settings.threads or usable_cpus()
    session: Session | DenseSession
    batch = 1
    if wanted.dense and network is not None:
        try:
            session = open_dense(
                graph.path, network, manifest.preprocess, threads, manifest.temperature
            )
        except NoMapsError as exc:
            raise SetupError(f"--test {test}: {exc}. Set VGG_PRECISION=float32.") from exc
    else:
        session = open_session(
            graph.path, device=settings.device, threads=threads, gpu=gpus(settings)[0]
        )
        batch = largest_batch(session.run, manifest.preprocess.crop, _BATCH[session.device])
        # Tuning runs a batch a dozen times; on a CPU one image a thread shows as much as a full one.
        session.tune(batch if session.device == "cuda" else min(batch, threads), together=2)
    return Model(settings, manifest, graph, Classes(labels), session, batch, wanted)
