"""One image, one name: whatever is done to names, files and homes, no image is charged to two budgets."""

import hashlib

import pytest
from support.charges import pictures

from fedpriv.dp.accounting import PrivacyEvent
from fedpriv.errors import HomeError, PolicyRefused
from fedpriv.identity.keys import new_identity
from fedpriv.node import register as registers
from fedpriv.node.events import Reserve
from fedpriv.node.journal import Journal
from fedpriv.node.register import REGISTER_FOLDER, load_register, save_register
from fedpriv.secagg.refusal import RefusalCode


def start(home, journal, dataset, wanted):
    """What a node does before it trains on ``wanted``."""
    register = load_register(home, journal.rows).enter(dataset, wanted)
    return save_register(home, journal.rows, register)


def charge(home, journal, dataset, wanted):
    digest = start(home, journal, dataset, wanted)
    journal.append(Reserve(bytes(16), 1, bytes(32), dataset, "image", PrivacyEvent(1.0, 1.0, 1), digest))


def refused(call):
    with pytest.raises(PolicyRefused) as error:
        call()
    assert error.value.code is RefusalCode.POLICY
    return error.value


def test_another_name_for_charged_images_is_refused_with_the_name_that_they_have(tmp_path, journal):
    charge(tmp_path, journal, "smears", pictures(1, 2, 3))
    error = refused(lambda: start(tmp_path, journal, "new", pictures(1, 2, 3)))
    assert error.message == "the budget of smears was charged for images that are in new now"
    assert 'name = "smears" in [dataset]' in error.hint


def test_one_image_in_common_is_enough(tmp_path, journal):
    charge(tmp_path, journal, "smears", pictures(1, 2, 3))
    refused(lambda: start(tmp_path, journal, "new", pictures(3, 4, 5)))
    charge(tmp_path, journal, "new", pictures(4, 5))


def test_images_that_are_added_share_the_budget_of_the_name(tmp_path, journal):
    charge(tmp_path, journal, "smears", pictures(1))
    charge(tmp_path, journal, "smears", pictures(1, 2))
    assert len(load_register(tmp_path, journal.rows).of("smears").images) == 2
    refused(lambda: start(tmp_path, journal, "new", pictures(2)))


def test_images_that_are_taken_away_stay_charged(tmp_path, journal):
    charge(tmp_path, journal, "smears", pictures(1, 2))
    charge(tmp_path, journal, "smears", pictures(1))
    refused(lambda: start(tmp_path, journal, "new", pictures(2)))


def test_a_name_that_was_never_charged_binds_nothing(tmp_path, journal):
    """A mistyped name that was noticed in time costs nothing."""
    start(tmp_path, journal, "smaers", pictures(1, 2))
    charge(tmp_path, journal, "smears", pictures(1, 2))
    assert list(load_register(tmp_path, journal.rows).datasets) == ["smears"]
    refused(lambda: start(tmp_path, journal, "smaers", pictures(1, 2)))


def test_a_patient_belongs_to_one_name_as_well(tmp_path, journal):
    """So a new picture of a patient, or one compressed anew, does not escape where patients are known."""
    ada, bob = ("A", "ada"), ("A", "bob")
    charge(tmp_path, journal, "smears", pictures(1, person=ada))
    message = refused(lambda: start(tmp_path, journal, "new", pictures(2, person=ada))).message
    assert message == "the budget of smears was charged for patients that are in new now"
    start(tmp_path, journal, "new", pictures(2, person=bob))
    start(tmp_path, journal, "new", pictures(2, person=("B", "ada")))  # somebody else, of another hospital


def test_the_patient_with_most_images_is_counted_over_all_charges(tmp_path, journal):
    ada, bob = ("A", "ada"), ("A", "bob")
    charge(tmp_path, journal, "smears", pictures(1, 2, person=ada) + pictures(3, person=bob) + pictures(4))
    charge(tmp_path, journal, "smears", pictures(2, 2, 5, person=ada))
    bound = load_register(tmp_path, journal.rows).of("smears")
    assert bound.most_images_of_a_patient == 3
    assert len(bound.images) == 5
    assert load_register(tmp_path, journal.rows).of("other").most_images_of_a_patient == 0


def test_equal_registers_have_equal_digests_and_one_file(tmp_path, journal):
    ada, bob = ("A", "ada"), ("A", "bob")
    wanted = pictures(*range(20), person=ada) + pictures(*range(20, 40), person=bob)
    charge(tmp_path, journal, "smears", wanted)
    before = journal.rows[-1].event.register
    assert start(tmp_path, journal, "smears", wanted[::-1]) == before
    assert start(tmp_path, journal, "smears", wanted[:3]) == before
    (file,) = (tmp_path / REGISTER_FOLDER).iterdir()
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_the_journal_holds_nothing_but_a_digest_that_says_nothing(tmp_path):
    """Two hospitals with the same images: nothing equal in rows or files; no content digest is anywhere."""
    rows, bound = [], []
    for name in ("A", "B"):
        home = tmp_path / name
        home.mkdir()
        with Journal(home, new_identity(name)) as journal:
            charge(home, journal, "smears", pictures(1, 2, person=("H", "ada")))
            rows.append(journal.rows[-1].event)
            bound.append(load_register(home, journal.rows).of("smears"))
        (file,) = (home / REGISTER_FOLDER).iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        stored = b"".join(path.read_bytes() for path in (*home.glob("journal*"), file))
        assert rows[-1].register.hex() == file.name
        for picture in pictures(1, 2):
            assert picture.content not in stored
            assert picture.content.hex().encode() not in stored
        assert b"ada" not in stored
    assert rows[0].register != rows[1].register
    assert not bound[0].images & bound[1].images
    assert not bound[0].patients.keys() & bound[1].patients.keys()


def test_a_row_is_as_long_for_one_image_as_for_many(tmp_path):
    lengths = set()
    for count in (1, 200):
        home = tmp_path / str(count)
        home.mkdir()
        with Journal(home, new_identity("A")) as journal:
            charge(home, journal, "smears", pictures(*range(count)))
            lengths.add(len(journal.rows[-1].event.register))
    assert lengths == {32}


def test_a_lost_register_is_said_and_nothing_is_charged_without_it(tmp_path, journal):
    charge(tmp_path, journal, "smears", pictures(1))
    (file,) = (tmp_path / REGISTER_FOLDER).iterdir()
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(HomeError, match="it says which images were charged") as error:
        start(tmp_path, journal, "new", pictures(1))
    assert "newest backup" in error.value.hint
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(HomeError, match="was changed: it is not what the journal names"):
        start(tmp_path, journal, "new", pictures(1))


@pytest.mark.parametrize("step", ["write_private_file", "sync_folder"])
def test_a_crash_while_it_is_written_leaves_the_one_that_was_charged(tmp_path, journal, monkeypatch, step):
    charge(tmp_path, journal, "smears", pictures(1))
    before = load_register(tmp_path, journal.rows)

    def crash(path, *content):
        for part in content:
            path.write_bytes(part[: len(part) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(registers, step, crash)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path, journal, "smears", pictures(1, 2))
    assert load_register(tmp_path, journal.rows) == before
    charge(tmp_path, journal, "smears", pictures(1, 2))
    assert len(list((tmp_path / REGISTER_FOLDER).iterdir())) <= 2
    refused(lambda: start(tmp_path, journal, "new", pictures(2)))


def test_a_folder_that_cannot_be_written_is_said(tmp_path, journal):
    (tmp_path / REGISTER_FOLDER).write_text("a file")
    with pytest.raises(HomeError, match="register cannot be written"):
        start(tmp_path, journal, "smears", pictures(1))
