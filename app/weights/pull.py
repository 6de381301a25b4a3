"""From a manifest to a verified serving graph: fetched once, built once.

MODEL_DIR/FILE              the checkpoint, as it was published
MODEL_DIR/serving/NAME/     the serving graph made from it
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from app.errors import CheckpointError, DownloadError, PrecisionError, SetupError
from app.graph.conv_plan import DIRECT, ConvPlan
from app.graph.float16 import Precision
from app.graph.ready_graph import write_ready
from app.graph.serving_graph import graph_size, write_vgg
from app.graph.untrained import SEED, untrained_layers
from app.graph.vgg import VggConfig, architecture
from app.weights.checkpoints.read import read_checkpoint
from app.weights.download.digest import digest_of
from app.weights.download.fetch import Source, fetch, verify
from app.weights.manifests import Checkpoint, Manifest
from app.weights.provisioning import SERVING, Progress, Provisioning, Step
from app.weights.store import Look, ServingGraph, build, find, find_any, graph_key, or_any

log = logging.getLogger(__name__)

_TIMEOUT: Final = 7.0
"""Seconds without the first byte after which weights count as out of reach: with the start of
the process and the last try, that is less than ten."""

Configure: TypeAlias = Callable[[str], VggConfig]
"""Makes the network of an architecture's name; narrower than the true one in tests."""


def pull(
    manifest: Manifest,
    provisioning: Provisioning,
    progress: Progress,
    configure: Configure = architecture,
) -> ServingGraph:
    """Fetch, verify and build whatever of a model is not there yet.

    Raises:
        DownloadError: If the weights can be had neither here nor there.
        CheckpointError: If they are not those of the network that the manifest names.
        PrecisionError: If float16 may not hold them, and float32 will not do.
        SetupError: If the disk is full or may not be written.
    """
    if manifest.checkpoint is None:  # a ready graph keeps the precision that it has
        provisioning = replace(provisioning, precision="float32")
    try:
        graph = _pull(manifest, provisioning, progress, configure)
    except PrecisionError as exc:
        if not provisioning.or_float32:
            raise
        log.warning("%s: stays float32: %s", manifest.name, exc)
        return pull(manifest, replace(provisioning, precision="float32"), progress, configure)
    except OSError as exc:
        message = (
            f"{manifest.name}: the model folder cannot be used: {exc}. Make it writable, or set"
            " VGG_MODEL_DIR to one that is."
        )
        raise SetupError(message) from exc
    return replace(graph, precision=provisioning.precision)


def _pull(
    manifest: Manifest, provisioning: Provisioning, progress: Progress, configure: Configure
) -> ServingGraph:
    if manifest.checkpoint is None:
        return _from_ready_graph(manifest, provisioning, progress)
    config = configure(str(manifest.architecture))
    try:
        return _from_checkpoint(manifest, manifest.checkpoint, config, provisioning, progress)
    except DownloadError as exc:
        if provisioning.on_missing != "untrained":
            raise
        log.warning(
            "%s: UNTRAINED weights stand in, its answers mean nothing. %s", manifest.name, exc
        )
        return _untrained(manifest, config, provisioning, progress)


def _from_checkpoint(
    manifest: Manifest,
    checkpoint: Checkpoint,
    config: VggConfig,
    provisioning: Provisioning,
    progress: Progress,
) -> ServingGraph:
    folder = _serving_folder(provisioning, manifest.name)
    precision = provisioning.precision
    path = provisioning.model_dir / checkpoint.file
    keys = [
        graph_key(manifest, checkpoint.digest or "", precision, one) for one in provisioning.plans
    ]
    if not path.exists() and not any((folder / key).exists() for key in keys):
        _provide(checkpoint, path, provisioning, progress)  # before seconds go into measuring
    plan = _plan(config, provisioning, progress)
    if checkpoint.digest is not None:
        # A graph that was built from these very weights makes the checkpoint unnecessary; and
        # without that, any graph of theirs is better than none.
        usable = [plan] if path.exists() else [plan, *provisioning.plans]
        there = find_any(_look(folder, manifest, checkpoint.digest, precision, progress), usable)
        if there is not None:
            return there
    _provide(checkpoint, path, provisioning, progress)
    sha256 = digest_of(path, progress=_step(progress, "verifying"))

    def write(place: Path) -> None:
        layers = read_checkpoint(path, checkpoint.format, config)
        write_vgg(place, config, layers.items(), manifest.preprocess, precision, plan)
        # The stand-in has done its duty.
        shutil.rmtree(_untrained_folder(provisioning, manifest.name), ignore_errors=True)

    digest = checkpoint.digest or sha256
    make = partial(
        build,
        folder,
        graph_key(manifest, digest, precision, plan),
        size=graph_size(config, precision, plan),
        weights_sha256=sha256.removeprefix("sha256:"),
        trained=manifest.trained,
        write=_telling(progress, write),
        progress=_step(progress, "verifying"),
        plans=(plan, *provisioning.plans),
    )
    look = _look(folder, manifest, digest, precision, progress)
    return or_any(lambda: replace(make(), plan=plan), look, provisioning.plans)


def _look(
    folder: Path, manifest: Manifest, digest: str, precision: Precision, progress: Progress
) -> Look:
    return lambda plan: find(
        folder,
        graph_key(manifest, digest, precision, plan),
        trained=manifest.trained,
        progress=_step(progress, "verifying"),
    )


def _plan(config: VggConfig, provisioning: Provisioning, progress: Progress) -> ConvPlan:
    if provisioning.precision != "float32":
        return DIRECT
    return provisioning.plan_for(config, partial(progress, "measuring convolutions", 0, None))


def _provide(
    checkpoint: Checkpoint, path: Path, provisioning: Provisioning, progress: Progress
) -> None:
    """Make sure that the checkpoint is there and is the right one, as far as that is known."""
    source = Source(url=checkpoint.url or "", digest=checkpoint.digest, size=checkpoint.size)
    if path.exists():
        try:
            verify(path, source, progress=_step(progress, "verifying"))
        except DownloadError as exc:  # it is there: a stand-in would hide that it is wrong
            raise CheckpointError(str(exc)) from exc
        return
    if checkpoint.url is None:
        message = f"{path} is not there, and its manifest names no address to fetch it from"
        raise DownloadError(message)
    fetch(
        source,
        path,
        progress=_step(progress, "fetching"),
        endpoint=provisioning.endpoint,
        offline=provisioning.offline,
        timeout=_TIMEOUT,
    )


def _from_ready_graph(
    manifest: Manifest, provisioning: Provisioning, progress: Progress
) -> ServingGraph:
    path = provisioning.model_dir / str(manifest.onnx)
    if not path.exists():
        message = f"{path} is not there; {manifest.path} names it: copy it there"
        raise DownloadError(message)
    sha256 = digest_of(path, progress=_step(progress, "verifying"))
    pinned = manifest.digest
    if pinned is not None:
        found = digest_of(path, pinned.partition(":")[0])
        if found != pinned:
            raise CheckpointError(f"{path}: is {found}, but {manifest.path} pins {pinned}")
    return build(
        _serving_folder(provisioning, manifest.name),
        graph_key(manifest, sha256),
        size=path.stat().st_size,
        weights_sha256=sha256.removeprefix("sha256:"),
        trained=manifest.trained,
        write=_telling(progress, lambda place: write_ready(place, path, manifest.preprocess)),
        progress=_step(progress, "verifying"),
    )


def _untrained(
    manifest: Manifest, config: VggConfig, provisioning: Provisioning, progress: Progress
) -> ServingGraph:
    folder = _untrained_folder(provisioning, manifest.name)
    precision = provisioning.precision
    plan = _plan(config, provisioning, progress)
    digest = f"untrained:{SEED}"
    make = partial(
        build,
        folder,
        graph_key(manifest, digest, precision, plan),
        size=graph_size(config, precision, plan),
        weights_sha256=None,
        trained=False,
        write=_telling(
            progress,
            lambda place: write_vgg(
                place, config, untrained_layers(config), manifest.preprocess, precision, plan
            ),
        ),
        progress=_step(progress, "verifying"),
        plans=(plan, *provisioning.plans),
    )
    look = _look(folder, replace(manifest, trained=False), digest, precision, progress)
    return or_any(lambda: replace(make(), plan=plan), look, provisioning.plans)


def _serving_folder(provisioning: Provisioning, name: str) -> Path:
    """Return the folder of a model's graph; each precision has its own, so that both can stay."""
    suffix = "" if provisioning.precision == "float32" else f".{provisioning.precision}"
    return provisioning.model_dir / SERVING / f"{name}{suffix}"


def _untrained_folder(provisioning: Provisioning, name: str) -> Path:
    return _serving_folder(provisioning, f"{name}.untrained")


def _step(progress: Progress, step: Step) -> Callable[[int, int | None], None]:
    """Name the step for a part that only counts bytes."""
    return lambda done, total: progress(step, done, total)


def _telling(progress: Progress, write: Callable[[Path], None]) -> Callable[[Path], None]:
    """Say that a graph is being built, once it really is."""

    def told(place: Path) -> None:
        progress("building", 0, None)
        write(place)

    return told
