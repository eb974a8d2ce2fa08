import numpy as np
import pytest

from fedpriv.smears.drawing.cells import draw_platelets, draw_red_cells, draw_white_cells, grain
from fedpriv.smears.drawing.field import EARLY_BLAST, LYMPHOCYTE, NEUTROPHIL, PRE_BLAST, PRO_BLAST
from fedpriv.smears.drawing.stain import AZURE, EOSIN, METHYLENE_BLUE

KINDS = {
    "lymphocyte": LYMPHOCYTE,
    "neutrophil": NEUTROPHIL,
    "early": EARLY_BLAST,
    "pre": PRE_BLAST,
    "pro": PRO_BLAST,
}


def rng():
    return np.random.default_rng(11)


def white(kind, scale=1.0):
    return draw_white_cells(rng(), 200, KINDS[kind], scale)


def mean_radius(cover):
    return np.sqrt(cover.sum(axis=(1, 2)).mean() / np.pi)


def nuclear_share(kind):
    dyes, cover = white(kind)
    return ((dyes[..., AZURE] > 0.4).sum(axis=(1, 2)) / cover.sum(axis=(1, 2))).mean()


def test_red_cells_have_the_radius_asked_for():
    patches = draw_red_cells(rng(), 200, 11.0, pallor=0.0)
    assert patches.shape == (200, 36, 36)
    assert mean_radius(patches > 0.5) == pytest.approx(11.0, abs=0.5)


def test_pallor_empties_the_centre_of_a_red_cell():
    full, hollow = (draw_red_cells(rng(), 100, 11.0, pallor)[:, 15:21, 15:21].mean() for pallor in (0.0, 0.8))
    assert hollow < 0.5 * full


@pytest.mark.parametrize("kind", KINDS)
def test_white_cells_lie_inside_their_patch_with_dye_only_under_the_cell(kind):
    dyes, cover = white(kind, scale=1.06)  # the largest of patients
    assert dyes.shape == (*cover.shape, 3)
    assert dyes.dtype == cover.dtype == np.float32
    assert 0 <= cover.min() <= cover.max() == 1
    border = np.ones((60, 60), bool)
    border[1:-1, 1:-1] = False
    assert not cover[:, border].any()
    assert not dyes[cover == 0].any()
    assert dyes.min() >= 0


def test_sizes_are_ordered_as_in_the_description():
    radius = {kind: mean_radius(white(kind)[1]) for kind in KINDS}
    assert radius["lymphocyte"] + 2 < radius["early"] < radius["pro"] < radius["pre"] - 1


def test_early_blasts_are_nearly_all_nucleus_and_pre_blasts_are_not():
    assert nuclear_share("early") > 0.85
    assert nuclear_share("pre") < 0.6
    assert nuclear_share("neutrophil") < 0.4


def test_chromatin_is_coarse_in_pre_blasts_and_smooth_in_early_ones():
    spread = {}
    for kind in ("early", "pre"):
        dyes, _ = white(kind)
        middle = dyes[:, 25:35, 25:35, AZURE]
        spread[kind] = (middle.std(axis=(1, 2)) / middle.mean(axis=(1, 2))).mean()
    assert spread["pre"] > 2.5 * spread["early"]


def test_only_pro_blasts_have_a_cleft():
    def roundness(kind):
        """Share of the nucleus inside the disc of its area about its centre: 1 for a disc."""
        nucleus = white(kind)[0][..., AZURE] > 0.4
        area = nucleus.sum(axis=(1, 2))
        axis = np.arange(60)
        y, x = ((nucleus * grid).sum(axis=(1, 2)) / area for grid in (axis[:, None], axis))
        distance = np.hypot(axis[:, None] - y[:, None, None], axis - x[:, None, None])
        disc = distance < np.sqrt(area / np.pi)[:, None, None]
        return ((nucleus & disc).sum(axis=(1, 2)) / area).mean()

    assert roundness("pro") < 0.92
    assert min(roundness("lymphocyte"), roundness("early"), roundness("pre")) > 0.94


def test_cytoplasm_is_blue_in_blasts_and_pink_in_neutrophils():
    def dye(kind, which):
        return white(kind)[0][..., which].sum()

    assert dye("pre", METHYLENE_BLUE) > 10 * dye("pre", EOSIN)
    assert dye("neutrophil", EOSIN) > dye("neutrophil", METHYLENE_BLUE)


def test_scale_makes_cells_larger():
    small, large = (mean_radius(draw_white_cells(rng(), 100, LYMPHOCYTE, scale)[1]) for scale in (1.0, 1.5))
    assert large / small == pytest.approx(1.5, abs=0.05)


def test_platelets_are_small():
    patches = draw_platelets(rng(), 200)
    assert patches.shape == (200, 12, 12)
    assert mean_radius(patches > 0.1) < 3.5


def test_no_cells_are_no_patches():
    assert draw_red_cells(rng(), 0, 11.0, 0.5).shape == (0, 36, 36)
    assert draw_platelets(rng(), 0).shape == (0, 12, 12)


@pytest.mark.parametrize("grain_px", [3, 6, 12])
def test_grain_is_smooth_noise_of_the_size_asked_for(grain_px):
    noise = grain(rng(), grain_px, 256)
    assert noise.shape == (256, 256)
    assert noise.std() == pytest.approx(1.0, abs=0.15)
    neighbour = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    distant = np.corrcoef(noise[:, : -3 * grain_px].ravel(), noise[:, 3 * grain_px :].ravel())[0, 1]
    assert neighbour > 0.7
    assert abs(distant) < 0.2
