"""A federation as monitors see it: health, metrics and logs of real processes, and no secret in any."""

import base64
import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from prometheus_client.parser import text_string_to_metric_families
from support.federations import CLASSES, QUICK
from support.ports import free_port

from fedpriv.cli.local_federation import found
from fedpriv.cli.study import draft
from fedpriv.logs import About
from fedpriv.node.home import Dataset
from fedpriv.study import parse_study

PLANTED = "MC4CAQAwBQYDK2VwBCIEINTbymFudGVkIGtleSBtYXRlcmlhbCwgMzIgYnl0"


def two_hospitals():
    study = parse_study(draft("watched", dict.fromkeys("AB", 24), CLASSES), "the study")
    training = msgspec.structs.replace(study.training, rounds=4, local_steps=1)
    rules = msgspec.structs.replace(study.secure_aggregation, smallest_cohort=2, colluders=0, dropouts=0)
    changed = msgspec.structs.replace(study, training=training, secure_aggregation=rules)
    return changed.with_noise_multiplier(6.0)


def fedpriv(*arguments):
    command = [sys.executable, "-m", "fedpriv", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def listening(config):
    """Let the process of ``config`` serve metrics; where."""
    address = f"127.0.0.1:{free_port()}"
    config.write_text(config.read_text() + f'\n[metrics]\nlisten = "{address}"\n')
    return address


def scraped(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def value(samples, name, **labels):
    return samples[name, tuple(sorted(labels.items()))]


def healthy(federation, name):
    home = federation.coordinator.folder if name == "coordinator" else federation.nodes[name].folder
    noun = "coordinator" if name == "coordinator" else "node"
    return fedpriv(noun, "status", "--healthy", "--home", home)


def becomes_healthy(federation, name, within_s=90):
    give_up = time.monotonic() + within_s
    while (done := healthy(federation, name)).returncode != 0:
        assert time.monotonic() < give_up, done.stderr
        time.sleep(1)
    return done


@pytest.fixture(scope="module")
def watched(tmp_path_factory, smears):
    """What was seen of two hospitals, one of which is scraped, before, in and after a round."""
    images = tmp_path_factory.mktemp("images") / "smears"
    images.symlink_to(smears.folder)
    datasets = {name: Dataset(name=f"smears-{name}", images=str(images), hospital=name) for name in "AB"}
    seen = {}
    with found(tmp_path_factory.mktemp("watched"), two_hospitals(), datasets, QUICK) as federation:
        (federation.nodes["A"].folder / "identity" / "planted.pem").write_text(PLANTED)
        at_node = listening(federation.nodes["A"].folder / "node.toml")
        at_coordinator = listening(federation.coordinator.folder / "coordinator.toml")
        federation.options = ("--log-json",)
        seen["before"] = {name: healthy(federation, name) for name in ("A", "coordinator")}
        federation.start()
        seen["up"] = {name: becomes_healthy(federation, name) for name in ("coordinator", "A", "B")}
        seen["round"] = fedpriv(
            *("round", "--home", federation.coordinator.folder, "--study", federation.study_path),
            *("--count", "1", "--json", "--log-json"),
        )
        seen["node"], seen["coordinator"] = scraped(at_node), scraped(at_coordinator)
        federation.processes["coordinator"].send_signal(signal.SIGTERM)
        federation.processes["coordinator"].wait(30)
        give_up = time.monotonic() + 30
        while healthy(federation, "A").returncode == 0 and time.monotonic() < give_up:
            time.sleep(1)
        seen["alone"] = {name: healthy(federation, name) for name in ("A", "coordinator")}
        federation.stop()
        seen["codes"] = {name: process.returncode for name, process in federation.processes.items()}
        seen["after"] = healthy(federation, "A")
        seen["federation"] = federation
    return seen


def test_health_is_what_the_process_says_of_itself(watched):
    for name, done in watched["before"].items():
        who = "coordinator" if name == "coordinator" else "node"
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: the {who} does not run, or has said nothing for 30 s\n"
    for done in watched["up"].values():
        assert done.returncode == 0
        assert done.stderr == ""
    assert watched["up"]["A"].stdout.startswith("the node is well: connected to 127.0.0.1:")
    assert watched["up"]["coordinator"].stdout.startswith("the coordinator is well: open at 127.0.0.1:")
    assert watched["alone"]["A"].returncode == 1
    assert "the node is up, but 127.0.0.1:" in watched["alone"]["A"].stderr
    assert "does not answer" in watched["alone"]["A"].stderr
    assert watched["alone"]["coordinator"].returncode == 1
    assert watched["after"].returncode == 1
    assert set(watched["codes"].values()) == {0}
    for node in watched["federation"].nodes.values():
        assert not (node.folder / "node.pulse").exists()


def test_the_coordinator_tells_how_rounds_went(watched):
    assert watched["round"].returncode == 0, watched["round"].stderr
    said, seen = json.loads(watched["round"].stdout), watched["coordinator"]
    study, run = "watched", said["run"].rpartition("/")[2]
    assert value(seen, "fedpriv_readable") == 1
    assert value(seen, "fedpriv_rounds_total", study=study, outcome="complete") == 1
    assert value(seen, "fedpriv_rounds_total", study=study, outcome="failed") == 0
    assert value(seen, "fedpriv_last_run_cohort", study=study, run=run) == 2
    assert value(seen, "fedpriv_last_run_rounds_planned", study=study, run=run) == 4
    spent = value(seen, "fedpriv_last_run_epsilon", study=study, run=run)
    assert spent == pytest.approx(said["epsilon"])
    promised = watched["federation"].study_path.read_text()
    epsilon = parse_study(promised, "the study").privacy.epsilon
    left = value(seen, "fedpriv_last_run_epsilon_left", study=study, run=run)
    assert left == pytest.approx(epsilon - spent)
    assert {value(seen, "fedpriv_hospital_online", hospital=name) for name in "AB"} == {1}
    for stage, seconds in said["rounds"][0]["seconds"].items():
        assert value(seen, "fedpriv_stage_seconds_count", study=study, stage=stage) == 1
        assert value(seen, "fedpriv_stage_seconds_sum", study=study, stage=stage) == pytest.approx(seconds)
    sent = value(seen, "fedpriv_exchanged_bytes_total", stage="advertise", direction="sent")
    got = value(seen, "fedpriv_exchanged_bytes_total", stage="upload", direction="received")
    assert sent > 1000
    assert got > 1000
    for certificate in ("authority", "server"):
        name = "fedpriv_certificate_expires_timestamp_seconds"
        assert value(seen, name, certificate=certificate) > time.time()
    assert value(seen, "fedpriv_disk_free_bytes") > 0


def test_a_node_tells_its_link_and_its_budget_if_its_admin_wants_that(watched):
    seen = watched["node"]
    assert value(seen, "fedpriv_readable") == 1
    assert value(seen, "fedpriv_state", state="idle") == 1
    assert sum(number for (name, _), number in seen.items() if name == "fedpriv_state") == 1
    assert value(seen, "fedpriv_rounds_closed_total") == 1
    assert value(seen, "fedpriv_rounds_charged_total", dataset="smears-A") == 1
    spent = value(seen, "fedpriv_epsilon_spent", dataset="smears-A")
    assert spent == pytest.approx(value_of_budget(watched, "A"))
    assert value(seen, "fedpriv_epsilon_left", dataset="smears-A") > 0
    assert value(seen, "fedpriv_certificate_expires_timestamp_seconds", certificate="authority") > time.time()


def value_of_budget(watched, name):
    done = fedpriv("node", "budget", "--home", watched["federation"].nodes[name].folder, "--json")
    return json.loads(done.stdout)["epsilon"]


def test_no_metric_of_a_node_depends_on_its_images(watched):
    """A closed list: whoever adds one has to say here that it is public, or known to the coordinator."""
    assert {name for name, _ in watched["node"]} == {
        "fedpriv_readable",
        "fedpriv_info",
        "fedpriv_state",
        "fedpriv_rounds_closed_total",
        "fedpriv_rounds_charged_total",
        "fedpriv_epsilon_spent",
        "fedpriv_epsilon_left",
        "fedpriv_journal_rows_total",
        "fedpriv_certificate_expires_timestamp_seconds",
        "fedpriv_disk_free_bytes",
    }  # and fedpriv_refusals_total, which has no sample before the first refusal


def logs_of(watched):
    """Everything that any process logged or printed, by file."""
    federation = watched["federation"]
    root = federation.coordinator.folder.parent
    files = [*root.rglob("*.log"), *root.rglob("*.log.*"), *root.rglob("*.pulse")]
    found = {path.relative_to(root): path.read_text() for path in files}
    found[Path("round")] = watched["round"].stderr
    return found


def test_every_line_is_one_json_object_that_says_when_what_and_about_whom(watched):
    logged = {path: text for path, text in logs_of(watched).items() if path.name != "superlink.log"}
    assert {path.name for path in logged} == {
        *("node.log", "coordinator.log", "rounds.log", "output.log", "round"),
    }
    keys = {"time", "level", "event", "logger", "message", *About.__annotations__}
    for path, text in logged.items():
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines, path
        assert all({"time", "level", "event", "message"} <= line.keys() <= keys for line in lines), path
    node = [json.loads(line) for line in logged[Path("hospital-A/logs/node.log")].splitlines()]
    assert {line["hospital"] for line in node} == {"A"}
    events = [line["event"] for line in node if line["event"] != "log"]
    assert events[:5] == ["link_connecting", "link_connected", "round_began", "charged", "round_closed"]
    assert events[-1] == "stopped"
    run = json.loads(watched["round"].stdout)["run"].rpartition("-")[2]
    assert {line["run"] for line in node if "run" in line} == {run}
    rounds = [json.loads(line) for line in logged[Path("round")].splitlines()]
    stages = [line["stage"] for line in rounds if line["event"] == "stage_over"]
    assert stages == ["ADVERTISE", "SHARE", "UPLOAD", "AGREE", "UNMASK", "CLOSE"]
    assert rounds[-1]["event"] == "round_complete"


def private_keys(folder):
    """Each private key below ``folder`` as a log could hold it: lines of PEM, hex and base64 of the bytes."""
    files = [path for pattern in ("*.pem", "*.key") for path in folder.rglob(pattern)]
    for path in files:
        text = path.read_text()
        yield from (line for line in text.splitlines() if len(line) > 40)
        if "PRIVATE KEY" in text:
            key = load_pem_private_key(text.encode(), password=None)
            der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            raw = der[-32:] if len(der) < 60 else der[30:80]
            yield from (raw.hex(), base64.b64encode(raw).decode()[:40], repr(raw)[2:30])


def test_no_log_holds_a_key(watched):
    root = watched["federation"].coordinator.folder.parent
    secrets = set(private_keys(root))
    assert PLANTED in secrets
    assert len(secrets) > 20
    written = "\n".join(logs_of(watched).values())
    assert len(written) > 3000
    assert [secret for secret in secrets if secret in written] == []
    metrics = repr(watched["node"]) + repr(watched["coordinator"])
    assert [secret for secret in secrets if secret in metrics] == []
