"""The files that people deploy are valid, hold to the rules of their kind, and name every key."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import msgspec
import pytest
import typer
import yaml

from fedpriv.cli.main import app
from fedpriv.coordinator import home as coordinator_homes
from fedpriv.errors import HomeError
from fedpriv.metrics import Metrics
from fedpriv.node import home as node_homes
from fedpriv.node.policy import Policy
from fedpriv.study import Study, load_study
from fedpriv.toml_files import read_toml

ROOT = Path(__file__).parents[1]
TARGETS = ("node", "coordinator", "page")
COMPOSE = [ROOT / "nodes/compose.yaml", ROOT / "coordinator/compose.yaml"]
UNITS = sorted(ROOT.glob("*/*.service"))


def name_of(path):
    return str(path.relative_to(ROOT))


def test_the_examples_parse():
    read_toml(ROOT / "nodes/node.toml", node_homes.Config, HomeError)
    read_toml(ROOT / "coordinator/coordinator.toml", coordinator_homes.Config, HomeError)


@pytest.mark.parametrize(
    ("file", "kinds", "left_out"),
    [
        ("nodes/node.toml", (node_homes.Config, node_homes.Dataset, Policy, Metrics), {"hospital"}),
        (
            "coordinator/coordinator.toml",
            (coordinator_homes.Config, coordinator_homes.Listen, coordinator_homes.Deadlines, Metrics),
            set(),
        ),
    ],
)
def test_the_examples_explain_every_key(file, kinds, left_out):
    text = (ROOT / file).read_text()
    keys = {field.name for kind in kinds for field in msgspec.structs.fields(kind)} - left_out
    assert {key for key in keys if not re.search(rf"^(# )?\[?{key}\b", text, re.MULTILINE)} == set()


def test_what_an_example_only_mentions_can_be_switched_on(tmp_path):
    """node.toml has [metrics] as a comment."""
    text = (ROOT / "nodes/node.toml").read_text()
    (tmp_path / "node.toml").write_text(re.sub(r"^# (\[metrics\]|listen)", r"\1", text, flags=re.MULTILINE))
    assert node_homes.open_home(tmp_path).config.metrics == Metrics("127.0.0.1:9095")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_every_study_file_is_valid_and_says_what_it_is_for(path):
    assert isinstance(load_study(path), Study)
    assert re.match(r"# [A-Z].*\.\n", path.read_text())


def settings(path):
    lines = [line for line in path.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return [line.split("=", 1) for line in lines]


def setting(path, key):
    (value,) = [value for name, value in settings(path) if name == key]
    return value


def stages():
    """Each stage of the Dockerfile: its base and its instructions, as (word, rest) in order."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    found, before = {}, []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found[name] = (base, [])
        elif found:
            found[name][1].append((word, rest))
        else:
            before.append((word, rest))
    return before, found


def all_of(target):
    """The instructions that make ``target``, those of the stages below it first."""
    _, found = stages()
    base, lines = found[target]
    return (all_of(base) if base in found else []) + lines


def last(target, word):
    return [rest for found, rest in all_of(target) if found == word][-1]


def test_no_image_is_fetched_from_a_place_that_this_repository_names():
    before, found = stages()
    assert before == [("ARG", "BASE=python:3.11-slim-bookworm")]
    for base, _ in found.values():
        assert base in {"${BASE}", "scratch", *found}
    for path in [ROOT / "Dockerfile", *COMPOSE, *UNITS]:
        assert "http" not in path.read_text()
    for path in COMPOSE:
        for service in yaml.safe_load(path.read_text())["services"].values():
            assert re.fullmatch(r"fedpriv-[a-z]+", service["image"])


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_special_and_has_the_signals_to_itself(target):
    users = [rest for word, rest in all_of(target) if word == "USER"]
    assert users == ["10001:10001"]
    for word in ("ENTRYPOINT", "CMD"):  # JSON: no shell stands between a signal and the process
        assert isinstance(json.loads(last(target, word)), list)
    assert json.loads(last(target, "ENTRYPOINT")) == ["/opt/app/bin/fedpriv"]
    assert not [rest for word, rest in all_of(target) if word in {"VOLUME", "STOPSIGNAL", "ADD", "SHELL"}]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_no_layer_in_which_a_package_manager_was_or_is(target):
    _, found = stages()
    assert found["runtime"][0] == "scratch"
    assert found[target][0] == "runtime"
    assert not [rest for word, rest in all_of(target) if word == "RUN"]
    copied = [rest for word, rest in found["runtime"][1] if word == "COPY"]
    assert copied == [
        "--from=stripped / /",
        "--from=dependencies /opt/fedpriv /opt/fedpriv",  # a venv without pip
        "--from=package /opt/app /opt/app",
    ]
    assert "venv --without-pip /opt/fedpriv" in " ".join(rest for _, rest in found["dependencies"][1])
    stripping = " ".join(rest for word, rest in found["stripped"][1] if word == "RUN")
    for tool in ("/usr/bin/apt*", "/usr/bin/dpkg*", "/usr/bin/pip*", "/usr/local/bin/pip*", "/sbin/apk"):
        assert tool in stripping
    assert "chmod a-s" in stripping


def words_of_health(target):
    options, _, command = last(target, "HEALTHCHECK").partition("CMD ")
    assert {"--interval", "--timeout", "--start-period", "--retries"} <= set(
        re.findall(r"--[a-z-]+", options)
    )
    return json.loads(command)


def test_a_health_check_asks_the_process_itself():
    fedpriv = "/opt/app/bin/fedpriv"
    assert words_of_health("node") == [fedpriv, "node", "status", "--healthy"]
    assert words_of_health("coordinator") == [fedpriv, "coordinator", "status", "--healthy"]
    assert words_of_health("page") == [fedpriv, "page", "status", "--tls"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_health_check_is_the_same_to_an_engine_that_splits_it_at_spaces(target):
    """Podman does so with what it is sent through Docker's API, as compose sends it."""
    words = words_of_health(target)
    assert " ".join(words).split() == words
    options_of(words[1:])


def test_only_what_is_installed_is_sent_to_a_builder():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    assert sent == {"pyproject.toml", "constraints.txt", "README.md", "fedpriv", "wheels"}


def options_of(words):
    """The options of the command that ``words`` begin with, checking that every option in them is one."""
    command = typer.main.get_command(app)
    if words[0] not in command.commands:
        pytest.skip(f"this tree has no `fedpriv {words[0]}`")
    for word in words[:2]:
        command = command.get_command(click.Context(command), word)
        assert command is not None, words
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, words


def commands_that_stay():
    commands = {f"Dockerfile {target}": json.loads(last(target, "CMD")) for target in TARGETS}
    for path in COMPOSE:
        for name, service in yaml.safe_load(path.read_text())["services"].items():
            commands[f"{name_of(path)} {name}"] = service["command"]
    for path in UNITS:
        commands[name_of(path)] = setting(path, "ExecStart").split()[1:]
    return commands


@pytest.mark.parametrize(("where", "words"), commands_that_stay().items())
def test_every_command_in_a_kit_exists_with_its_options(where, words):
    options_of(words)


@pytest.mark.parametrize("path", COMPOSE, ids=name_of)
def test_every_container_has_no_rights_and_bounds(path):
    for name, service in yaml.safe_load(path.read_text())["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"].startswith("${FEDPRIV_USER:-10001:")
        assert service["mem_limit"]
        assert service["pids_limit"]
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}
        assert not service.keys() & {
            "privileged",
            "cap_add",
            "network_mode",
            "pid",
            "ipc",
            "devices",
            "environment",
        }
        assert not any("docker.sock" in str(volume) for volume in service["volumes"])
        target = service["build"]["target"]
        assert service["image"] == f"fedpriv-{target}"
        assert service["healthcheck"]["test"][2:] == words_of_health(target)[1:]
        for volume in service["volumes"]:
            assert volume.get("read_only", False) is (volume["target"] != "/var/lib/fedpriv")


def test_no_hospital_of_a_consortium_reaches_another():
    found = yaml.safe_load(COMPOSE[1].read_text())
    services = found["services"]
    nodes = {name: set(service["networks"]) for name, service in services.items() if name in {"a", "b", "c"}}
    assert len(nodes) == 3
    for name, networks in nodes.items():
        (network,) = networks
        assert found["networks"][network]["internal"] is True
        (subnet,) = found["networks"][network]["ipam"]["config"]
        address = services["coordinator"]["networks"][network]["ipv4_address"]
        assert subnet["subnet"].removesuffix("0/24") == address.removesuffix("2")
        assert services[name]["extra_hosts"] == [f"coordinator:{address}"]
        sharing = {other for other, service in services.items() if network in service["networks"]}
        assert sharing == {name, "coordinator"}
    assert not set(services["page"]["networks"]) & set(services["coordinator"]["networks"])
    assert [name for name, service in services.items() if "ports" in service] == ["page"]
    homes = [volume["source"] for service in services.values() for volume in service["volumes"]]
    writable = [home for home in homes if "HOMES" in home]
    assert len(set(writable)) == len(writable) == 5


def composer():
    """A command that checks compose files here, if there is one."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(words[0])
            and subprocess.run([*words, "version"], capture_output=True).returncode == 0
        ):
            return words
    return None


@pytest.mark.parametrize("path", COMPOSE, ids=name_of)
def test_compose_accepts_the_file(path):
    words = composer()
    if words is None:
        pytest.skip("no compose here")
    environment = dict.fromkeys(("FEDPRIV_HOME", "FEDPRIV_HOMES", "FEDPRIV_IMAGES"), "/tmp")
    done = subprocess.run(
        [*words, "-f", path, "--profile", "page", "config", "--quiet"],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr


def hardening(path):
    return path.read_text().partition("CapabilityBoundingSet=\n")[2]


@pytest.mark.parametrize("path", UNITS, ids=name_of)
def test_a_unit_has_no_rights_and_stops_in_order(path):
    assert hardening(path) == hardening(UNITS[0])
    assert len(hardening(path).splitlines()) > 25
    assert setting(path, "User") == "fedpriv"
    assert setting(path, "UMask") == "0077"
    assert setting(path, "Restart") == "on-failure"
    assert setting(path, "RestartPreventExitStatus") == "2"
    assert setting(path, "ProtectSystem") == "strict"
    assert setting(path, "StateDirectoryMode") == "0700"
    assert f"/var/lib/{setting(path, 'StateDirectory')}" in setting(path, "ExecStart")


@pytest.mark.parametrize("path", UNITS, ids=name_of)
def test_systemd_accepts_the_unit_and_finds_little_exposed(path, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / path.name
    unit.write_text(path.read_text().replace("/opt/fedpriv/bin/fedpriv", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", unit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
