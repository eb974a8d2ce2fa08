from fedpriv.audit.attack import first_layer
from fedpriv.audit.attack.first_layer import first_layer_rows, read_out, refused
from fedpriv.audit.attack.row import Role
from fedpriv.model import network


def test_a_chosen_first_layer_reads_images_out_of_a_batch_unless_noise_covers_them(study, smears):
    rows = list(first_layer_rows(study, smears, read_out(study, smears, victims=4)))
    by_subject = {row.subject.rpartition(": ")[2]: row for row in rows}
    assert by_subject["raw"].role is Role.CONTROL
    assert by_subject["raw"].figures["recognised"] == 4
    assert by_subject["raw"].figures["psnr_db"] > 30
    assert by_subject["noised"].figures["recognised"] <= 1
    assert by_subject["noised"].figures["psnr_db"] < 10


def test_the_installed_architecture_refuses_it_in_every_way(study):
    by_name, by_vector = refused(study)
    assert "there is no network 'imprint'" in by_name
    assert "does not fit " in by_vector


def test_a_layer_that_is_accepted_contradicts(study, smears, monkeypatch):
    monkeypatch.setattr(first_layer, "build_model", lambda _study: network.build_model(_study) and None)
    monkeypatch.setattr(first_layer, "from_vector", lambda _model, _vector: None)
    pictures = {"raw": [smears.images[0]]}
    (row,) = [row for row in first_layer_rows(study, smears, pictures) if "installed" in row.subject]
    assert not row.holds
    assert row.figures["refused"] == 1
