"""The documents agree with the code."""

import re
import tomllib

from app import __version__
from app.service.app import create_app
from app.service.settings import Settings
from app.weights.manifests.catalog import load_catalog
from tests.conftest import REPOSITORY
from tests.settings_page import PAGE, default_of, page

README = (REPOSITORY / "README.md").read_text()
OPERATIONS = (REPOSITORY / "docs" / "operations.md").read_text()


def test_settings_page_agrees_with_the_code():
    """docs/settings.md has each setting with its default and its description."""
    assert page() == PAGE.read_text(), "run: python -m tests.settings_page"


def test_readme_names_no_other_setting():
    """Every variable in README.md is a setting."""
    settings = {f"VGG_{name.upper()}" for name in Settings.model_fields}

    assert set() == set(re.findall(r"VGG_[A-Z_]+", README)) - settings


def test_readme_has_the_defaults():
    """The tables of README.md show the defaults of the settings in them."""
    rows = [line.split("|")[1:3] for line in README.splitlines() if line.startswith("| `VGG_")]
    cells = [[[part.strip(" `") for part in cell.split(",")] for cell in row] for row in rows]
    shown = {name: value for names, values in cells for name, value in spread(names, values)}

    assert shown
    assert {name: default_of(name.removeprefix("VGG_").lower()) for name in shown} == shown


def spread(names, values):
    """Pair names with values; a single value counts for all names."""
    return zip(names, values * len(names) if len(values) == 1 else values, strict=False)


def test_documents_have_every_route():
    """README.md names each path of the API, or a page of docs/ if it is for other servers' clients."""
    paths = create_app(Settings()).openapi()["paths"]
    text = README + "".join(page.read_text() for page in (REPOSITORY / "docs").glob("*.md"))

    assert [] == [path for path in paths if path.replace("/versions/{version}", "") not in text]


def test_readme_has_every_model():
    """README.md and the model card name each built-in model."""
    card = (REPOSITORY / "models" / "README.md").read_text()
    for name in load_catalog(REPOSITORY / "models"):
        assert f"`{name}`" in README, name
        assert name in card, name


def test_operations_name_no_other_setting():
    """Every variable in docs/operations.md is a setting, or the key of a command."""
    settings = {f"VGG_{name.upper()}" for name in Settings.model_fields} | {"VGG_API_KEY"}

    assert set() == set(re.findall(r"VGG_[A-Z_]+", OPERATIONS)) - settings


def test_every_log_event_of_the_operations_is_in_the_code():
    """The sentences of the table are those that the code logs."""
    table = OPERATIONS.split("## Log events")[1].split("\n## ")[0]
    events = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    code = "".join(path.read_text() for path in (REPOSITORY / "app").rglob("*.py"))

    assert events
    assert [] == [event for event in events if f'"{event}"' not in code]


def test_changelog_has_the_version():
    """The newest entry of the changelog is the version of the code."""
    newest = re.search(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert newest is not None
    assert __version__ == newest[1]


def test_relative_links_lead_somewhere():
    """No document links to a missing file."""
    for document in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("*/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_requirements_name_no_host():
    """The pinned requirements can be served by any registry, and each has a hash."""
    for path in (REPOSITORY / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, path.name
        assert text.count("==") > 20, path.name
        assert len(re.findall(r"^\S+==", text, re.MULTILINE)) <= text.count("--hash=sha256:")


def test_cpu_and_cuda_runtimes_are_never_together():
    """The two builds of onnxruntime overwrite each other; no file has both."""
    for path in (REPOSITORY / "requirements").glob("*.txt"):
        found = set(
            re.findall(r"^(onnxruntime(?:-gpu)?)(?:\[.*\])?==", path.read_text(), re.MULTILINE)
        )
        assert 1 == len(found), path.name


def test_ignored_rules_have_their_reasons():
    """Each rule of ruff that is switched off has a comment beside it."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    block = text.split("ignore = [")[1].split("\n]")[0]
    rules = tomllib.loads(text)["tool"]["ruff"]["lint"]["ignore"]

    assert len(rules) == len([line for line in block.splitlines() if "#" in line])
