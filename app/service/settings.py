"""Every setting of the service, read from the environment (VGG_*) and checked once."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from platformdirs import user_cache_path
from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.setup_errors import SetupError
from app.web.middleware.prefix import UNIX, clean_prefix
from app.weights.manifests.catalog import BUILT_IN, INSTALLED

DEFAULT_PORT: Final = 8000
SERVICE_LINK: Final = re.compile(r"(tcp|udp|sctp)://\S+")
"""What Kubernetes writes into VGG_PORT for a Service called vgg, and Docker for a linked container."""
_ORIGIN: Final = re.compile(r"https?://[^/?#@,\s]+")


def default_model_dir(*, installed: bool = INSTALLED) -> Path:
    """Return `models/` of a checkout; for an installed package, a folder in the user's cache folder.

    Raises:
        SetupError: If the user has no home.
    """
    if not installed:
        return BUILT_IN
    try:
        return user_cache_path("vgg-serve", appauthor=False)
    except RuntimeError as exc:  # neither HOME nor the system's list of users has one
        raise SetupError(
            "There is no home folder to keep models in: set VGG_MODEL_DIR to a folder for them."
        ) from exc


class Settings(BaseSettings):
    """The whole configuration; docs/settings.md shows these descriptions, one group after the other."""

    model_config = SettingsConfigDict(
        env_prefix="VGG_",
        env_ignore_empty=True,  # a line VGG_X= in .env sets nothing
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    models: Annotated[tuple[str, ...], NoDecode] = Field(default=("vgg16",), min_length=1)
    """Models to serve, comma-separated. A request that names none gets the first."""
    model_dir: Path = Field(default_factory=default_model_dir)
    """Folder of the weights, of the serving graphs made from them, and of your own manifests: `models/` in a checkout,
    the user's cache folder (`~/.cache/vgg-serve` on Linux) for an installed package. Where it cannot be written, set
    `VGG_CACHE_DIR`, and put the weights there beforehand: a download goes here."""
    cache_dir: Path | None = None
    """Folder of the serving graphs (553 MB for VGG-16) and of what was measured on this machine; `serving/` in the
    model folder by default. Each service that serves another model of the same name needs its own."""
    stand_in: str = ""
    """Model that answers for the default one while that loads, or if it cannot be downloaded: `vgg16-mini`. Its
    answers say so. `make serve` and `docker compose` set it."""
    on_missing_weights: Literal["fail", "untrained"] = "fail"
    """What to do without weights: `fail`, or serve `untrained` ones of the true size, whose answers mean nothing."""
    offline: bool = False
    """Never download weights. The hub's own variable, `HF_HUB_OFFLINE`, does the same."""
    hf_endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("hf_endpoint", "VGG_HF_ENDPOINT", "HF_ENDPOINT")
    )
    """Mirror of the Hugging Face hub. The hub's own variable, `HF_ENDPOINT`, is read too."""

    host: str = "127.0.0.1"
    """Address to listen on, or a name: `0.0.0.0` is every IPv4 address of the machine, `*` or `::` every address."""
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65_535)
    """Port to listen on; 0 picks a free one. The `tcp://...` that Kubernetes puts here for a Service called `vgg` is
    ignored."""
    uds: Path | None = None
    """Unix socket to listen on in place of `VGG_HOST` and `VGG_PORT`, for a proxy on the same machine. A file that a
    service left behind is replaced. `VGG_TRUSTED_PROXIES=unix` trusts the headers of that proxy."""
    uds_mode: str = Field(default="660", pattern="^0?[0-7]{3}$")
    """Permissions of that file: who can write to it can connect."""
    grpc_port: int | None = Field(default=None, ge=0, le=65_535)
    """Port for clients of the Open Inference Protocol that speak gRPC; 0 picks a free one. Needs the extra `grpc`. None
    by default; a `tcp://...` of Kubernetes is ignored here too."""
    root_path: str = ""
    """Path at which a proxy shows the service, such as `/vgg`; whether the proxy strips it does not matter."""
    listen: Literal["start", "ready"] = "start"
    """When the port opens: at the `start`, or once every model is `ready`. Until then connections are refused, so
    that a proxy asks another replica."""
    front_processes: int = Field(default=0, ge=0, le=64)
    """Processes that speak HTTP and decode, in front of the process that runs the models (Linux only).
    0 does everything in one process."""
    drain_delay_ms: float = Field(default=1000, ge=0, le=600_000)
    """Time between SIGTERM and the close of the port (milliseconds). Requests are still accepted,
    while `/readyz` already answers 503."""
    drain_timeout_ms: float = Field(default=15_000, ge=0, le=600_000)
    """Time for the last requests to finish once the port is closed (milliseconds)."""

    max_body_bytes: int = Field(default=25_000_000, ge=1024, le=2**30)
    """Size limit of one request body (bytes)."""
    max_upload_bytes: int = Field(default=256_000_000, ge=1024, le=2**34)
    """Size limit of all request bodies held in memory (bytes). Unless it is set, it is never below one body for each
    of `VGG_FRONT_PROCESSES`."""
    upload_silence_ms: float = Field(default=10_000, gt=0, le=600_000)
    """Time for which an upload may stand still (milliseconds), after which the answer is 408."""
    upload_min_rate: int = Field(default=4000, ge=1, le=10**9)
    """Minimum rate of an upload (bytes per second). One that was slower for about `VGG_UPLOAD_SILENCE_MS` gets 408, so
    none takes longer than that time and `VGG_MAX_BODY_BYTES` at this rate."""
    max_pixels: int = Field(default=40_000_000, ge=1, le=2**30)
    """Maximum pixels that are decoded of an image: half as many for a PNG with 16 bits per channel, and 4 million
    at most for a run-length encoded BMP. A baseline JPEG, which is decoded at a smaller scale, may be larger, up to
    16,384 pixels per side; not with `VGG_DECODE=exact`."""
    max_connections: int = Field(default=4096, ge=8, le=1_000_000)
    """Maximum open connections. Beyond it, the connection that has been idle longest is closed."""
    max_header_bytes: int = Field(default=32_768, ge=1024, le=2**20)
    """Size limit of a request's headers (bytes), each of which counts as 32 bytes more than its text.
    Beyond it, or beyond 100 headers, the answer is 431."""
    header_timeout_ms: float = Field(default=10_000, gt=0, le=600_000)
    """Time limit for sending the headers of a request (milliseconds), after which the answer is 408.
    A new connection that sends nothing is closed after the same time."""
    idle_timeout_ms: float = Field(default=75_000, gt=0, le=3_600_000)
    """Time after which an idle connection is closed between two requests (milliseconds)."""

    max_batch_size: int = Field(default=0, ge=0, le=1024)
    """Maximum images per run; 0 measures the best size at the start."""
    max_queue_delay_ms: float = Field(default=0, ge=0, le=10_000)
    """How long a batch may wait to fill (milliseconds), counted from its oldest image."""
    queue_budget_ms: float = Field(default=2000, gt=0, le=600_000)
    """Requests with a longer predicted wait (milliseconds) are refused with 503 at once.
    The prediction includes a safety margin learned from recent runs."""
    deadline_ms: float = Field(default=10_000, gt=0, le=600_000)
    """Time limit from the end of an upload to its answer (milliseconds), after which the answer is 504."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run: `cpu`, `cuda` (the start fails without CUDA), or `auto`: CUDA if it can be used."""
    device_ids: Annotated[tuple[int, ...], NoDecode] = Field(default=(0,), min_length=1)
    """GPUs to use, by number, comma-separated. They share the work evenly, so they should be of one kind."""
    gpu_memory_limit_mb: int = Field(default=0, ge=0, le=10**6)
    """Memory limit of each GPU for the weights and runs of one model (MB); 0 is no limit."""
    tensorrt: bool = False
    """Run on TensorRT, which must be installed. It builds its engines at the first start."""
    precision: Literal["auto", "float32", "float16", "int8"] = "auto"
    """Number format of VGGs: `float32`, `float16`, or `auto`: float16 on CUDA, float32 on a CPU. A ready ONNX graph keeps
    its own. `int8` is for a CPU with VNNI, AMX or ARM's dot products: several times as fast in a third of the memory, with
    answers near those of float32; how near, the start and `GET /models/NAME` say."""
    calibration_dir: Path | None = None
    """Folder of photos that int8 is calibrated with once, best some 100 of what will be classified. Without it, a graph
    that is there is used, or else one is calibrated with crops of the built-in samples."""
    conv: Literal["auto", "direct", "winograd"] = "auto"
    """How a CPU computes convolutions: `direct` as onnxruntime does, `winograd` with Winograd's filtering where its
    answers are right (176 MB more memory), or `auto`: whichever is faster here. `auto` measures once, at the first
    start, for about ten seconds."""
    threads: int = Field(default=0, ge=0, le=1024)
    """Threads per run on a CPU; 0 is one per usable processor."""
    decode: Literal["fast", "exact"] = "fast"
    """How images become pixels: `fast`, or `exact`: the very pixels of torchvision, but slower."""
    decode_isolation: Literal["thread", "process"] = "thread"
    """Where images are decoded: in a `thread`, or in a `process` with limits on memory and time (not on Windows)."""
    decode_threads: int = Field(default=0, ge=0, le=1024)
    """Images decoded at a time; 0 is one per usable processor."""

    inspect: bool = True
    """Whether `POST /inspect` and `GET /models/NAME/filters` show what a model computes inside. A look takes a quarter
    of `VGG_THREADS` on the CPU, one at a time per model, and memory only while it lasts (up to 330 MB for VGG-16)."""

    api_keys_file: Path | None = None
    """File of API keys, as `vgg-serve key NAME` prints them; it is read again within 5 s of a change,
    and at SIGHUP. Without it, anyone may use the service."""
    rate_limit: float = Field(default=0, ge=0, le=1_000_000)
    """Sustained rate (photos per second) per API key, or per client address if there are no keys.
    Excess gets 429; 0 is no limit."""
    rate_burst: int = Field(default=20, ge=1, le=1_000_000)
    """Photos that a client may post at once, beyond that rate."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Proxies whose `X-Forwarded-For`, `-Proto` and `-Prefix` are trusted: addresses and networks, comma-separated, and
    `unix` for whoever connects to `VGG_UDS`."""
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Web origins whose pages may call the API from a browser, comma-separated (`https://example.org`), or `*`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged: `debug`, `info`, `warning` or `error`."""
    log_format: Literal["auto", "json", "text"] = "auto"
    """`json` (one object per line), `text`, or `auto`: text on a terminal, JSON elsewhere."""

    @property
    def all_upload_bytes(self) -> int:
        """VGG_MAX_UPLOAD_BYTES or, unless it is set, at least one body for each process."""
        if "max_upload_bytes" in self.model_fields_set:
            return self.max_upload_bytes
        return max(self.max_upload_bytes, self.max_body_bytes * max(self.front_processes, 1))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.all_upload_bytes < self.max_body_bytes:
            raise ValueError(
                "VGG_MAX_UPLOAD_BYTES is below VGG_MAX_BODY_BYTES: no large upload would ever fit"
            )
        if self.all_upload_bytes < self.max_body_bytes * self.front_processes:
            raise ValueError(
                "VGG_MAX_UPLOAD_BYTES is divided among the VGG_FRONT_PROCESSES, and each share is below"
                " VGG_MAX_BODY_BYTES: no large upload would ever fit"
            )
        return self

    @field_validator("port", mode="before")
    @classmethod
    def _no_service_link(cls, value: Any) -> Any:  # noqa: ANN401 (any value of the environment)
        link = isinstance(value, str) and SERVICE_LINK.fullmatch(value)
        return DEFAULT_PORT if link else value

    @field_validator("grpc_port", mode="before")
    @classmethod
    def _no_link(cls, value: Any) -> Any:  # noqa: ANN401 (any value of the environment)
        return None if isinstance(value, str) and SERVICE_LINK.fullmatch(value) else value

    @field_validator("host")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        return value.strip()  # as of a number, for which a space does not matter either

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, value: str) -> str:
        prefix = clean_prefix(value)
        if prefix is None:
            raise ValueError(
                "expected a path such as /vgg: letters, digits and -._~ between slashes, up to"
                " 200 characters, and none of this service's own paths first"
            )
        return prefix

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if item != UNIX:
                ip_network(item)  # raises a ValueError that says what is wrong
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            if item != "*" and not _ORIGIN.fullmatch(item):
                raise ValueError(
                    f"{item!r} is not an origin: expected https://HOST or https://HOST:PORT"
                )
        return value

    @field_validator("device_ids")
    @classmethod
    def _numbers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 0 or len(set(value)) < len(value):
            raise ValueError("expected different numbers from 0 on, such as 0,1")
        return value

    @field_validator("device_ids", "models", "trusted_proxies", "allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:  # noqa: ANN401 (any value of the environment)
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value
