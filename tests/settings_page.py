"""docs/settings.md, written from the descriptions in the code: `python -m tests.settings_page`."""

from pathlib import Path
from typing import Any, Final

from app.service.settings import Settings

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

GROUPS: Final = {
    "models": "Models",
    "host": "Server",
    "max_body_bytes": "Limits",
    "max_batch_size": "Batching",
    "device": "Device and decoding",
    "api_keys_file": "Access",
    "log_level": "Logging",
}
"""Titles, by the first setting of each group."""

INTRODUCTION: Final = """# Settings

Every setting is an environment variable. An empty variable counts as not set. A wrong value stops the start, and the
error names the variable. `.env.example` lists the same settings for Docker Compose.

This page is written by `python -m tests.settings_page` from `app/service/settings.py`.
"""


def default_of(name: str) -> str:
    """Return a setting's default as an operator would write it; empty for none."""
    default: Any = Settings.model_fields[name].default
    if name == "model_dir":
        return "models/"
    if isinstance(default, tuple):
        return ",".join(str(item) for item in default)
    return "" if default is None else str(default).lower().removesuffix(".0")


def page() -> str:
    """Return the whole page."""
    text = INTRODUCTION
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            text += f"\n## {GROUPS[name]}\n\n| Variable | Default | Meaning |\n|---|---|---|\n"
        default = f"`{default_of(name)}`" if default_of(name) else ""
        meaning = " ".join(str(field.description).split())
        text += f"| `VGG_{name.upper()}` | {default} | {meaning} |\n"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
