"""What ships beside the code agrees with the code: files, names, commands, settings."""

import json
import os
import re
import runpy
import shlex
import socket
import stat
import tomllib
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import environ
import pytest
import yaml
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.management import get_commands

from config import cron_environment
from config.first_run import write_env
from config.server import free_port, gunicorn_command, port_number, problem_with
from tests.test_settings import names_read

ROOT = Path(__file__).resolve().parent.parent
# Set by the demo and by the tests for themselves.
INTERNAL = {"DEMO", "DEMO_CONTROL_URL", "TESTING"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def assigned(env_text: str) -> dict[str, str]:
    """The settings of an env file, those commented out included."""
    return dict(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=(.*)$", env_text, re.MULTILINE))


# --- the first start ---
def test_the_first_start_writes_fresh_keys_for_the_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert write_env(tmp_path / "one", 8000)
        assert write_env(tmp_path / "two", 8000)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    one, two = (assigned((tmp_path / name).read_text()) for name in ("one", "two"))
    for name in ("SECRET_KEY", "TOKEN_ENCRYPTION_KEYS", "POSTGRES_PASSWORD"):
        assert one[name] != two[name]
        assert len(one[name]) >= 32
    Fernet(one["TOKEN_ENCRYPTION_KEYS"])
    assert one["POSTGRES_PASSWORD"].isalnum()  # it becomes a part of a URL


def test_the_first_start_leaves_the_credentials_to_the_person(tmp_path: Path) -> None:
    write_env(tmp_path / ".env", 9000)
    written = assigned((tmp_path / ".env").read_text())
    assert written["SITE_URL"] == "http://127.0.0.1:9000"
    assert written["QUICKBOOKS_CLIENT_ID"] == written["QUICKBOOKS_CLIENT_SECRET"] == ""
    assert written["SECURE_SSL_REDIRECT"] == written["SECURE_COOKIES"] == "False"
    assert set(written) - {"POSTGRES_PASSWORD"} <= names_read()


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SECRET_KEY=mine\n")
    assert not write_env(tmp_path / ".env", 8000)
    assert (tmp_path / ".env").read_text() == "SECRET_KEY=mine\n"


@pytest.mark.parametrize("text", ["", "abc", "0", "65536", "-1", "80.5"])
def test_a_port_is_a_number(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="^PORT must be"):
        port_number(text)


def test_a_port_in_use_is_told_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert problem_with(port).startswith(f"Port {port} is in use already.")
        assert free_port(port) != port
    assert problem_with(port) == ""


# --- the lists of packages ---
@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_package_is_pinned_exactly(name: str) -> None:
    lines = [line.split("#")[0].strip() for line in text_of(name).splitlines()]
    wanted = [line for line in lines if line and line != "-r requirements.txt"]
    assert wanted
    assert [line for line in wanted if not re.fullmatch(r"[\w.\[\],-]+==[\w.]+", line)] == []


# --- README and .env.example ---
def test_the_readme_lists_every_setting() -> None:
    listed = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", text_of("README.md")))
    assert names_read() - listed == set()


def test_the_readme_lists_no_setting_that_nothing_reads() -> None:
    table = text_of("README.md").split("## Settings")[1].split("\n## ")[0]
    names = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", line.split("|")[1])
    }
    assert names == names_read() - INTERNAL


def test_the_example_has_every_setting_and_no_other() -> None:
    assert set(assigned(text_of(".env.example"))) == names_read() - INTERNAL | {"POSTGRES_PASSWORD"}


def test_the_example_holds_no_secret() -> None:
    example = assigned(text_of(".env.example"))
    secret = [name for name in example if "SECRET" in name or "KEY" in name or "TOKEN" in name]
    # A public key is none; this one is HighLevel's.
    assert [name for name in secret if example[name] and "PUBLIC" not in name] == []


@pytest.mark.parametrize("name", ["README.md", "compose.yaml", "Dockerfile", "config/first_run.py"])
def test_every_command_that_is_named_exists(name: str) -> None:
    text = text_of(name)
    own = set(re.findall(r"manage\.py[\", ]+([a-z_]+)", text))
    assert own - set(get_commands()) == set()
    modules = set(re.findall(r"python3? -m ((?:config|tests)\.\w+)", text))
    assert [m for m in modules if not (ROOT / f"{m.replace('.', '/')}.py").is_file()] == []


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", text_of("README.md"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_version_is_that_of_the_changelog() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert project["version"]
    assert "## [Unreleased]" in text_of("CHANGELOG.md")


# --- make and CI ---
def test_ci_runs_what_a_person_runs() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "make test" in text_of(".ci/run")
    targets = set(re.findall(r"^(\w+):", text_of("Makefile"), re.MULTILINE))
    assert {"run", "test", "bench", "lint", "format"} <= targets


# --- the image ---
def instructions(name: str) -> list[str]:
    """The arguments of an instruction of the Dockerfile, its continued lines joined."""
    joined = text_of("Dockerfile").replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def test_the_image_has_all_that_the_product_is_made_of() -> None:
    let_in = {
        line[1:].rstrip("/")
        for line in text_of(".dockerignore").splitlines()
        if line.startswith("!")
    }
    local_apps = {app.split(".")[0] for app in settings.INSTALLED_APPS}
    parts = {app for app in local_apps if (ROOT / app).is_dir()}
    assert let_in == parts | {
        *("config", "templates", "manage.py", "gunicorn.conf.py", "requirements.txt")
    }
    assert all((ROOT / name).exists() for name in let_in)


def test_whoever_starts_gunicorn_gets_threads_and_no_access_log() -> None:
    found = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    assert found["worker_class"] == "gthread"
    assert found["workers"] * found["threads"] >= 16
    assert found["control_socket_disable"]
    assert "accesslog" not in found
    for command in (gunicorn_command(8000)[3:], json.loads(instructions("CMD")[0])[1:]):
        assert command[0] == "config.wsgi:application"
        # Nothing on a command line would win over the file.
        assert set(command[1::2]) <= {"--bind", "--worker-tmp-dir"}


def test_the_image_runs_without_root_and_holds_no_secret() -> None:
    (user,) = instructions("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert instructions("ARG") == []
    assert not re.search("KEY|SECRET|PASSWORD|TOKEN", " ".join(instructions("ENV")))
    final = text_of("Dockerfile").split("FROM ")[-1]
    assert not re.search(r"pip |gcc|build-essential", final)


def test_an_old_volume_does_not_bring_old_static_files() -> None:
    (volume,) = instructions("VOLUME")
    inside = Path("/app") / Path(settings.STATIC_ROOT).relative_to(settings.BASE_DIR)
    assert Path(volume) not in inside.parents


# --- compose ---
@pytest.fixture
def compose() -> dict[str, Any]:
    found = yaml.safe_load(text_of("compose.yaml"))
    assert isinstance(found, dict)
    return found


def test_compose_has_the_three_services_and_their_order(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert {"web", "cron", "db"} <= set(services)
    for service in services.values():
        waits = service.get("depends_on", {})
        assert set(waits) <= set(services)
        for other, condition in waits.items():
            if condition["condition"] == "service_healthy":
                assert services[other]["healthcheck"]["test"]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]


def test_compose_and_image_agree(compose: dict[str, Any]) -> None:
    services = compose["services"]
    port = services["web"]["ports"][0].rsplit(":", 1)[1]
    assert instructions("EXPOSE") == [port]
    assert f":{port}/healthz" in instructions("HEALTHCHECK")[0]
    (volume,) = instructions("VOLUME")
    for name in ("web", "cron", "migrate"):
        assert services[name]["build"] == "."
        assert f"var:{volume}" in services[name]["volumes"]
        assert services[name]["env_file"] == ".env"
    assert services["migrate"]["command"][:3] == ["python", "manage.py", "migrate"]


def test_the_cron_service_is_possible_with_the_image(compose: dict[str, Any]) -> None:
    script = compose["services"]["cron"]["command"][2]
    lines = [shlex.split(line) for line in script.strip().splitlines()]
    assert lines[0] == ["python", "-m", "config.cron_environment"]
    assert lines[1][lines[1].index("python") :] == ["python", "manage.py", "crontab", "add", "-v0"]
    assert lines[2] == ["exec", "cron", "-f"]
    made = " ".join(instructions("RUN"))
    assert "useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home" in made
    assert f"groupadd --gid 10001 {cron_environment.GROUP}" in made
    assert f"--reuid {cron_environment.GROUP} --regid {cron_environment.GROUP}" in script
    assert "apt-get install -y --no-install-recommends cron" in made


def test_the_password_of_the_database_is_one_setting(compose: dict[str, Any]) -> None:
    services = compose["services"]
    wanted = "${POSTGRES_PASSWORD:?is missing in .env}"
    assert services["db"]["environment"]["POSTGRES_PASSWORD"] == wanted
    assert wanted in services["web"]["environment"]["DATABASE_URL"]
    assert "POSTGRES_PASSWORD" in assigned(text_of(".env.example"))


@pytest.mark.parametrize(
    "value", ["", "plain", "a b#c", "it's", '"quoted"', "$HOME", r"a\nb\"", "="]
)
def test_cron_jobs_get_the_environment_of_their_container(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text(cron_environment.as_lines({"CARRIED": value}))
    found: dict[str, str] = {}
    monkeypatch.setattr(environ.Env, "ENVIRON", found)
    environ.Env.read_env(str(file))
    assert found["CARRIED"] == value


def test_a_variable_of_several_lines_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="^SEVERAL has more than one line"):
        cron_environment.as_lines({"SEVERAL": "a\nb"})
