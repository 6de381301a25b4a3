"""What the models of the public JSON share; the docstrings are the descriptions at /docs."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Out(BaseModel):
    """A part of the public JSON, made from an object with attributes of the same names."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True, frozen=True)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return the first example of each field."""
        return {name: (field.examples or [None])[0] for name, field in cls.model_fields.items()}
