"""Answers in the shapes of other servers; the docstrings are the descriptions at /docs."""

from pydantic import Field

from app.web.schemas.answers import BoxOut
from app.web.schemas.base import Out


class HfClassOut(Out):
    """One class, as Hugging Face writes it, and what tells it from others."""

    label: str = Field(examples=["tabby, tabby cat"])
    """English names."""
    score: float = Field(examples=[0.4251449])
    """Softmax over all classes, 0 to 1."""
    wnid: str | None = Field(examples=["n02123045"])
    """WordNet id; null for classes that are not WordNet's."""
    class_index: int = Field(examples=[281])
    """Place in the model's output, from 0."""


class HfBoxOut(HfClassOut):
    """One class, and the box where the model looked for it."""

    box: BoxOut = Field(examples=[BoxOut.example()])
