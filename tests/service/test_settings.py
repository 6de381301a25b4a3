from pathlib import Path

import pytest
from pydantic import ValidationError

from app.cli.environment import read_settings
from app.service.settings import Settings, default_model_dir
from app.setup_errors import SetupError
from tests.conftest import REPOSITORY


def test_defaults_serve_vgg16_on_this_machine_alone():
    """Without any setting, vgg16 is served on the loopback address."""
    settings = Settings()

    assert (("vgg16",), "127.0.0.1", 8000) == (settings.models, settings.host, settings.port)
    assert "fail" == settings.on_missing_weights


def test_environment_sets_everything(monkeypatch):
    """Each setting is VGG_ and its name; model names are separated by commas."""
    monkeypatch.setenv("VGG_MODELS", "vgg19, vgg16,")
    monkeypatch.setenv("VGG_MODEL_DIR", "/data")
    monkeypatch.setenv("VGG_QUEUE_BUDGET_MS", "1.5")
    settings = Settings()

    assert (("vgg19", "vgg16"), Path("/data")) == (settings.models, settings.model_dir)
    assert 1.5 == settings.queue_budget_ms


def test_models_of_a_checkout_are_kept_in_it():
    """Whatever HOME and the cache folder are."""
    assert REPOSITORY / "models" == Settings().model_dir == default_model_dir()


def test_models_of_an_installed_package_are_kept_in_the_cache_folder(monkeypatch, tmp_path):
    """The cache folder is that of the desktop standard, or below the home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    by_variable = default_model_dir(installed=True)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    by_home = default_model_dir(installed=True)

    assert (tmp_path / "cache" / "vgg-serve", tmp_path / ".cache" / "vgg-serve") == (
        by_variable,
        by_home,
    )


@pytest.mark.parametrize("variables", [{}, {"HOME": "here"}])
def test_an_installed_package_of_a_user_without_a_home(monkeypatch, variables):
    """Nothing is written below the current folder: the sentence names the setting to use."""

    def nobody(_user):
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SetupError, match="VGG_MODEL_DIR"):
        default_model_dir(installed=True)


def test_lists_are_separated_by_commas(monkeypatch):
    """Proxies and origins are lists; an empty variable is an empty list."""
    monkeypatch.setenv("VGG_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,::1,unix")
    monkeypatch.setenv("VGG_ALLOWED_ORIGINS", "https://example.org, http://localhost:3000")
    full = Settings()
    monkeypatch.setenv("VGG_TRUSTED_PROXIES", "")
    empty = Settings()

    assert ("127.0.0.1", "10.0.0.0/8", "::1", "unix") == full.trusted_proxies
    assert ("https://example.org", "http://localhost:3000") == full.allowed_origins
    assert () == empty.trusted_proxies


@pytest.mark.parametrize("variable", ["HF_ENDPOINT", "VGG_HF_ENDPOINT"])
def test_mirror_is_read_from_the_hub_s_own_variable_too(monkeypatch, variable):
    """HF_ENDPOINT, which every tool of the hub reads, is enough."""
    monkeypatch.setenv(variable, "https://mirror.example")

    assert "https://mirror.example" == Settings().hf_endpoint


@pytest.mark.parametrize("name", Settings.model_fields)
def test_empty_is_not_set(monkeypatch, name):
    """A line VGG_X= in .env leaves the default."""
    monkeypatch.setenv(f"VGG_{name.upper()}", "")

    assert Settings() == Settings.model_construct()


def test_settings_cannot_be_changed():
    """Checked settings are frozen."""
    with pytest.raises(ValidationError):
        Settings().port = 1


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        (
            {"VGG_ALLOWED_ORIGINS": "a"},
            "VGG_ALLOWED_ORIGINS is 'a': 'a' is not an origin: expected https://HOST or https://HOST:PORT",
        ),
        (
            {"VGG_TRUSTED_PROXIES": "proxy"},
            "VGG_TRUSTED_PROXIES is 'proxy': 'proxy' does not appear to be an IPv4 or IPv6 network",
        ),
        (
            {"VGG_MAX_UPLOAD_BYTES": "2000", "VGG_MAX_BODY_BYTES": "3000"},
            "VGG_MAX_UPLOAD_BYTES is below VGG_MAX_BODY_BYTES: no large upload would ever fit",
        ),
    ],
)
def test_errors_are_our_own_sentences(monkeypatch, variables, sentence):
    """The service's own checks fail with their own sentence, without a prefix of pydantic."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(SetupError) as refused:
        read_settings()

    assert sentence == str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("VGG_PORT", "70000"),
        ("VGG_DEADLINE_MS", "0"),
        ("VGG_MODELS", " , "),
        ("VGG_OFFLINE", "x"),
        ("VGG_TRUSTED_PROXIES", "10.0.0.0/8, proxy"),
        ("VGG_TRUSTED_PROXIES", "*"),
        ("VGG_ALLOWED_ORIGINS", "example.org"),
        ("VGG_ALLOWED_ORIGINS", "https://example.org/"),
        ("VGG_RATE_LIMIT", "-1"),
    ],
)
def test_wrong_value_is_named(monkeypatch, variable, value):
    """The error about a wrong value names the variable."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(SetupError) as refused:
        read_settings()

    assert variable in str(refused.value)


def test_share_of_a_front_holds_the_largest_body(monkeypatch):
    """More fronts than the upload limit can be divided among stop the start."""
    monkeypatch.setenv("VGG_MAX_BODY_BYTES", "10000000")
    monkeypatch.setenv("VGG_MAX_UPLOAD_BYTES", "30000000")
    monkeypatch.setenv("VGG_FRONT_PROCESSES", "3")
    fitting = read_settings()
    monkeypatch.setenv("VGG_FRONT_PROCESSES", "4")
    with pytest.raises(SetupError, match="VGG_FRONT_PROCESSES"):
        read_settings()

    assert 3 == fitting.front_processes


@pytest.mark.parametrize(
    ("variables", "limit"),
    [
        ({}, 256_000_000),
        ({"VGG_FRONT_PROCESSES": "16"}, 400_000_000),
        ({"VGG_MAX_BODY_BYTES": "300000000"}, 300_000_000),
    ],
)
def test_the_upload_limit_grows_with_the_processes(monkeypatch, variables, limit):
    """Unless the limit is set, the largest body fits into the share of each process."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    assert limit == read_settings().all_upload_bytes


def test_unknown_variable_is_pointed_out(monkeypatch, capsys):
    """A misspelled setting is reported."""
    monkeypatch.setenv("VGG_MODLES", "vgg19")
    read_settings()

    assert "VGG_MODLES" in capsys.readouterr().err


def test_spaces_around_the_host_do_not_matter(monkeypatch):
    """They do not around a number either."""
    monkeypatch.setenv("VGG_HOST", " * ")

    assert "*" == Settings().host


@pytest.mark.parametrize("link", ["tcp://10.0.0.1:80", "udp://10.0.0.1:53", "tcp://[fd00::1]:8000"])
def test_a_service_link_is_no_port(monkeypatch, capsys, link):
    """Kubernetes sets VGG_PORT for a Service called vgg: a warning names it, and the default counts."""
    monkeypatch.setenv("VGG_PORT", link)
    settings = read_settings()

    assert 8000 == settings.port
    assert "VGG_PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        *("VGG_SERVICE_HOST", "VGG_SERVICE_PORT", "VGG_SERVICE_PORT_HTTP", "VGG_PORT_80_TCP"),
        *("VGG_PORT_80_TCP_PROTO", "VGG_PORT_80_TCP_PORT", "VGG_PORT_80_TCP_ADDR"),
        *("VGG_SERVE_SERVICE_HOST", "VGG_SERVE_PORT", "VGG_SERVE_PORT_8000_TCP_ADDR"),
    ],
)
def test_other_variables_of_a_service_are_passed_over(monkeypatch, capsys, name):
    """They are no misspelled settings."""
    monkeypatch.setenv(name, "10.0.0.1")
    read_settings()

    assert "" == capsys.readouterr().err


@pytest.mark.parametrize("value", ["http", "80a", "tcp", "10.0.0.1:80", "-1", "65536", "http://x"])
def test_another_wrong_port_still_ends_the_start(monkeypatch, value):
    """Only an address of a Service is ignored."""
    monkeypatch.setenv("VGG_PORT", value)
    with pytest.raises(SetupError, match="VGG_PORT"):
        read_settings()


@pytest.mark.parametrize("value", ["vgg", "//host", "https://host/vgg", "/a/../b", "/predict"])
def test_a_wrong_prefix_ends_the_start(monkeypatch, value):
    """The error shows the variable and what was expected."""
    monkeypatch.setenv("VGG_ROOT_PATH", value)
    with pytest.raises(SetupError, match=r"VGG_ROOT_PATH is .* such as /vgg"):
        read_settings()
