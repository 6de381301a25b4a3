"""The public JSON, as pydantic models; the docstrings are the descriptions at /docs."""
