import pytest


@pytest.fixture
def enrolled(fedpriv, tmp_path):
    """A coordinator and three hospitals, up to the roster."""
    assert fedpriv("coordinator", "init", "--home", "coordinator").code == 0
    for name in "ABC":
        assert fedpriv("keys", "new", name, "--home", name).code == 0
    requests = [f"{name}/{name}.request.toml" for name in "ABC"]
    outcome = fedpriv("keys", "enrol", *requests, "--federation", "demo", "--home", "coordinator")
    assert outcome.code == 0
    for name in "ABC":
        signed = fedpriv("keys", "countersign", "coordinator/roster.draft.toml", "--yes", "--home", name)
        assert signed.code == 0
    assert seal(fedpriv).code == 0
    return tmp_path


def seal(fedpriv):
    files = [f"{name}/{name}.countersignature.toml" for name in "ABC"]
    return fedpriv("keys", "seal", *files, "--home", "coordinator")


def fingerprint_in(text, start):
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [start]]
    return " ".join(line.split()[1:9])


def test_the_ceremony_ends_with_one_roster_in_every_home(enrolled, fedpriv):
    for name in "ABC":
        outcome = fedpriv("keys", "roster", "coordinator/roster.toml", "--pin", "--yes", "--home", name)
        assert outcome.code == 0
        assert "pinned in" in outcome.err
    pinned = {(enrolled / name / "roster.toml").read_text() for name in "ABC"}
    assert pinned == {(enrolled / "coordinator" / "roster.toml").read_text()}


def test_hospital_operator_and_roster_show_the_same_digits(enrolled, fedpriv):
    shown = fedpriv("keys", "show", "--home", "B")
    digits = fingerprint_in(shown.out, "B")
    assert len(digits) == 47
    listed = fedpriv("keys", "roster", "coordinator/roster.toml")
    assert fingerprint_in(listed.out, "B") == digits
    as_json = fedpriv("keys", "roster", "coordinator/roster.toml", "--json").json
    assert as_json["hospitals"]["B"] == digits
    assert as_json["coordinator"] == "coordinator"
    assert as_json["fingerprint"] == fingerprint_in(listed.out, "demo")
    assert fedpriv("keys", "show", "--home", "B", "--json").json["fingerprint"] == digits


def test_no_command_prints_a_private_key(enrolled, fedpriv):
    secret = (enrolled / "A" / "identity" / "signing.pem").read_text().splitlines()[1]
    for arguments in (
        ["show", "--home", "A"],
        ["show", "--home", "A", "--json"],
        ["roster", "coordinator/roster.toml"],
    ):
        outcome = fedpriv("keys", *arguments)
        assert secret not in outcome.out + outcome.err
    assert secret not in (enrolled / "A" / "A.request.toml").read_text()


def test_keys_are_never_overwritten(enrolled, fedpriv):
    before = (enrolled / "A" / "identity" / "signing.pem").read_bytes()
    outcome = fedpriv("keys", "new", "A", "--home", "A")
    assert outcome.code == 2
    assert outcome.err.startswith("error: A/identity exists already\nhint: ")
    assert (enrolled / "A" / "identity" / "signing.pem").read_bytes() == before


def test_a_key_that_others_can_read_is_one_line_and_exit_code_2(enrolled, fedpriv):
    (enrolled / "A" / "identity" / "signing.pem").chmod(0o644)
    outcome = fedpriv("keys", "show", "--home", "A")
    assert outcome.code == 2
    assert outcome.out == ""
    error, hint = outcome.err.splitlines()
    assert error == "error: A/identity/signing.pem is open to other users (mode 644)"
    assert hint.startswith("hint: run `chmod 600 A/identity/signing.pem`")


def test_an_edited_request_is_caught_and_no_roster_is_written(enrolled, fedpriv):
    request = enrolled / "A" / "A.request.toml"
    request.write_text(request.read_text().replace('name = "A"', 'name = "Z"'))
    (enrolled / "coordinator" / "roster.toml").unlink()
    outcome = fedpriv("keys", "enrol", request, "--federation", "demo", "--home", "coordinator")
    assert outcome.code == 2
    assert "the request of Z was changed after it was signed" in outcome.err
    assert not (enrolled / "coordinator" / "roster.toml").exists()


def test_a_roster_with_another_key_for_us_is_not_pinned(enrolled, fedpriv):
    fedpriv("keys", "new", "A", "--home", "impostor")
    outcome = fedpriv("keys", "roster", "coordinator/roster.toml", "--pin", "--yes", "--home", "impostor")
    assert outcome.code == 2
    assert "the roster has another key for A than impostor/identity" in outcome.err
    assert not (enrolled / "impostor" / "roster.toml").exists()


def test_a_roster_without_this_hospital_is_not_pinned(enrolled, fedpriv):
    fedpriv("keys", "new", "D", "--home", "D")
    outcome = fedpriv("keys", "roster", "coordinator/roster.toml", "--pin", "--yes", "--home", "D")
    assert outcome.code == 2
    assert "has no hospital D; it has A, B, C" in outcome.err


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_pinning_asks_whether_the_digits_were_compared(enrolled, fedpriv, monkeypatch, answer, code):
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda prompt: answer)
    outcome = fedpriv("keys", "roster", "coordinator/roster.toml", "--pin", "--home", "A")
    assert outcome.code == code
    assert (enrolled / "A" / "roster.toml").exists() == (answer == "y")


def test_a_bad_name_is_refused_before_anything_is_written(fedpriv, tmp_path):
    outcome = fedpriv("keys", "new", "../x", "--home", "home")
    assert outcome.code == 2
    assert outcome.err.startswith("error: '../x' is not a name")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["new", "show", "rotate", "enrol", "countersign", "seal", "roster"])
def test_every_command_has_help_with_an_example(fedpriv, command):
    outcome = fedpriv("keys", command, "--help")
    assert outcome.code == 0
    assert f"Example: fedpriv keys {command}" in " ".join(outcome.out.split())
