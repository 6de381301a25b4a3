"""A client for programs in Python, which needs nothing of the server but this package and httpx.

from app.client import Client

with Client("http://localhost:8000") as client:
    for prediction in client.classify("photo.jpg").predictions:
        print(f"{prediction.probability:.3f}  {prediction.label}")
"""

from app.client.address import AddressError
from app.client.aio import AsyncClient
from app.client.answer import Answer, Box, Heat, ImageInfo, Model, Prediction
from app.client.blocking import Client
from app.client.errors import (
    ChangedError,
    ClientError,
    NoAnswerError,
    ProblemError,
    StrangerError,
    TimedOutError,
    UnreachableError,
)

__all__ = [
    "AddressError",
    "Answer",
    "AsyncClient",
    "Box",
    "ChangedError",
    "Client",
    "ClientError",
    "Heat",
    "ImageInfo",
    "Model",
    "NoAnswerError",
    "Prediction",
    "ProblemError",
    "StrangerError",
    "TimedOutError",
    "UnreachableError",
]
