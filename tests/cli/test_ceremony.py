"""keys/README.md, typed by four people at four desks; and each step of it done wrongly."""

import datetime as dt
import re
import shlex
import shutil
from pathlib import Path

import pytest

from fedpriv.cli.main import exit_code_of
from fedpriv.coordinator.home import open_home
from fedpriv.identity import keys, tls
from fedpriv.identity.roster import load_roster
from fedpriv.node.journal import Journal

SCRIPT = (Path(__file__).parents[2] / "keys" / "README.md").read_text()


def blocks(chapter):
    """The commands of each block of a chapter, in order."""
    _, _, rest = SCRIPT.partition(f"\n## {chapter}\n")
    found = re.findall(r"```console\n(.*?)```", rest.partition("\n## ")[0], re.DOTALL)
    return [re.findall(r"\$ (.*)", block) for block in found]


[NEW], [ENROL], [COUNTERSIGN], [SEAL], [PIN] = blocks("The first roster")
CHANGES = blocks("Changes")


class People:
    """Desks of hospitals and of the operator, K; each has one home, and the mail that came."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: "y")

    def desk(self, name):
        return self.folder / f"desk-{name}"

    def home(self, name):
        return self.desk(name) / name

    def type(self, line, code=0):
        """Type a line at the desk of the home that it names; what it said."""
        name = shlex.split(line)[-1]
        self.desk(name).mkdir(exist_ok=True)
        self.monkeypatch.chdir(self.desk(name))
        self.capsys.readouterr()
        given = exit_code_of(shlex.split(line)[1:])
        said = self.capsys.readouterr()
        assert given == code, f"{line}\n{said.out}\n{said.err}"
        if code:
            error, *hint = said.err.splitlines()
            assert error.startswith("error: ")
            assert len(hint) <= 1
            assert all(line.startswith("hint: ") for line in hint)
            return error.removeprefix("error: ")
        return said.out

    def mail(self):
        """Requests and countersignatures to the operator, drafts and rosters to the hospitals."""
        desks = sorted(self.folder.glob("desk-?"))
        for desk in desks:
            for file in desk.glob("?/*.request.toml"), desk.glob("?/*.countersignature.toml"):
                for path in file:
                    shutil.copy(path, self.desk("K"))
            for path in self.home("K").glob("roster*.toml"):
                shutil.copy(path, desk)

    def all(self, line, names):
        """The line as A types it, by each of ``names``."""
        return [self.type(re.sub(r"\bA\b", name, line)) for name in names]

    def agree(self, names):
        """Countersign, seal and pin what the operator has drafted; what sealing said."""
        self.mail()
        self.all(COUNTERSIGN, names)
        self.mail()
        files = " ".join(f"{name}.countersignature.toml" for name in names)
        sealed = self.type(f"fedpriv keys seal {files} --home K")
        self.mail()
        self.all(PIN, names)
        return sealed

    @property
    def roster(self):
        return load_roster(self.home("K") / "roster.toml")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The first roster, drafted and countersigned by everybody, not sealed."""
    folder = tmp_path_factory.mktemp("people")
    with pytest.MonkeyPatch.context() as patch:
        people = People(folder, patch, Silent())
        people.type("fedpriv coordinator init --name consortium --home K")
        people.all(NEW, "ABC")
        people.mail()
        people.type(ENROL)
        people.mail()
        people.all(COUNTERSIGN, "ABC")
        people.mail()
    return folder


class Silent:
    """Stands in for pytest's ``capsys``, which no fixture of a module can have."""

    def readouterr(self):
        return self

    out = err = ""


@pytest.fixture
def people(begun, tmp_path, monkeypatch, capsys):
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    return People(tmp_path, monkeypatch, capsys)


@pytest.fixture
def pinned(people):
    people.type(SEAL)
    people.mail()
    people.all(PIN, "ABC")
    return people


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def tree_of(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock"))
    }


def refused(people, line, message, code=2):
    """Refused with one line and perhaps a hint, and nothing at that desk is changed."""
    desk = people.desk(shlex.split(line)[-1])
    before = tree_of(desk)
    assert message in people.type(line, code)
    assert tree_of(desk) == before


def test_the_script_ends_with_one_roster_everywhere(pinned):
    texts = {(pinned.home(name) / "roster.toml").read_text() for name in "ABCK"}
    assert len(texts) == 1
    assert pinned.roster.number == 1
    assert not (pinned.home("K") / "roster.draft.toml").exists()


def test_everybody_reads_the_same_words_and_digits(pinned):
    said = {pinned.type(f"fedpriv keys roster roster.toml --home {name}") for name in "ABC"}
    (text,) = said
    digits, words = text.splitlines()[:2]
    assert digits.split(maxsplit=1) == ["leukaemia", pinned.roster.fingerprint]
    assert words.strip() == pinned.roster.words
    shown = pinned.type("fedpriv keys show --home B").splitlines()
    assert shown[0].removeprefix("B  ") in text
    assert shown[1].strip() in text


def test_every_change_of_the_script_in_its_order(pinned):
    """Exchange, coordinator, certificates, loss, leave, join: each a roster that everybody pins, or none."""
    members, told = "ABC", []
    for lines in CHANGES:
        joined = " ".join(lines)
        number, before = pinned.roster.number, {name: tree_of(pinned.home(name)) for name in members}
        if "--lost B" in joined:
            (pinned.home("B") / "identity").rename(pinned.desk("B") / "drowned")
        if "D.request" in joined:
            pinned.type("fedpriv keys new D --home D")
            pinned.mail()
        if "--leaves" in joined:
            members = "AB"
        for line in lines:
            said = pinned.type(line)
            pinned.mail()
        if "enrol" not in joined:
            assert {name: tree_of(pinned.home(name)) for name in members} == before
            continue
        told += [line.strip() for line in said.splitlines() if "change:" in line]
        members = members + "D" if "D.request" in joined else members
        pinned.agree(members)
        assert pinned.roster.number == number + 1
        for name in members:
            assert load_roster(pinned.home(name) / "roster.toml") == pinned.roster
            assert not (pinned.home(name) / "identity.next").exists()
    assert told == [
        "change: B has a new link key",
        "change: B has a new signing key",
        "change: consortium has a new signing key",
        "change: consortium has a new certificate authority",
        "change: B has a new link key",
        "change: B has a new signing key, and LOST the old one",
        "change: C leaves",
        "change: D joins",
    ]
    assert not list(pinned.home("K").glob("*.next"))


def test_the_link_key_alone(pinned):
    before = pinned.roster.member("B")
    pinned.type("fedpriv keys rotate --link-only --home B")
    pinned.mail()
    assert "change: B has a new link key\n" in pinned.type("fedpriv keys enrol B.request.toml --home K")
    pinned.agree("ABC")
    after = pinned.roster.member("B")
    assert after.signing_key == before.signing_key
    assert pinned.roster.retired_link_keys == (before.link_key,)


# Each step done wrongly.


def test_a_request_that_was_edited_on_the_way(people):
    edit(people.desk("K") / "A.request.toml", 'name = "A"', 'name = "Z"')
    refused(people, "fedpriv keys enrol A.request.toml --federation x --home K", "Z was changed after it was")


def test_a_wrong_fingerprint(people):
    other = load_roster(people.desk("A") / "roster.draft.toml").words.replace(" ", " the ", 1)
    for line in (
        f"fedpriv keys countersign roster.draft.toml --fingerprint '{other}' --home A",
        "fedpriv keys countersign roster.draft.toml --fingerprint '12345 67890' --home A",
    ):
        before = tree_of(people.desk("A"))
        assert exit_of(people, line) == (
            1,
            "the fingerprint of the roster is not the one that the others have",
        )
        assert tree_of(people.desk("A")) == before
    people.type(SEAL)
    people.mail()
    line = f"fedpriv keys roster roster.toml --pin --fingerprint '{other}' --home A"
    assert exit_of(people, line)[0] == 1
    assert not (people.home("A") / "roster.toml").exists()
    right = people.roster.words
    people.type(f"fedpriv keys roster roster.toml --pin --fingerprint '{right}' --home A")


def exit_of(people, line):
    """The exit code and the first words of the error, of a command that prints before it refuses."""
    people.monkeypatch.chdir(people.desk(shlex.split(line)[-1]))
    people.capsys.readouterr()
    code = exit_code_of(shlex.split(line)[1:])
    error, _ = people.capsys.readouterr().err.splitlines()
    return code, error.removeprefix("error: ").partition(":")[0]


def test_no_as_the_answer_to_the_question(people):
    people.monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: "n")
    file = people.home("A") / "A.countersignature.toml"
    file.unlink()
    assert exit_of(people, COUNTERSIGN)[0] == 1
    assert not file.exists()


def test_a_draft_that_was_edited_on_its_way_to_one_hospital(people):
    """B is shown a key of somebody else for A; who compares words notices, and sealing in any case."""
    people.type("fedpriv keys new A --home Z")
    false = keys.load(people.home("Z") / "identity").signing_public_key.hex()
    edit(people.desk("B") / "roster.draft.toml", people_key(people, "A"), false)
    words = load_roster(people.desk("A") / "roster.draft.toml").words
    line = f"fedpriv keys countersign roster.draft.toml --fingerprint '{words}' --home B"
    assert exit_of(people, line)[0] == 1
    people.type("fedpriv keys countersign roster.draft.toml --yes --home B")
    shutil.copy(people.home("B") / "B.countersignature.toml", people.desk("K"))
    refused(people, SEAL, "B.countersignature.toml: it is for another roster than the draft")


def people_key(people, name):
    return keys.load(people.home(name) / "identity").signing_public_key.hex()


def test_our_own_key_was_exchanged_in_the_draft(people):
    people.type("fedpriv keys new A --home Z")
    false = keys.load(people.home("Z") / "identity").signing_public_key.hex()
    edit(people.desk("A") / "roster.draft.toml", people_key(people, "A"), false)
    refused(people, COUNTERSIGN, "the roster has another key for A than A/identity")


def test_a_missing_countersignature(people):
    short = "fedpriv keys seal A.countersignature.toml B.countersignature.toml --home K"
    refused(people, short, "the draft is not countersigned by C")
    refused(people, short.replace(" B", " A", 1), "the draft is not countersigned by B, C")


def test_a_draft_is_not_pinned(people):
    line = "fedpriv keys roster roster.draft.toml --pin --yes --home A"
    assert exit_of(people, line) == (
        2,
        "roster number 1 is not countersigned by A, B, C, consortium",
    )
    assert not (people.home("A") / "roster.toml").exists()


def test_the_wrong_persons_countersignature(people):
    """B signs in the name of A."""
    forged = people.desk("K") / "A.countersignature.toml"
    forged.write_text((people.desk("K") / "B.countersignature.toml").read_text().replace('"B"', '"A"'))
    refused(people, SEAL, "it is A's, whose key in the roster is another")


def test_a_roster_that_was_edited_after_it_was_sealed(people):
    people.type(SEAL)
    people.mail()
    edit(people.desk("A") / "roster.toml", 'federation = "leukaemia"', 'federation = "leukemia"')
    line = PIN.replace("--pin", "--pin --yes")
    assert exit_of(people, line) == (2, "roster number 1 is not the one that A countersigned")


def test_a_stale_roster(pinned):
    pinned.type("fedpriv keys enrol --leaves C --home K")
    pinned.agree("AB")
    old = pinned.desk("A") / "old.toml"
    shutil.copy(pinned.home("C") / "roster.toml", old)
    line = "fedpriv keys roster old.toml --pin --yes --home A"
    assert exit_of(pinned, line) == (2, "roster number 1 is older than number 2, which is pinned here")
    shutil.copy(old, pinned.home("A") / "roster.toml")
    (pinned.desk("A") / "smears").mkdir()
    pinned.type("fedpriv node init --name A --images smears --coordinator localhost:9092 --home A")
    code, error = exit_of(pinned, "fedpriv node start --home A")
    assert code == 2
    assert error.startswith("A/roster.toml was exchanged")


def test_a_draft_of_an_older_roster(pinned):
    """Two drafts follow the first roster; once one is sealed, the other follows nothing."""
    pinned.type("fedpriv keys enrol --leaves B --home K")
    draft = pinned.home("K") / "roster.draft.toml"
    shutil.copy(draft, pinned.desk("K") / "kept.toml")
    pinned.type("fedpriv keys enrol --leaves C --home K")
    pinned.agree("AB")
    shutil.copy(pinned.desk("K") / "kept.toml", draft)
    refused(
        pinned,
        "fedpriv keys seal A.countersignature.toml --home K",
        "K/roster.draft.toml does not follow the roster in force",
    )


@pytest.mark.parametrize(
    "change", ["--leaves C", "D.request.toml", "B.request.toml", "B.request.toml --lost B"]
)
def test_no_change_within_a_round(pinned, change):
    """Leave, join, exchange and loss: refused while rounds are run, and while the node is at work."""
    if "--lost" in change:
        shutil.rmtree(pinned.home("B") / "identity")
        pinned.type("fedpriv keys rotate --lost B --home B")
    elif change.startswith("B"):
        pinned.type("fedpriv keys rotate --home B")
    pinned.type("fedpriv keys new D --home D")
    pinned.mail()
    members = {"--leaves C": "AB", "D.request.toml": "ABCD"}.get(change, "ABC")
    pinned.type(f"fedpriv keys enrol {change} --home K")
    pinned.mail()
    pinned.all(COUNTERSIGN, members)
    pinned.mail()
    seal = f"fedpriv keys seal {' '.join(f'{name}.countersignature.toml' for name in members)} --home K"
    with open_home(pinned.home("K")).one_command():
        refused(pinned, seal, "another command is running rounds in K")
    pinned.type(seal)
    pinned.mail()
    with Journal(pinned.home("A"), keys.load(pinned.home("A") / "identity")):
        line = PIN.replace("--pin", "--pin --yes")
        assert exit_of(pinned, line) == (2, "another process is writing the journal in A")
    pinned.all(PIN, members)


def test_a_certificate_is_not_renewed_within_a_round(pinned):
    with open_home(pinned.home("K")).one_command():
        refused(pinned, "fedpriv coordinator certificate --home K", "another command is running rounds in K")


def test_a_lost_key_that_nobody_was_told_of(pinned):
    """Without --lost the draft waits for the old key, which cannot sign."""
    shutil.rmtree(pinned.home("B") / "identity")
    pinned.type("fedpriv keys rotate --lost B --home B")
    pinned.mail()
    pinned.type("fedpriv keys enrol B.request.toml --home K")
    pinned.mail()
    pinned.all(COUNTERSIGN, "ABC")
    pinned.mail()
    refused(pinned, SEAL, "the draft is not countersigned by B (by the old key)")


def test_keys_that_are_not_lost_are_not_called_so(pinned):
    refused(pinned, "fedpriv keys rotate --lost B --home B", "its keys can agree to their own end")
    refused(pinned, "fedpriv keys enrol --lost B --home K", "B is named among the lost keys")


def test_a_key_that_was_taken_out_does_not_come_back(pinned):
    pinned.type("fedpriv keys enrol --leaves C --home K")
    pinned.agree("AB")
    refused(pinned, "fedpriv keys enrol C.request.toml --home K", "key of C was in an earlier roster already")


def test_an_authority_that_has_expired(people, monkeypatch):
    """It was sound when the draft was countersigned; years later it is not sealed, nor pinned, nor used."""

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime(2100, 1, 1, tzinfo=tz)

    people.type(SEAL)
    people.mail()
    with monkeypatch.context() as patch:
        patch.setattr("datetime.datetime", Later)
        line = PIN.replace("--pin", "--pin --yes")
        assert exit_of(people, line)[1].startswith(
            "the certificate authority in the roster of leukaemia expired"
        )
        assert exit_of(people, COUNTERSIGN) == (2, "roster.draft.toml")


def test_a_server_certificate_that_has_expired(pinned, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tls, "SERVER_VALIDITY", dt.timedelta(seconds=-60))
        pinned.type("fedpriv coordinator certificate --home K")
    code, error = exit_of(pinned, "fedpriv coordinator start --home K")
    assert code == 2
    assert error.startswith("K/tls/server.crt expired on ")
    pinned.type("fedpriv coordinator certificate --host localhost --home K")
    names = tls.server_hosts((pinned.home("K") / "tls/server.crt").read_bytes())
    assert names == ("localhost", "127.0.0.1")


def test_things_to_seal_that_are_not_there(pinned):
    refused(pinned, SEAL, "K/roster.draft.toml: no draft")
    pinned.type("fedpriv coordinator certificate --new-authority --home K")
    again = "fedpriv coordinator certificate --new-authority --home K"
    refused(pinned, again, "K/tls.next exists already")
    other = "fedpriv keys enrol --federation other --home K"
    refused(pinned, other, "the federation is leukaemia, not other")


def test_a_draft_made_before_the_coordinators_keys_changed(people):
    people.type("fedpriv keys rotate --home K")
    refused(people, SEAL, "has other keys or certificates of the coordinator than")


def test_the_first_draft_needs_a_name_and_nobody_can_leave_it(people):
    refused(people, "fedpriv keys enrol A.request.toml --home K", "needs the name of the federation")
    line = "fedpriv keys enrol A.request.toml --federation x --leaves B --home K"
    refused(people, line, "there is no roster yet that anybody could leave")
