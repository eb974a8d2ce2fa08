"""Every byte that a coordinator receives in a run, decrypted: no update, no count, no loss, no accuracy."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.federations import QUICK, small_study
from support.wiretap import Wiretap

from fedpriv.cli.local_federation import found
from fedpriv.coordinator import service
from fedpriv.coordinator.rounds import Coordinator
from fedpriv.secagg import messages
from fedpriv.secagg.messages import Stage
from fedpriv.secagg.ring import layout_for, pack, quantise

ROUNDS = 2
NODE = Path(__file__).with_name("planted_node.py")

REPLIES = {
    Stage.ADVERTISE: messages.Advertisement,
    Stage.SHARE: messages.ShareDelivery,
    Stage.UPLOAD: messages.MaskedUpdate,
    Stage.AGREE: messages.Agreement,
    Stage.UNMASK: messages.UnmaskShares,
    Stage.CLOSE: messages.Closed,
}

# Everything that a hospital may ever say, by type. Whoever adds a field must add it here, and say why.
SCHEMA = {
    "Advertisement": (
        "name run round roster_digest study_digest model_digest channel_key mask_key journal_head signature"
    ),
    "ShareDelivery": "commitment ciphertexts",
    "Commitment": "name cohort_digest self_mask_digest ciphertexts_digest signature",
    "Addressed": "name ciphertext",
    "MaskedUpdate": "name context vector_digest signature",
    "Agreement": "name context survivors_digest signature",
    "UnmaskShares": "name context self_mask_shares mask_key_shares signature",
    "HeldShare": "owner share",
    "Closed": "name receipt_digest journal_head signature",
    "Refusal": "code",
}


def clear_forms(update, study):
    """The planted update in every form in which a careless system would send it."""
    rules = study.secure_aggregation
    fixed = quantise(update, study.training.update_range, rules.bits)
    return {
        "float32": update.astype("<f4").tobytes(),
        "float64": update.astype("<f8").tobytes(),
        "big-endian float32": update.astype(">f4").tobytes(),
        "int64": fixed.astype("<i8").tobytes(),
        "uint16": fixed.astype("<u2").tobytes(),
        "uint32": fixed.astype("<u4").tobytes(),
        "packed, without masks": pack(fixed, layout_for(rules.bits, len(study.hospitals))).tobytes(),
    }


def contains(recording, secret, window=24):
    """Whether any of many windows of ``secret`` occurs; frames may cut it anywhere, so none is longer."""
    starts = range(0, len(secret) - window, max(window, len(secret) // 400))
    return any(secret[start : start + window] in recording for start in starts)


class Listening:
    """A link that keeps every reply which the coordinator's own code gets to see."""

    def __init__(self, link):
        self._link = link
        self.replies = []

    def online(self):
        return self._link.online()

    def ask(self, requests, deadline_s):
        for name, answer in self._link.ask(requests, deadline_s):
            self.replies.append(answer)
            yield name, answer


@dataclass
class Recorded:
    """Two rounds through the wiretap, with updates known to the test."""

    up: bytes
    down: bytes
    replies: list
    updates: dict
    study: object
    ended: list
    first: object
    last: object


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, datasets):
    folder = tmp_path_factory.mktemp("wiretapped")
    study = small_study(rounds=ROUNDS, update_range=1.0)
    first = service.first_vector(study)
    rng = np.random.default_rng(1)
    updates = {name: rng.uniform(-1, 1, first.size).astype(np.float32) for name in study.names}
    with found(folder, study, datasets, QUICK) as federation:
        coordinator = federation.coordinator
        federation.start_coordinator()
        port = int(coordinator.config.listen.fleet.rpartition(":")[2])
        with Wiretap(port, coordinator.tls_folder) as wiretap, service.link(coordinator) as connection:
            for name, node in federation.nodes.items():
                config = node.folder / "node.toml"
                config.write_text(config.read_text().replace(f":{port}", f":{wiretap.port}"))
                update = folder / f"{name}.npy"
                np.save(update, updates[name])
                federation.processes[name] = subprocess.Popen([sys.executable, NODE, node.folder, update])
            run = service.choose_run(coordinator, study_path=federation.study_path, name=None)
            listening = Listening(connection)
            rounds = Coordinator(
                run=run,
                link=listening,
                identity=coordinator.identity(),
                roster=coordinator.roster(),
                deadlines=QUICK,
                observe=lambda event: None,
                known_heads={},
            )
            ended = [rounds.run_round(position, ROUNDS) for position in range(1, ROUNDS + 1)]
            return Recorded(
                up=bytes(wiretap.up),
                down=bytes(wiretap.down),
                replies=listening.replies,
                updates=updates,
                study=study,
                ended=ended,
                first=first,
                last=run.latest_vector(),
            )


def test_the_updates_were_really_sent(recorded):
    """The model moved by the planted updates, up to rounding: one step of the code a hospital and round."""
    assert [line.cohort for line in recorded.ended] == [recorded.study.names] * ROUNDS
    bits, limit = recorded.study.secure_aggregation.bits, recorded.study.training.update_range
    moved = recorded.first + ROUNDS * sum(recorded.updates.values())
    step = limit / (2 ** (bits - 1) - 1)
    assert np.abs(moved - recorded.last).max() <= ROUNDS * len(recorded.updates) * step


def test_the_wire_carries_no_update(recorded):
    for update in recorded.updates.values():
        for form, secret in clear_forms(update, recorded.study).items():
            assert not contains(recorded.up, secret), form


def test_the_search_finds_what_is_there(recorded):
    assert contains(recorded.down, recorded.first.astype("<f4").tobytes())  # the model travels in clear
    uploads = [answer for answer in recorded.replies if answer.stage is Stage.UPLOAD]
    assert len(uploads) == ROUNDS * len(recorded.updates)
    assert all(contains(recorded.up, answer.vector) for answer in uploads)


def test_every_reply_is_of_the_closed_schema(recorded):
    assert len(recorded.replies) == ROUNDS * len(recorded.updates) * len(Stage)
    for answer in recorded.replies:
        message = messages.decode(answer.body, REPLIES[answer.stage])
        assert type(message).__name__ in SCHEMA
        assert bool(answer.vector) == (answer.stage is Stage.UPLOAD)


@pytest.mark.parametrize("name", SCHEMA)
def test_no_message_has_grown_a_field(name):
    kind = getattr(messages, name)
    assert {field.name for field in msgspec.structs.fields(kind)} == set(SCHEMA[name].split())


def test_replies_of_one_stage_are_equally_long_whatever_the_data(recorded):
    """A count, a loss or a text would show in the length of somebody's reply."""
    for stage in Stage:
        lengths = {
            (len(answer.body), len(answer.vector)) for answer in recorded.replies if answer.stage is stage
        }
        assert len(lengths) == 1, stage
