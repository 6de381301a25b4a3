"""The ways of a CPU to compute convolutions, beside each other: `vgg-serve bench --raw --conv`."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from app.bench.raw import measure_round
from app.errors import SetupError
from app.graph.conv_plan import plans
from app.graph.serving_graph import GRAPH_FILE, write_vgg
from app.graph.untrained import untrained_layers
from app.graph.vgg import architecture
from app.runtime.conv_choice import ConvChoice, PlanChooser
from app.runtime.conv_trial import try_plan
from app.runtime.ort import channel_block
from app.runtime.session import Session
from app.weights.manifests import Manifest
from app.weights.provisioning import SERVING


@dataclass(frozen=True, slots=True)
class Ways:
    """Sessions of one network whose convolutions are computed in different ways.

    Attributes:
        sessions: By the name of the way; the first is what the others are compared with.
        crop: Side of the images.
        sizes: Batch sizes to measure.
        rounds: Images per second of each round but the first way's, by way and batch size.
    """

    sessions: dict[ConvChoice, Session]
    crop: int
    sizes: tuple[int, ...]
    rounds: list[dict[str, dict[str, float]]] = field(default_factory=list)

    @property
    def first(self) -> Session:
        """The session that the others are compared with."""
        return next(iter(self.sessions.values()))

    def round(self) -> dict[str, float]:
        """Measure every batch size once with every way, and return what the first did."""
        (_, first), *others = (
            (name, measure_round(session.run, self.crop, self.sizes))
            for name, session in self.sessions.items()
        )
        self.rounds.append(dict(others))
        return first

    def medians(self) -> dict[str, dict[str, float]]:
        """Return images per second by way and batch size, of all ways but the first."""
        return {
            way: {size: median(one[way][size] for one in self.rounds) for size in rates}
            for way, rates in self.rounds[0].items()
        }


def open_ways(
    manifest: Manifest,
    convs: tuple[ConvChoice, ...],
    *,
    model_dir: Path,
    threads: int,
    images: int,
    sizes: tuple[int, ...],
) -> Ways:
    """Load a network once for each way, with weights that never saw an image: they take no time.

    The graphs lie in a folder of their own, so that those of the service stay as they are.

    Args:
        manifest: Of the network.
        convs: The ways.
        model_dir: Takes the graphs meanwhile, and remembers what `auto` is.
        threads: Of a run.
        images: In the largest batch of the service, for which `auto` is chosen.
        sizes: Batch sizes to measure.

    Raises:
        SetupError: If it is no network of the VGG family, or cannot be lowered here.
    """
    if manifest.architecture is None:
        raise SetupError(f"--conv: {manifest.name} is a ready graph, and runs as it was made")
    config = architecture(manifest.architecture)
    serving = model_dir / SERVING
    serving.mkdir(parents=True, exist_ok=True)
    sessions: dict[ConvChoice, Session] = {}
    tried = plans(channel_block())
    if "winograd" in convs and len(tried) == 1:
        raise SetupError("--conv winograd: onnxruntime has no layout for it on this processor")
    for conv in dict.fromkeys(convs):
        plan = PlanChooser(conv, serving, threads, images, tried, try_plan)(config, lambda: None)
        # What is loaded is mapped, and needs its name no longer (but on Windows, for a while).
        with tempfile.TemporaryDirectory(
            dir=serving, prefix=".bench-", ignore_cleanup_errors=True
        ) as folder:
            place = Path(folder)
            write_vgg(place, config, untrained_layers(config), manifest.preprocess, plan=plan)
            sessions[conv] = Session(place / GRAPH_FILE, device="cpu", threads=threads)
            sessions[conv].tune(sizes[-1])
    return Ways(sessions, manifest.preprocess.crop, sizes)
