"""A look inside a model: the strongest maps of its layers for one photo, and its filters.

Nothing here is on the way of a classification. A look has a graph of its own, on the same weights
(app/graph/inner_maps.py), which is opened for it and closed after it; it takes a quarter of the
threads of a run, on the CPU also where the model runs on a GPU.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import UnknownParameterError
from app.graph.inner_maps import NoMapsError, inner_graph, output_of, read_filters
from app.graph.receptive_field import seen_by
from app.graph.vgg import VggConfig
from app.images.decode_pool import DecodePool
from app.images.photo_box import PhotoBox, photo_box, view_of
from app.images.prepare import Prepare
from app.images.sheet import (
    filter_tiles,
    fit_tiles,
    framed,
    lay_out,
    map_tiles,
    strongest,
    write_png,
)
from app.records import ImageInfo, Pixels, Preprocess, Tensor
from app.runtime.ort import channel_block
from app.runtime.run_once import run_once
from app.serving.loading import Loaded
from app.serving.metrics import Metrics
from app.serving.turns import SHARE, Turns

MOST_MAPS: Final = 16
"""Maps of a layer in an answer."""
COLUMNS: Final = 4
"""Tiles per row of a sheet."""
_THREADS: Final = 4
"""A look takes one of so many threads."""
_SIDE: Final = 112
"""Pixels: about the side of a tile in a picture for people."""
_FILTER_SIDE: Final = 48
_FILTER_COLUMNS: Final = 8


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One map of a layer.

    Attributes:
        channel: Its number, from 0.
        maximum: Its largest value, after ReLU.
        receptive_field: What the first of its largest values saw of the photo.
    """

    channel: int
    maximum: float
    receptive_field: PhotoBox


@dataclass(frozen=True, slots=True)
class LayerMaps:
    """The strongest maps of a layer, the one with the largest value first.

    Attributes:
        layer: As the paper names it.
        channels: Maps that the layer has.
        silent: Maps that are zero everywhere.
        maps: At most MOST_MAPS.
        tiles: uint8 [maps, side, side]; each map is relative to its own maximum.
    """

    layer: str
    channels: int
    silent: int
    maps: tuple[FeatureMap, ...]
    tiles: Pixels

    @property
    def side(self) -> int:
        """Return the side of the maps, in pixels."""
        return int(self.tiles.shape[-1])


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one look gave.

    Attributes:
        layers: Those that were asked for.
        sheets: A PNG for each of them, COLUMNS tiles per row, one pixel for each value; or, for
            people, a single one of all.
        image: What was uploaded.
        view: The part of it that the model sees.
        seconds: Where the time went, by stage: decode, run.
    """

    layers: tuple[LayerMaps, ...]
    sheets: tuple[bytes, ...]
    image: ImageInfo
    view: PhotoBox
    seconds: Mapping[str, float]


class Inspector:
    """Looks inside the models of a process, one look at a time for each."""

    def __init__(
        self,
        decoders: DecodePool,
        prepare: Prepare,
        metrics: Metrics,
        *,
        threads: int,
        across_processes: bool = False,
    ) -> None:
        """Keep nothing before the first look.

        Args:
            decoders: Threads that decode.
            prepare: Turns an upload into pixels.
            metrics: Counts clients that left.
            threads: Of a run of a model.
            across_processes: Whether other processes of the service look inside the same models.
        """
        self._decoders = decoders
        self._prepare = prepare
        self._threads = max(1, threads // _THREADS)
        self._turns = Turns(
            metrics,
            busy="The model shows its inside to one photo at a time, and another one is in turn. Retry in a moment.",
            late="The deadline passed before the model had shown its inside.",
            stops=False,  # a run in a thread cannot be
            across_processes=across_processes,
        )
        self._filters: dict[str, bytes] = {}  # a few kB per model

    async def look(
        self,
        loaded: Loaded,
        config: VggConfig,
        layers: Sequence[str],
        data: bytes,
        deadline: float,
        *,
        for_people: bool = False,
    ) -> Inspection:
        """Look at a photo through some layers of a model.

        Args:
            loaded: The model.
            config: Its network.
            layers: Some of `layers_with_maps`, in their order.
            data: The image file.
            deadline: Seconds on the clock of `time.monotonic`.
            for_people: Make one picture of all, with tiles of a size that can be seen.

        Raises:
            RequestError: If the file cannot be decoded, or the weights have no maps.
            OverloadedError: If photos wait too long, or the turn was not free in time.
            ServiceError: If the look fails, or is not done in time.
        """
        budget = SHARE * loaded.queue.policy.queue_budget
        loaded.queue.admit(min(budget, deadline - time.monotonic()))
        work = partial(self._look, loaded, config, layers, data, deadline, for_people=for_people)
        return await self._turns.work(Path(loaded.graph), work, budget, deadline)

    async def filters(self, loaded: Loaded, layer: str) -> bytes:
        """Draw the filters of a layer that reads pixels, as PNG.

        Raises:
            UnknownParameterError: If the weights are in no known form.
        """
        if loaded.graph not in self._filters:
            preprocess = loaded.manifest.preprocess
            self._filters[loaded.graph] = await asyncio.to_thread(
                _draw_filters, Path(loaded.graph), layer, preprocess
            )
        return self._filters[loaded.graph]

    async def _look(
        self,
        loaded: Loaded,
        config: VggConfig,
        layers: Sequence[str],
        data: bytes,
        deadline: float,
        *,
        for_people: bool,
    ) -> Inspection:
        preprocess = loaded.manifest.preprocess
        began = time.monotonic()
        decode = partial(self._prepare, data, preprocess)
        pixels, image = await self._decoders.decode(decode, deadline)
        decoded = time.monotonic()
        run = partial(_run, Path(loaded.graph), config, preprocess, layers, pixels, self._threads)
        found = await asyncio.to_thread(lambda: _describe(run(), config, preprocess, image))
        draw = _draw_overview if for_people else _draw_sheets
        sheets = await asyncio.to_thread(draw, found)
        seconds = {"decode": decoded - began, "run": time.monotonic() - decoded}
        size = image.width, image.height
        return Inspection(found, sheets, image, view_of(size, preprocess), seconds)


def _run(
    graph: Path,
    config: VggConfig,
    preprocess: Preprocess,
    layers: Sequence[str],
    pixels: Pixels,
    threads: int,
) -> dict[str, Tensor]:
    """Return the maps of each layer, float32 [channels, side, side]."""
    try:
        model = inner_graph(graph, config, preprocess, channel_block(), layers)
    except NoMapsError as exc:
        raise no_maps(exc) from exc
    outputs = run_once(model, graph.parent, np.ascontiguousarray(pixels)[np.newaxis], threads)
    return {layer: outputs[output_of(layer)][0] for layer in layers}


def no_maps(reason: object = "") -> UnknownParameterError:
    """Return the error for a model that cannot be looked into, and why."""
    why = f": {reason}" if reason else ""
    return UnknownParameterError(
        f"The model cannot be looked into{why}. Only networks of the VGG family can, from weights"
        " in floating point."
    )


def _describe(
    maps: Mapping[str, Tensor], config: VggConfig, preprocess: Preprocess, image: ImageInfo
) -> tuple[LayerMaps, ...]:
    """Choose the strongest maps of each layer, and find what their largest values saw."""
    size = image.width, image.height
    layers = []
    for layer, values in maps.items():
        best = strongest(values, MOST_MAPS)
        chosen = []
        for channel in best.tolist():
            row, column = np.unravel_index(values[channel].argmax(), values[channel].shape)
            area = seen_by(config, layer, int(row), int(column))
            maximum = float(str(values[channel].max()))  # its own digits, not a double's
            chosen.append(FeatureMap(channel, maximum, photo_box(area, size, preprocess)))
        silent = int((values.max(axis=(1, 2)) <= 0).sum())
        tiles = map_tiles(values[best])
        layers.append(LayerMaps(layer, len(values), silent, tuple(chosen), tiles))
    return tuple(layers)


def _draw_sheets(layers: Sequence[LayerMaps]) -> tuple[bytes, ...]:
    return tuple(write_png(lay_out(one.tiles, COLUMNS)) for one in layers)


def _draw_overview(layers: Sequence[LayerMaps]) -> tuple[bytes]:
    """Draw one layer on a sheet, or several with a row for each."""
    if len(layers) == 1:
        tiles = layers[0].tiles
        if tiles.shape[-1] < _SIDE:
            tiles = fit_tiles(tiles, _SIDE)
        return (write_png(lay_out(framed(tiles), COLUMNS)),)
    # Each group halves the side of its maps, so that all of them fit into the same tile.
    largest = max(one.side for one in layers)
    side = largest // 2 if largest > 1.5 * _SIDE else largest * round(_SIDE / largest)
    rows = [lay_out(framed(fit_tiles(one.tiles, side)), MOST_MAPS) for one in layers]
    return (write_png(np.concatenate(rows)),)


def _draw_filters(graph: Path, layer: str, preprocess: Preprocess) -> bytes:
    try:
        kernels = read_filters(graph, layer, preprocess)
    except NoMapsError as exc:
        raise no_maps(exc) from exc
    tiles = framed(fit_tiles(filter_tiles(kernels), _FILTER_SIDE))
    return write_png(lay_out(tiles, _FILTER_COLUMNS))
