"""Options that several commands share."""

from typing import Annotated

import typer

Key = Annotated[
    str | None,
    typer.Option(
        envvar="VGG_API_KEY",
        metavar="KEY",
        help="API key. It is never printed, but other users of this machine can see the options"
        " of a process.",
    ),
]
