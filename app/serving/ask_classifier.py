"""Ask somebody's classifier itself, as it was published, what it says of a few images."""

from pathlib import Path

import numpy as np

from app.errors import RunFailedError
from app.graph.own_answers import OwnAnswers
from app.images.header_limits import ImageLimits
from app.images.prepare import prepare
from app.machine import usable_cpus
from app.records import PixelBatch, Pixels, Preprocess, ProbabilityBatch, Tensor
from app.runtime.open_session import open_session
from app.runtime.ort import CPU, open_graph
from app.serving.warmup import GOLDEN_PHOTO
from app.setup_errors import CheckpointError, SessionError


def ask_classifier(classifier: Path, preprocess: Preprocess) -> OwnAnswers:
    """Run a classifier on a CPU, on one image after the other.

    Args:
        classifier: An ONNX file with one input, float32 or float16 [N, 3, crop, crop].
        preprocess: Computed here in numpy, not by a graph of ours.

    Raises:
        CheckpointError: If it cannot be run; the sentence begins with what it does.
    """
    images = probe_images(preprocess)
    shape = [1, 3, preprocess.crop, preprocess.crop]
    try:
        session = open_graph(classifier, CPU, usable_cpus())
        (source,) = session.get_inputs()
        fixed = source.shape[0] if source.shape else 1
        batch = fixed if isinstance(fixed, int) else 1
        shape[0] = batch
        taken = np.float16 if source.type == "tensor(float16)" else np.float32
        inputs = (
            np.repeat(_planes(image, preprocess), batch, axis=0).astype(taken) for image in images
        )
        runs = [session.run(None, {source.name: values}) for values in inputs]
    except SessionError as exc:
        raise CheckpointError(f"cannot be loaded by onnxruntime: {exc.__cause__}") from exc
    except Exception as exc:  # onnxruntime's errors share no base class of their own
        raise CheckpointError(f"cannot be run on an image, {shape}: {exc}") from exc
    names = [output.name for output in session.get_outputs()]
    by_output = zip(names, zip(*runs, strict=True), strict=True)
    tensors = {
        name: [np.asarray(one) for one in outputs]
        for name, outputs in by_output
        if all(isinstance(one, np.ndarray | np.generic) for one in outputs)
    }
    if not tensors:  # but sequences or maps, as ZipMap gives
        raise CheckpointError(
            "gives no tensor, but a sequence or a map: export it without its last operator"
        )
    return OwnAnswers(images, batch, tensors)


def run_alone(graph: Path, images: PixelBatch) -> ProbabilityBatch:
    """Run a serving graph on images, one at a time, on a CPU, as a service does at least.

    Raises:
        CheckpointError: If it cannot, as when a Reshape inside keeps the batch of the export.
    """
    try:
        session = open_session(graph, device="cpu", threads=usable_cpus())
        return np.concatenate([session.run(image[np.newaxis]) for image in images])
    except SessionError as exc:
        raise CheckpointError(f"cannot be loaded by onnxruntime: {exc.__cause__}") from exc
    except RunFailedError as exc:
        reason = str(exc.__cause__ or exc).strip()
        raise CheckpointError(
            f"cannot be run on one image alone, export it with a batch of 1: {reason}"
        ) from exc


def probe_images(preprocess: Preprocess) -> PixelBatch:
    """Make images that have little in common: a photo, its negative, noise, black and white."""
    photo, _ = prepare(GOLDEN_PHOTO.read_bytes(), preprocess, ImageLimits(), exact=True)
    noise = np.random.default_rng(0).integers(0, 256, photo.shape, np.uint8)
    return np.stack([photo, 255 - photo, noise, np.zeros_like(photo), np.full_like(photo, 255)])


def _planes(image: Pixels, preprocess: Preprocess) -> Tensor:
    """Compute the input of a classifier, [1, 3, crop, crop], from pixels [crop, crop, 3]."""
    pixels = image[..., ::-1] if preprocess.channels == "BGR" else image
    values: Tensor = ((pixels - np.asarray(preprocess.mean)) / preprocess.std).astype(np.float32)
    return values.transpose(2, 0, 1)[np.newaxis]
