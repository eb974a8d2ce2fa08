"""What a picture is made from decides: the raw update gives the image away, noise and masks do not."""

import numpy as np
import pytest
from PIL import Image

from fedpriv.audit.attack.inversion import NULL, VICTIMS, Painted, matcher_rows, paint, painter_rows
from fedpriv.audit.attack.line_up import CANDIDATES, named, psnr
from fedpriv.audit.attack.networks import common_cnn
from fedpriv.audit.attack.pictures import side_by_side
from fedpriv.audit.attack.row import Role
from fedpriv.audit.attack.views import Coordinator, View
from fedpriv.audit.bench import Bench


@pytest.fixture(scope="module")
def painted(study, smears):
    return paint(study, smears, victims=1, iterations=150)


def test_the_raw_and_the_clipped_update_give_the_image_back(painted, smears):
    line_up, mean = smears.images[:CANDIDATES], smears.images[CANDIDATES:].mean(axis=0)
    for view in (View.RAW, View.CLIPPED):
        picture = painted[0].pictures[view]
        assert named(picture, line_up, mean) == 0
        assert psnr(picture, line_up[0]) > psnr(mean, line_up[0]) + 3


def test_noise_and_masks_leave_less_than_nothing(painted, smears):
    mean = smears.images[CANDIDATES:].mean(axis=0)
    for view in (View.PRIVATE, View.MASKED):
        assert psnr(painted[0].pictures[view], smears.images[0]) < psnr(mean, smears.images[0])


def test_views_lie_along_the_gradient_until_they_are_protected(study, smears):
    bench = Bench(study, common_cnn(4))
    gradient = bench.gradients(smears[3:4])[0]
    views = Coordinator(bench, smears[2:5], smears[100:101]).views(1)

    def cosine(view):
        return views[view] @ gradient / np.linalg.norm(views[view]) / np.linalg.norm(gradient)

    assert cosine(View.RAW) > 0.9999
    assert cosine(View.CLIPPED) > 0.999
    assert np.linalg.norm(views[View.CLIPPED]) <= 1.001 * max(1, study.privacy.l2_clip_norm)
    assert abs(cosine(View.PRIVATE)) < 0.1
    assert abs(cosine(View.MASKED)) < 6 / np.sqrt(len(gradient))


def test_who_holds_the_candidates_names_the_victim_of_a_raw_update_of_the_shipped_network(study, smears):
    rows = {row.subject: row for row in matcher_rows(study, smears, victims=2)}
    assert rows[View.RAW].figures["recognised"] == 2
    assert rows[View.RAW].role is Role.CONTROL
    assert rows[View.PRIVATE].holds
    assert rows[View.MASKED].holds
    assert {NULL, "chance"} < set(rows)


def test_a_masked_update_that_gives_images_away_contradicts(study, smears):
    leaking = [Painted(image, dict.fromkeys([*View, NULL], image)) for image in smears.images[:VICTIMS]]
    rows = {row.subject: row for row in painter_rows(study, smears, leaking)}
    assert not rows[View.MASKED].holds
    assert not rows[View.PRIVATE].holds
    assert rows[View.MASKED].conclusion.startswith("contradicts the claim")


def test_a_control_that_recognises_nobody_shows_nothing(study, smears):
    blind = [
        Painted(smears.images[place], dict.fromkeys([*View, NULL], 1 - smears.images[place]))
        for place in range(VICTIMS)
    ]
    rows = {row.subject: row for row in painter_rows(study, smears, blind)}
    assert not rows[View.RAW].holds
    assert rows[View.RAW].conclusion == "the attack fails: nothing is shown beside it"


def test_pictures_stand_side_by_side(tmp_path):
    red, blue = np.zeros((2, 8, 8, 3), np.float32)
    red[..., 0] = blue[..., 2] = 1
    side_by_side(tmp_path / "new" / "sheet.png", {"original": [red, red], "seen": [blue, red]})
    sheet = np.asarray(Image.open(tmp_path / "new" / "sheet.png"))
    assert sheet.shape == (18 + 2 * 132, 2 * 132, 3)
    assert sheet[18 + 64, 64].tolist() == [255, 0, 0]
    assert sheet[18 + 64, 132 + 64].tolist() == [0, 0, 255]
