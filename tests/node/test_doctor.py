"""What a doctor finds: a healthy home, and one fault at a time, each with its line and its fix."""

import contextlib
import datetime as dt
import itertools
import json
import shutil
import socket
import ssl
import threading
from typing import NamedTuple

import pytest
from support.charges import charge, pictures
from support.rosters import pin_here, sealed
from support.studies import ENOUGH_NOISE, study_text

from fedpriv import diagnosis
from fedpriv.cli.main import exit_code_of
from fedpriv.diagnosis import Health
from fedpriv.dp.accounting import PrivacyEvent, composed_epsilon
from fedpriv.identity import keys, tls
from fedpriv.identity.enrolment import collect, new_request, succeed
from fedpriv.identity.roster import Operator, dump_roster
from fedpriv.identity.rotation import rotate
from fedpriv.node import doctor, doctor_link
from fedpriv.node.budget import rounds_that_fit
from fedpriv.node.doctor import examine
from fedpriv.node.events import Reserve
from fedpriv.node.home import Config, Dataset, init_home, open_home
from fedpriv.node.journal import DATABASE_FILE, HEAD_FILE
from fedpriv.node.policy import Policy
from fedpriv.smears.generate import generate
from fedpriv.smears.index import index_images
from fedpriv.smears.load import inspect_images
from fedpriv.smears.manifest import MANIFEST_NAME
from fedpriv.study import dump_study, parse_study

SECRETS = tls.new_server_credentials("test", ["127.0.0.1", "localhost"])
OPERATOR = keys.new_identity("consortium")
OTHERS = [keys.new_identity(name) for name in "BC"]
PATIENTS = 'unit = "patient"\nimages_per_patient = 2'


class Door:
    """A coordinator as far as a doctor can see one: it shakes hands and says nothing."""

    def __init__(self, folder, credentials):
        tls.save(credentials, folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / tls.SERVER_CERTIFICATE_FILE, folder / tls.SERVER_KEY_FILE)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(1)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture(autouse=True)
def clock_is_kept(monkeypatch):
    """Whether a time server keeps the clock of the machine that runs the tests is no matter of theirs."""
    monkeypatch.setattr(diagnosis, "clock_is_kept", lambda: True)


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    opened = Door(tmp_path_factory.mktemp("door") / "tls", SECRETS)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def smears(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smears") / "all"
    generate(folder, hospitals=1, patients_per_hospital=8, images_per_patient=2, seed=3)
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory, door, smears):
    """A home that is in order: 16 images of A, all of them trained on, and a study that declares them."""
    folder = tmp_path_factory.mktemp("home") / "A"
    identity = keys.new_identity("A")
    keys.save(identity, folder / "identity")
    home = init_home(
        folder,
        Config(
            name="A",
            coordinator=f"127.0.0.1:{door.port}",
            dataset=Dataset(name="smears", images=str(smears), hospital="A"),
            policy=Policy(smallest_cohort=2, largest_epsilon=8.0, largest_delta=1e-5, colluders=0),
        ),
    )
    operator = Operator("consortium", OPERATOR.signing_public_key, SECRETS.authority.certificate_pem)
    roster = collect("test", operator, [new_request(one) for one in (identity, *OTHERS)])
    pin_here(folder, sealed(roster, OPERATOR, identity, *OTHERS))
    approve(home, study())
    return folder


def study(*changes):
    full_batch = ("sampling_probability = 0.25", "sampling_probability = 1.0")
    text = study_text(("A = 100", "A = 16"), full_batch, *changes)
    return parse_study(text, "study").with_noise_multiplier(ENOUGH_NOISE)


def approve(home, wanted):
    path = home.folder.parent / f"{wanted.digest.hex()}.toml"
    path.write_text(dump_study(wanted))
    with home.open_journal() as journal:
        home.approve(journal, path)


@pytest.fixture
def home(template, tmp_path):
    return open_home(shutil.copytree(template, tmp_path / "A"))


def diagnoses(home):
    return {diagnosis.subject: diagnosis for diagnosis in examine(home.folder)}


def configure(home, old, new):
    path = home.folder / "node.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def own_images(home, smears, tmp_path):
    """Give the home a copy of the images, to be spoilt."""
    copy = shutil.copytree(smears, tmp_path / "copy")
    configure(home, str(smears), str(copy))
    return copy


def test_a_home_in_order_is_all_ok(home):
    found = list(examine(home.folder))
    assert [diagnosis for diagnosis in found if diagnosis.health is not Health.OK] == []
    assert [diagnosis.subject for diagnosis in found] == [
        *("versions", "node.toml", "disk", "permissions", "keys", "journal", "clock", "roster", "authority"),
        "coordinator",
        *("budget", "study small", "images", "units", "dataset", "patients", "image files"),
    ]


def test_what_an_admin_reads_over_the_phone_is_shown(home):
    found = diagnoses(home)
    assert home.roster(home.rows()).fingerprint in found["roster"].found
    assert "A, calls 127.0.0.1:" in found["node.toml"].found
    assert "epsilon 0 of 8 spent at delta 1e-05, 0 rounds" in found["budget"].found
    assert found["study small"].found == "0 rounds charged, 4 approved rounds left, all fit the budget"


def fails(home, subject, found, fix):
    diagnosis = diagnoses(home)[subject]
    assert diagnosis.health is Health.FAIL
    assert found in diagnosis.found
    assert fix in diagnosis.fix


# The home.


def test_a_broken_configuration_is_one_line_and_the_rest_is_not_asked(home):
    configure(home, "largest_epsilon", "largest_epslion")
    found = diagnoses(home)
    assert set(found) == {"versions", "node.toml"}
    assert "largest_epslion" in found["node.toml"].found


def test_no_home_at_all(tmp_path):
    (_, found) = examine(tmp_path)
    assert found.health is Health.FAIL
    assert "no node here" in found.found


def test_keys_that_others_can_read(home):
    (home.identity_folder / keys.SIGNING_KEY_FILE).chmod(0o644)
    fails(home, "keys", "is open to other users (mode 644)", "chmod 600")


def test_keys_of_another_hospital(home):
    configure(home, 'name = "A"', 'name = "B"')
    fails(home, "keys", "they are A's, and node.toml says B", "correct the name")


def test_no_roster_yet(home):
    home.roster_path.unlink()
    fails(home, "roster", "no roster yet", "fedpriv keys roster FILE --pin")


def test_a_roster_with_another_key_of_ours(home):
    shutil.rmtree(home.identity_folder)
    keys.save(keys.new_identity("A"), home.identity_folder)
    fails(home, "roster", "has another key for A", "send the operator the new request file")


def test_a_package_that_is_gone(home, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    fails(home, "versions", "not installed: no-such-package", "install fedpriv again")


def test_a_roster_that_was_exchanged(home):
    roster = home.given_roster()
    shorter = succeed(roster, roster.coordinator, [], leaves=["C"])
    home.roster_path.write_text(dump_roster(sealed(shorter, OPERATOR, home.identity(), OTHERS[0])))
    fails(home, "roster", "was exchanged: it is number 2 of test", "who changed the file")


def test_a_roster_that_was_edited(home):
    path = home.roster_path
    path.write_text(path.read_text().replace('federation = "test"', 'federation = "tost"'))
    fails(home, "roster", "is not the one that A countersigned", "over the phone")


def test_an_authority_that_has_ended(home, monkeypatch):
    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime(2100, 1, 1, tzinfo=tz)

    monkeypatch.setattr("fedpriv.node.doctor.dt.datetime", Later)
    fails(home, "authority", "not today", "the operator makes a new authority and roster")


def test_keys_that_wait_for_a_roster(home):
    rotate(home.folder)
    found = diagnoses(home)["next keys"]
    assert found.health is Health.WARN
    assert "send their request to the operator" in found.fix


def test_files_that_others_can_write_or_read(home):
    (home.folder / "node.toml").chmod(0o666)
    fails(home, "permissions", "others can write", "chmod go-w")
    (home.folder / "node.toml").chmod(0o644)
    (home.folder / DATABASE_FILE).chmod(0o644)
    assert diagnoses(home)["permissions"].health is Health.WARN


def test_a_home_that_we_cannot_write(home, monkeypatch):
    monkeypatch.setattr(diagnosis.os, "access", lambda path, mode: False)
    fails(home, "permissions", "cannot be written", "as the owner of its home")


def test_a_clock_that_no_time_server_keeps(home, monkeypatch):
    monkeypatch.setattr(diagnosis, "clock_is_kept", lambda: False)
    found = diagnoses(home)["clock"]
    assert found.health is Health.WARN
    assert "NTP" in found.fix


def test_versions_of_another_member(home, tmp_path):
    own = next(iter(examine(home.folder)))
    theirs = tmp_path / "theirs.json"
    theirs.write_text(json.dumps([{"subject": "versions", "found": own.found}]))
    equal = {found.subject: found for found in examine(home.folder, compare=theirs)}["versions equal"]
    assert equal.health is Health.OK
    theirs.write_text(json.dumps([{"subject": "versions", "found": own.found.replace("flwr 1.", "flwr 9.")}]))
    equal = {found.subject: found for found in examine(home.folder, compare=theirs)}["versions equal"]
    assert equal.health is Health.WARN
    assert "flwr 1.27.0 here and 9.27.0 there" in equal.found


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "health"), [(5 * 10**7, Health.FAIL), (5 * 10**8, Health.WARN)])
def test_a_disk_that_is_nearly_full(home, monkeypatch, free, health):
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda folder: Usage(10**12, 10**12 - free, free))
    assert diagnoses(home)["disk"].health is health


# The journal.


def test_a_changed_byte_names_its_row(home):
    database = home.folder / DATABASE_FILE
    content = database.read_bytes()
    assert content.count(b'"study_name":"small"') == 1
    database.write_bytes(content.replace(b'"study_name":"small"', b'"study_name":"smell"'))
    fails(home, "journal", "journal row 2 was changed", "keep the folder as it is")


def test_a_deleted_last_row_names_it(home):
    (home.folder / HEAD_FILE).write_text(f"3 {'00' * 32}\n")
    fails(
        home, "journal", "journal row 3 is missing: journal.head names row 3", "rows were deleted at the end"
    )


def test_a_clock_that_went_back(home, monkeypatch):
    with home.open_journal() as journal, monkeypatch.context() as patch:
        patch.setattr("fedpriv.node.journal.time.time", lambda: 4e9)
        charge(home, journal, study(), 1, pictures(1))
    fails(home, "clock", "the last row of the journal is of 2096-10-02", "set the clock")


# Studies and the budget.


def test_a_study_whose_copy_is_gone(home):
    for copy in home.approved_folder.iterdir():
        copy.unlink()
    fails(home, "studies", "is missing, but the journal says it was approved", "put the study file back")


def test_a_policy_that_became_stricter(home):
    configure(home, "smallest_cohort = 2", "smallest_cohort = 3")
    fails(home, "study small", "policy smallest_cohort is 3", "change the policy if you may")


def spend_all_but(home, rounds):
    """Charge another study, until just ``rounds`` rounds of this one fit."""
    policy = home.config.policy
    with home.open_journal() as journal:
        for number in itertools.count(1):
            fit = rounds_that_fit(journal.rows, "smears", study(), policy)
            if fit <= rounds:
                break
            journal.append(
                Reserve(bytes(16), number, bytes(32), "smears", "image", PrivacyEvent(2.0, 1.0, 3), bytes(32))
            )
    assert fit == rounds


@pytest.mark.parametrize(("rounds", "health"), [(2, Health.WARN), (0, Health.FAIL)])
def test_a_budget_that_does_not_pay_for_the_study(home, rounds, health):
    spend_all_but(home, rounds)
    found = diagnoses(home)["study small"]
    assert found.health is health
    assert found.found.startswith("0 rounds charged, 4 approved rounds left")
    assert "the budget pays for 2" in found.found or "policy largest_epsilon is 8" in found.found
    assert "change the policy if you may" in found.fix


def test_a_study_that_is_over_is_no_fault(home):
    with home.open_journal() as journal:
        for number in range(1, 5):
            charge(home, journal, study(), number, pictures(1))
    assert diagnoses(home)["study small"].found == "4 rounds charged, 0 approved rounds left: it is over"


def test_nothing_approved_is_a_warning(home):
    for name in (DATABASE_FILE, HEAD_FILE, "journal.sqlite-wal", "journal.sqlite-shm"):
        (home.folder / name).unlink(missing_ok=True)
    found = diagnoses(home)["studies"]
    assert found.health is Health.WARN
    assert "fedpriv node approve STUDY" in found.fix


# The images.


def test_images_that_are_gone(home):
    configure(home, home.config.dataset.images, "/nowhere")
    assert diagnoses(home)["images"].health is Health.FAIL


def test_images_that_were_charged_under_another_name(home):
    with home.open_journal() as journal:
        charge(home, journal, study(), 1, inspect_images(home_index(home)).pictures)
    assert diagnoses(home)["dataset"].found == "smears, charged for 16 images"
    configure(home, 'name = "smears"', 'name = "new"')
    fails(
        home, "dataset", "the budget of smears was charged for images that are in new now", 'name = "smears"'
    )


def test_images_that_were_added_share_the_budget(home):
    assert diagnoses(home)["dataset"].found == "smears, never charged: the first round binds 16 images"
    with home.open_journal() as journal:
        charge(home, journal, study(), 1, inspect_images(home_index(home)).pictures[:10])
    found = diagnoses(home)["dataset"]
    assert found.health is Health.OK
    assert found.found == "smears, charged for 10 images; 6 are new here and share its budget"


def test_a_register_that_was_lost(home):
    with home.open_journal() as journal:
        charge(home, journal, study(), 1, pictures(1))
    shutil.rmtree(home.folder / "register")
    fails(home, "dataset", "it says which images were charged", "newest backup")


def home_index(home):
    dataset = home.config.dataset
    return index_images(home.images_path, study().study.classes).select(hospital=dataset.hospital)


def test_what_a_study_of_images_means_for_the_patient_with_most(home):
    epsilon = composed_epsilon([study().cost_of(4)], 1e-5, group_size=2).pld
    assert diagnoses(home)["patients"].found == (
        f"8; for the one with most images, all 2 of them together, small costs epsilon {epsilon:.4g} "
        "(not to be passed on)"
    )
    approve(home, study(('unit = "image"', PATIENTS), ("A = 16", "A = 8")))
    assert "patients" not in diagnoses(home)


def test_a_copy_of_an_image_is_no_unit(home, smears, tmp_path):
    copy = own_images(home, smears, tmp_path)
    manifest = copy / MANIFEST_NAME
    header, *rows = manifest.read_text().splitlines()
    first = rows[0].split(",")
    again = first[0].replace(".png", "-again.png")
    shutil.copy(copy / first[0], copy / again)
    manifest.write_text("\n".join([header, *rows, ",".join([again, *first[1:]])]) + "\n")
    found = diagnoses(home)
    assert found["images"].found.startswith("17 in ")
    assert found["units"].found == "16 images found, 16 declared in small"


@pytest.mark.parametrize(("on_bad", "health"), [("refuse", Health.FAIL), ("skip", Health.WARN)])
def test_an_image_that_cannot_be_read(home, smears, tmp_path, on_bad, health):
    copy = own_images(home, smears, tmp_path)
    spoilt = min(copy.glob("Benign/*.png"))
    spoilt.write_bytes(b"no image")
    configure(home, 'on_bad_image = "refuse"', f'on_bad_image = "{on_bad}"')
    found = diagnoses(home)
    assert found["unusable images"].health is health
    assert spoilt.name in found["unusable images"].found
    assert found["changed images"].health is Health.FAIL


def test_more_images_than_declared(home):
    approve(home, study(("A = 16", "A = 20")))
    found = diagnoses(home)["units"]
    assert found.health is Health.WARN
    assert found.found == "16 images found, 20 declared in small"


def test_a_study_of_patients_needs_their_ids(home, smears, tmp_path):
    patients = study(('unit = "image"', PATIENTS), ("A = 16", "A = 8"))
    approve(home, patients)
    assert diagnoses(home)["units"].found == "8 patients found, 8 declared in small"
    manifest = own_images(home, smears, tmp_path) / MANIFEST_NAME
    header, *rows = manifest.read_text().splitlines()
    drop = [header.split(",").index(column) for column in ("patient_id", "slide")]
    kept = [
        ",".join("" if place in drop else cell for place, cell in enumerate(row.split(","))) for row in rows
    ]
    manifest.write_text("\n".join([header, *kept]) + "\n")
    fails(home, "units", "16 images name no patient", "fill the column patient_id")


def test_the_same_file_and_patient_on_both_sides(home, smears, tmp_path):
    copy = own_images(home, smears, tmp_path)
    manifest = copy / MANIFEST_NAME
    header, *rows = manifest.read_text().splitlines()
    columns = header.split(",")
    cells = dict(zip(columns, rows[0].split(","), strict=True))
    original = copy / cells["file"]
    shutil.copy(original, original.with_name("again.png"))
    cells |= {"file": str(original.with_name("again.png").relative_to(copy)), "split": "test"}
    manifest.write_text("\n".join([header, *rows, ",".join(cells[column] for column in columns)]) + "\n")
    found = diagnoses(home)
    assert found["images in train and test"].health is Health.WARN
    assert found["patients in train and test"].found == cells["patient_id"]
    assert "fedpriv data split" in found["patients in train and test"].fix


# The coordinator.


def test_a_coordinator_that_is_away(home):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    configure(home, home.config.coordinator, f"127.0.0.1:{port}")
    fails(home, "coordinator", "does not answer: connection refused", "ask the operator")


def test_somebody_else_at_the_address(home, tmp_path):
    impostor = Door(tmp_path / "impostor", tls.new_server_credentials("other", ["127.0.0.1"]))
    configure(home, home.config.coordinator, f"127.0.0.1:{impostor.port}")
    fails(home, "coordinator", "is not the coordinator of the pinned roster", "by phone")
    impostor.close()


def test_a_certificate_for_another_name(home, tmp_path):
    misnamed = tls.issue_server_credentials(SECRETS.authority, ["fed.example.org"])
    other = Door(tmp_path / "misnamed", misnamed)
    configure(home, home.config.coordinator, f"127.0.0.1:{other.port}")
    fails(home, "coordinator", "IP address mismatch", "check the address")
    other.close()


@pytest.mark.parametrize(
    ("validity", "found"),
    [(dt.timedelta(seconds=-60), "no longer valid"), (dt.timedelta(days=9), "8 days left")],
)
def test_a_certificate_that_has_ended_or_soon_will(home, tmp_path, monkeypatch, validity, found):
    monkeypatch.setattr(tls, "SERVER_VALIDITY", validity)
    old = Door(tmp_path / "old", tls.issue_server_credentials(SECRETS.authority, ["127.0.0.1"]))
    configure(home, home.config.coordinator, f"127.0.0.1:{old.port}")
    diagnosis = diagnoses(home)["coordinator"]
    assert diagnosis.health is (Health.FAIL if validity < dt.timedelta(0) else Health.WARN)
    assert found in diagnosis.found
    assert "new server certificate" in diagnosis.fix
    old.close()


def test_something_that_does_not_speak_tls(home):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def greet():
            connection, _ = plain.accept()
            connection.sendall(b"220 a mail server\r\n")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        configure(home, home.config.coordinator, f"127.0.0.1:{plain.getsockname()[1]}")
        fails(home, "coordinator", "answers, but not with TLS", "check the address and the port")


def test_a_coordinator_that_says_nothing_is_given_up(home, monkeypatch):
    monkeypatch.setattr(doctor_link, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configure(home, home.config.coordinator, f"127.0.0.1:{silent.getsockname()[1]}")
        assert diagnoses(home)["coordinator"].health is Health.FAIL


# What an admin types.


@pytest.fixture
def fedpriv(capsys):
    def run(*arguments):
        capsys.readouterr()
        code = exit_code_of([str(argument) for argument in arguments])
        return code, capsys.readouterr()

    return run


def test_the_command_says_what_to_do_and_exits_with_1_if_something_fails(home, fedpriv):
    code, captured = fedpriv("node", "doctor", "--home", home.folder)
    assert code == 0
    assert captured.out.count("\nok ") == 16
    home.roster_path.unlink()
    code, captured = fedpriv("node", "doctor", "--home", home.folder)
    assert code == 1
    assert "fail  roster" in captured.out
    assert "-> ask the operator for it" in captured.out
    assert "error: 1 of 15 checks fail: roster" in captured.err


def test_as_json_every_line_has_its_health(home, fedpriv):
    code, captured = fedpriv("node", "doctor", "--home", home.folder, "--json")
    assert code == 0
    assert {line["health"] for line in json.loads(captured.out)} == {"ok"}


def test_it_changes_nothing_and_works_while_the_node_runs(home, fedpriv):
    def content():
        files = [path for path in home.folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
        return {path: path.read_bytes() for path in files}

    with home.open_journal():
        before = content()
        assert fedpriv("node", "doctor", "--home", home.folder)[0] == 0
        assert content() == before
