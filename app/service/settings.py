"""Every setting of the service, from the environment (VGG_*), checked once."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.weights.manifests import BUILT_IN

_ORIGIN: Final = re.compile(r"https?://[^/?#@,\s]+")


class Settings(BaseSettings):
    """What an operator can set; each field is the environment variable VGG_ and its name."""

    model_config = SettingsConfigDict(
        env_prefix="VGG_",
        env_ignore_empty=True,  # a line VGG_X= in .env sets nothing
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
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
    precision: Literal["auto", "float32", "float16"] = "auto"
    """Numbers of the network: auto is float16 on CUDA and float32 on a CPU."""
    conv: Literal["auto", "direct", "winograd"] = "auto"
    """How a CPU computes convolutions: auto measures once which is faster here, direct leaves them to onnxruntime."""
    device_ids: Annotated[tuple[int, ...], NoDecode] = Field(default=(0,), min_length=1)
    """Numbers of the GPUs to use, comma-separated; alike ones, for they share the work evenly."""
    gpu_memory_limit_mb: int = Field(default=0, ge=0, le=10**6)
    """Most memory of each GPU for a model's weights and runs (MB); 0 for no limit."""
    tensorrt: bool = False
    """Run on TensorRT, which has to be installed; it builds its engines at the first start."""
    threads: int = Field(default=0, ge=0, le=1024)
    """Threads of one run on a CPU; 0 for as many as the process may use processors."""
    decode: Literal["fast", "exact"] = "fast"
    """How images become pixels: exact gives torchvision's, each of them, and is slower."""
    decode_isolation: Literal["thread", "process"] = "thread"
    """Where images are decoded: process takes a process with limits for each thread (not on Windows)."""
    decode_threads: int = Field(default=0, ge=0, le=1024)
    """Threads that decode images; 0 for as many as the process may use processors."""
    front_processes: int = Field(default=0, ge=0, le=64)
    """Processes that speak HTTP and decode, in front of the one with the models (Linux); 0 for one that does all."""
    max_batch_size: int = Field(default=0, ge=0, le=1024)
    """Most images in one run; 0 to choose the best by measurement at the start."""
    max_queue_delay_ms: float = Field(default=0, ge=0, le=10_000)
    """Longest wait for company in a batch (milliseconds), counted from the oldest image."""
    queue_budget_ms: float = Field(default=2000, gt=0, le=600_000)
    """Longest predicted wait for a run (milliseconds); beyond it a request is refused, 503."""
    deadline_ms: float = Field(default=10_000, gt=0, le=600_000)
    """Longest time for one request (milliseconds); beyond it the answer is 504."""
    api_keys_file: Path | None = None
    """File of API keys, as `vgg-serve key NAME` prints them; without it anyone may ask."""
    rate_limit: float = Field(default=0, ge=0, le=1_000_000)
    """Photos a second that each key or, without keys, each address may post; 0 for no limit."""
    rate_burst: int = Field(default=20, ge=1, le=1_000_000)
    """Photos that one may post at once, above that rate."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses and networks of proxies whose X-Forwarded-For is believed, comma-separated."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may call the API from a browser (https://example.org), or *."""
    max_connections: int = Field(default=4096, ge=8, le=1_000_000)
    """Most connections at a time; beyond them the one that is awaited longest is closed."""
    max_header_bytes: int = Field(default=32_768, ge=1024, le=2**20)
    """Largest head of a request (bytes), each header counted with 32 more; beyond it, or 100 headers, 431."""
    header_timeout_ms: float = Field(default=10_000, gt=0, le=600_000)
    """Longest time for the head of a request to come (milliseconds); beyond it 408."""
    idle_timeout_ms: float = Field(default=75_000, gt=0, le=3_600_000)
    """Time after which a connection on which nothing moves is closed (milliseconds)."""
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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_upload_bytes < self.max_body_bytes:
            raise ValueError(
                "VGG_MAX_UPLOAD_BYTES is below VGG_MAX_BODY_BYTES: no large upload would ever fit"
            )
        if self.max_upload_bytes < self.max_body_bytes * self.front_processes:
            raise ValueError(
                "VGG_MAX_UPLOAD_BYTES is divided among the VGG_FRONT_PROCESSES, and the part of one"
                " is below VGG_MAX_BODY_BYTES: no large upload would ever fit"
            )
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            ip_network(item)  # its ValueError says what is wrong
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if item != "*" and not _ORIGIN.fullmatch(item):
                raise ValueError(
                    f"{item!r} is no origin: expected https://HOST or https://HOST:PORT"
                )
        return value

    @field_validator("device_ids")
    @classmethod
    def _numbers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 0 or len(set(value)) < len(value):
            raise ValueError("expected numbers from 0, each once, as in 0,1")
        return value

    @field_validator("device_ids", "models", "trusted_proxies", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401 (whatever stands in the environment)
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value
