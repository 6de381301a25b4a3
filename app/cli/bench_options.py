"""What can be said to `vgg-serve bench`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Url = Annotated[
    str | None,
    typer.Argument(metavar="[URL]", help="http://HOST:PORT; not needed for --raw alone."),
]
Connections = Annotated[
    int, typer.Option("--connections", "-c", min=1, max=10_000, help="Clients of a closed loop.")
]
Sweep = Annotated[
    str | None, typer.Option(metavar="N,N,..", help="Closed loops of so many connections each.")
]
Rate = Annotated[
    list[str] | None,
    typer.Option(
        metavar="R,R,..",
        help="Open loops of so many requests per second each, Poisson arrivals;"
        " latency counts from when a request was due.",
    ),
]
Seconds = Annotated[
    float, typer.Option("--seconds", "-s", min=0.1, max=86_400, help="Counted, of each run.")
]
Warmup = Annotated[
    float, typer.Option(min=0, max=3600, help="Seconds before that, which are not counted.")
]
Repeats = Annotated[
    int, typer.Option(min=1, max=100, help="Runs of each load, in turn; the median is shown.")
]
Timeout = Annotated[
    float, typer.Option(min=0.01, max=3600, help="Seconds after which a request is given up.")
]
MaxInFlight = Annotated[
    int,
    typer.Option(min=1, max=100_000, help="Of an open loop; what would be more is not sent."),
]
Images = Annotated[
    list[Path] | None,
    typer.Option("--images", "-i", exists=True, help="Files or folders to send, in turn."),
]
Sizes = Annotated[
    str,
    typer.Option(
        metavar="WxH:N,..", help="Without --images: make N JPEGs of each size from one photo."
    ),
]
PathOption = Annotated[
    str | None, typer.Option("--path", help="What to post to; /predict, or that of the URL.")
]
Field = Annotated[
    str,
    typer.Option(metavar="NAME", help="Part of the form; '' posts the bytes of the image alone."),
]
Header = Annotated[list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="One more header.")]
Key = Annotated[
    str | None,
    typer.Option(
        envvar="VGG_API_KEY",
        metavar="KEY",
        help="An API key; it is shown nowhere, but other users see the options of a process.",
    ),
]
Seed = Annotated[int, typer.Option(help="Of the arrivals and of the order of the images.")]
Raw = Annotated[
    bool,
    typer.Option("--raw", help="Also measure the limit before each round: session.run alone."),
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="Of --raw; the first of VGG_MODELS if none.")
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Of --raw; VGG_DEVICE if none.")
]
Limits = Annotated[
    bool,
    typer.Option(
        "--limits",
        help="Of --raw: also what the device could do, whether float16 agrees, and PyTorch;"
        " always on CUDA.",
    ),
]
Conv = Annotated[
    str | None,
    typer.Option(
        help="Of --raw, on a CPU: ways to compute convolutions, compared batch by batch:"
        " direct, winograd, auto, comma-separated. VGG_CONV if none."
    ),
]
Threads = Annotated[
    int, typer.Option(min=0, max=1024, help="Of --raw, on a CPU; VGG_THREADS if 0.")
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", dir_okay=False, help="Write everything there.")
]
PlotFile = Annotated[
    Path | None, typer.Option("--plot", dir_okay=False, help="Draw a sweep there, as SVG.")
]
