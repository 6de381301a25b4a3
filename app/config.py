"""Every setting of the service, from the environment (VGG_*), checked once."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.catalog import BUILT_IN


class Settings(BaseSettings):
    """What an operator can set; each field is the environment variable VGG_ and its name."""

    model_config = SettingsConfigDict(
        env_prefix="VGG_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """Port to listen on; 0 takes a free one."""
    models: Annotated[tuple[str, ...], NoDecode] = Field(default=("vgg16",), min_length=1)
    """Names of the models to serve, comma-separated; the first is the default of a request."""
    model_dir: Path = BUILT_IN
    """Folder of weights, of serving graphs made from them, and of manifests of your own."""
    on_missing_weights: Literal["fail", "untrained"] = "fail"
    """Without the weights: fail, or serve untrained ones of the true size, to try things out."""
    offline: bool = False
    """Never ask the network for weights."""
    hf_endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("hf_endpoint", "VGG_HF_ENDPOINT", "HF_ENDPOINT")
    )
    """Mirror of the Hugging Face hub (HF_ENDPOINT, the hub's own variable, is read as well)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run: cuda fails where CUDA cannot be used, auto then takes the CPU."""
    threads: int = Field(default=0, ge=0, le=1024)
    """Threads of one run on a CPU; 0 for as many as the process may use processors."""
    decode: Literal["fast", "exact"] = "fast"
    """How images become pixels: exact gives torchvision's, each of them, and is slower."""
    decode_threads: int = Field(default=0, ge=0, le=1024)
    """Threads that decode images; 0 for as many as the process may use processors."""
    max_batch_size: int = Field(default=0, ge=0, le=1024)
    """Most images in one run; 0 to choose the best by measurement at the start."""
    max_queue_delay_ms: float = Field(default=0, ge=0, le=10_000)
    """Longest wait for company in a batch (milliseconds), counted from the oldest image."""
    queue_budget_ms: float = Field(default=2000, gt=0, le=600_000)
    """Longest predicted wait for a run (milliseconds); beyond it a request is refused, 503."""
    deadline_ms: float = Field(default=10_000, gt=0, le=600_000)
    """Longest time for one request (milliseconds); beyond it the answer is 504."""
    max_body_bytes: int = Field(default=10_000_000, ge=1024, le=2**30)
    """Largest body of a request (bytes)."""
    max_upload_bytes: int = Field(default=256_000_000, ge=1024, le=2**34)
    """Most bytes of uploads in memory at a time, all requests together."""
    max_pixels: int = Field(default=40_000_000, ge=1, le=2**30)
    """Most pixels of an image, by its header."""
    drain_delay_ms: float = Field(default=1000, ge=0, le=600_000)
    """Time between SIGTERM and the close of the port (milliseconds), when work goes on."""
    drain_timeout_ms: float = Field(default=15_000, ge=0, le=600_000)
    """Time for requests to end after that (milliseconds)."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important event that is logged."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """One JSON object a line, or text; auto is text on a terminal."""

    @field_validator("model_dir", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:  # noqa: ANN401 (whatever stands in the environment)
        if value == "":
            raise ValueError("expected a folder")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_upload_bytes < self.max_body_bytes:
            raise ValueError(
                "VGG_MAX_UPLOAD_BYTES is below VGG_MAX_BODY_BYTES: no large upload would ever fit"
            )
        return self

    @field_validator("models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401 (whatever stands in the environment)
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value
