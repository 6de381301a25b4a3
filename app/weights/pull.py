"""From a manifest to a verified serving graph: downloaded once, built once.

MODEL_DIR/FILE              the checkpoint, as it was published
MODEL_DIR/serving/NAME/     the serving graph made from it; or CACHE_DIR/NAME/
"""

import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.ready_graph import READY_VERSION, write_ready
from app.graph.serving_graph import graph_size, write_vgg
from app.graph.untrained import SEED, untrained_layers
from app.graph.vgg import VggConfig
from app.records import Layer, Progress
from app.setup_errors import CheckpointError, DownloadError, PrecisionError, SetupError
from app.weights import store
from app.weights.calibration.calibrated_graph import CalibratedGraph
from app.weights.calibration.photos import PhotoFiles
from app.weights.checkpoints.read import read_checkpoint
from app.weights.data_files import pinned_together, verify_data_files
from app.weights.download.fetch import Source, fetch, verify
from app.weights.download.part_file import hash_file
from app.weights.labels import load_labels, network_of
from app.weights.manifests.catalog import find_file
from app.weights.manifests.manifest import Checkpoint, DataFile, Manifest
from app.weights.provisioning import Provisioning
from app.weights.store import Recipe, ServingGraph

log = logging.getLogger(__name__)


def pull(manifest: Manifest, provisioning: Provisioning, progress: Progress) -> ServingGraph:
    """Download, verify and build whatever of a model is not there yet.

    Raises:
        SetupError: Its class says what failed.
    """
    try:
        labels = load_labels(manifest.labels, provisioning.model_dir)
        network = network_of(manifest, labels)
        if manifest.checkpoint is None or network is None:
            return _from_ready_graph(manifest, len(labels), provisioning, progress)
        calibration = provisioning.calibration if provisioning.precision == "int8" else None
        photos = calibration.photos() if calibration else None
        vgg = _Vgg(manifest, network, provisioning, progress, photos)
        try:
            return vgg.trained(manifest.checkpoint)
        except DownloadError as exc:
            if provisioning.on_missing != "untrained":
                raise
            log.warning(
                "%s: serving UNTRAINED weights, its answers mean nothing. %s", manifest.name, exc
            )
            return vgg.untrained()
    except PrecisionError as exc:
        if not provisioning.or_float32:
            raise
        log.warning("%s: stays float32: %s", manifest.name, exc)
        return pull(manifest, replace(provisioning, precision="float32"), progress)
    except OSError as exc:
        raise SetupError(
            f"{manifest.name}: the folder of its serving graph cannot be used: {exc}. Make it"
            " writable, or set VGG_CACHE_DIR or VGG_MODEL_DIR to a folder that is."
        ) from exc


def _from_ready_graph(
    manifest: Manifest, classes: int, provisioning: Provisioning, progress: Progress
) -> ServingGraph:
    if provisioning.precision == "int8":
        log.info("%s: a ready ONNX graph, which VGG_PRECISION=int8 leaves as it is", manifest.name)
    path = provisioning.model_dir / str(manifest.onnx)
    if not path.exists():
        if manifest.url is None:
            raise DownloadError(f"{path} is missing; {manifest.path} names it: copy it there")
        _download(manifest, path, provisioning, progress)
    _download_data(manifest, provisioning, progress)
    if manifest.size not in {None, path.stat().st_size}:
        raise CheckpointError(
            f"{path}: has {path.stat().st_size} bytes, but {manifest.path} says {manifest.size}"
        )
    found = hash_file(path, manifest.digest, partial(progress, "verifying"))
    if manifest.digest not in {None, found.digest}:
        raise CheckpointError(
            f"{path}: is {found.digest}, but {manifest.path} pins {manifest.digest}"
        )
    sha256, size = verify_data_files(
        path, found.sha256, manifest.digest, manifest, partial(progress, "verifying")
    )
    recipe = Recipe(
        folder=provisioning.graph_dir / manifest.name,
        digest=f"ready {READY_VERSION} {classes} sha256:{sha256}",
        network=None,
        preprocess=manifest.preprocess,
        trained=manifest.trained,
        size=path.stat().st_size + size,
        write=lambda place: write_ready(
            place, path, manifest.preprocess, classes, provisioning.ask, manifest.temperature
        ),
        temperature=manifest.temperature,
    )
    return store.find(recipe, progress) or store.build(recipe, sha256, progress)


def _download(
    file: Manifest | DataFile, path: Path, provisioning: Provisioning, progress: Progress
) -> str | None:
    """Download a file; return its SHA-256, or None if another process did meanwhile."""
    return fetch(
        _source(file),
        path,
        progress=partial(progress, "fetching"),
        endpoint=provisioning.endpoint,
        offline=provisioning.offline,
    )


def _download_data(manifest: Manifest, provisioning: Provisioning, progress: Progress) -> None:
    """Download what is missing of the files beside an ONNX file."""
    for file in manifest.external:
        path = provisioning.model_dir / file.file
        if file.url is not None and not path.exists():
            _download(file, path, provisioning, progress)


def _source(file: Manifest | DataFile) -> Source:
    return Source(url=file.url or "", digest=file.digest, size=file.size)


@dataclass(frozen=True, slots=True)
class _Vgg:
    """The serving graph of a VGG, made from its checkpoint or with untrained weights."""

    manifest: Manifest
    config: VggConfig
    provisioning: Provisioning
    progress: Progress
    photos: PhotoFiles | None  # for int8 alone

    def trained(self, checkpoint: Checkpoint) -> ServingGraph:
        """Find the graph, or build it from the checkpoint, which is hashed once at most."""
        path = find_file(checkpoint.file, self.provisioning.model_dir)
        recipe = partial(
            self._recipe, lambda: read_checkpoint(path, checkpoint.format, self.config).items()
        )
        digest = pinned_together(checkpoint.digest, self.manifest.external)
        sha256, plans = "", self.provisioning.plans
        if digest is None or not any(recipe(digest, plan).places() for plan in plans):
            sha256 = self._get_checkpoint(checkpoint, path)  # before seconds go into measuring
            digest = digest or f"sha256:{sha256}"
        own, *others = (recipe(digest, plan) for plan in self._plans())
        # Without the checkpoint, the graph of another plan saves a download.
        found = self._find([own] if path.exists() else [own, *others])
        if found is None:
            sha256 = sha256 or self._get_checkpoint(checkpoint, path)
            found = self._build(own, others, sha256)
            shutil.rmtree(self._folder(untrained=True), ignore_errors=True)
        return found

    def untrained(self) -> ServingGraph:
        """Find or build the graph with weights that never saw an image."""
        layers = partial(untrained_layers, self.config)
        own, *others = (
            self._recipe(layers, f"untrained:{SEED}", plan, untrained=True)
            for plan in self._plans()
        )
        return self._find([own]) or self._build(own, others, None)

    def _get_checkpoint(self, checkpoint: Checkpoint, path: Path) -> str:
        """Get the checkpoint; return its SHA-256, of an ONNX file with those that it names."""
        sha256 = self._get_file(checkpoint, path)
        if checkpoint.format != "onnx":
            return sha256
        _download_data(self.manifest, self.provisioning, self.progress)
        verifying = partial(self.progress, "verifying")
        return verify_data_files(path, sha256, checkpoint.digest, self.manifest, verifying)[0]

    def _get_file(self, checkpoint: Checkpoint, path: Path) -> str:
        """Download the checkpoint, or verify the one that is there; return its SHA-256."""
        if not path.exists():
            if checkpoint.url is None:
                raise DownloadError(f"{path} is missing, and its manifest names no url for it")
            sha256 = _download(checkpoint, path, self.provisioning, self.progress)
            if sha256 is not None:
                return sha256
        verifying = partial(self.progress, "verifying")
        try:
            return verify(path, _source(checkpoint), verifying)
        except DownloadError as exc:  # untrained weights would hide that the file is wrong
            raise CheckpointError(str(exc)) from exc

    def _plans(self) -> Iterable[ConvPlan]:
        """Return the plan for this host, and then the others that it can run."""
        provisioning, plan = self.provisioning, DIRECT
        if provisioning.precision == "float32":
            measuring = partial(self.progress, "measuring convolutions", 0, None)
            plan = provisioning.plan_for(self.config, measuring)
        return dict.fromkeys((plan, *provisioning.plans))

    def _recipe(
        self,
        layers: Callable[[], Iterable[tuple[str, Layer]]],
        digest: str,
        plan: ConvPlan,
        *,
        untrained: bool = False,
    ) -> Recipe:
        manifest, config, precision = self.manifest, self.config, self.provisioning.precision
        preprocess, explanation = manifest.preprocess, manifest.explanation
        temperature = manifest.temperature
        recipe = Recipe(
            folder=self._folder(untrained=untrained),
            digest=digest,
            network=config,
            preprocess=preprocess,
            trained=manifest.trained and not untrained,
            size=graph_size(config, precision, plan),
            write=lambda place: write_vgg(
                place, config, layers(), preprocess, precision, plan, explanation, temperature
            ),
            precision=precision,
            plan=plan,
            explanation=explanation,
            temperature=temperature,
            blocks=frozenset({1, plan.block, *(p.block for p in self.provisioning.plans)}),
        )
        calibration = self.provisioning.calibration
        if self.photos is None or calibration is None:
            return recipe
        made = CalibratedGraph(
            config,
            layers,
            preprocess,
            trained=recipe.trained,
            files=self.photos,
            open_probe=calibration.open_probe,
            progress=partial(self.progress, "calibrating"),
            temperature=temperature,
        )
        return replace(
            recipe,
            size=made.size,
            write=made.write,
            explanation=None,  # it is computed from float32
            photos=self.photos.digest,
            any_photos=calibration.folder is None,
        )

    def _folder(self, *, untrained: bool) -> Path:
        """Return the folder of the graph; each precision has its own, so that both can stay."""
        precision = self.provisioning.precision
        name = f"{self.manifest.name}.untrained" if untrained else self.manifest.name
        name = name if precision == "float32" else f"{name}.{precision}"
        return self.provisioning.graph_dir / name

    def _find(self, recipes: Iterable[Recipe]) -> ServingGraph | None:
        """Return the first graph that is there."""
        found = (store.find(recipe, self.progress) for recipe in recipes)
        return next((graph for graph in found if graph is not None), None)

    def _build(self, own: Recipe, others: Iterable[Recipe], sha256: str | None) -> ServingGraph:
        """Build a graph; where that fails, one of another plan will do.

        A folder that was filled elsewhere and can only be read here may hold no other: without
        this, the second of these two starts would fail.

            docker run --cpus 8 -v models:/models vgg-serve pull vgg16
            docker run --cpus 2 -v models:/models:ro vgg-serve
        """
        try:
            return store.build(own, sha256, self.progress)
        except (OSError, SetupError) as exc:
            found = self._find(others)
            if found is None:
                raise
            log.warning("%s: serving a graph of another plan: %s", found.path.parent, exc)
            return found
