from dataclasses import replace

import numpy as np
import pytest

from fedpriv.smears.drawing.field import POPULATIONS, draw_field, draw_patient
from fedpriv.smears.drawing.stain import AZURE, EOSIN, Stain, hospital_stain, patient_stain


def stains(n):
    return [hospital_stain(np.random.default_rng([1, number]), number) for number in range(n)]


def patient(label="Pre", seed=0):
    return draw_patient(np.random.default_rng(seed), label, stains(1)[0])


def test_clear_glass_is_the_background():
    stain = stains(1)[0]
    light = stain.transmit(np.zeros((4, 5, 3), np.float32))
    np.testing.assert_allclose(light, np.broadcast_to(stain.background, (4, 5, 3)), rtol=1e-6)


def test_dyes_multiply_as_beer_and_lambert_say():
    stain = Stain(np.ones(3), np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.0, 0.0, 0.0]]))
    amounts = np.zeros(3, np.float32)
    amounts[EOSIN], amounts[AZURE] = 2.0, 1.0
    np.testing.assert_allclose(stain.transmit(amounts), np.exp([-0.6, -0.9, -1.2]), rtol=1e-6)


def test_nuclei_are_purple_and_red_cells_paler_in_every_hospital():
    for stain in stains(20):
        nucleus, red_cell = (stain.transmit(np.eye(3, dtype=np.float32)[dye]) for dye in (AZURE, EOSIN))
        red, green, blue = nucleus
        assert blue > red > green
        assert red_cell.mean() > nucleus.mean() + 0.1


def test_every_two_of_ten_hospitals_have_different_stains():
    flat = np.array([stain.density.ravel() for stain in stains(10)])
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    assert apart[~np.eye(10, dtype=bool)].min() > 0.05


def test_patients_vary_around_their_hospital():
    hospital = stains(1)[0]
    drawn = [patient_stain(np.random.default_rng(seed), hospital) for seed in range(300)]
    ratio = np.mean([stain.density / hospital.density for stain in drawn], axis=0)
    np.testing.assert_allclose(ratio, 1.02, atol=0.06)
    assert all(stain.background.max() <= 1 for stain in drawn)


@pytest.mark.parametrize("label", POPULATIONS)
def test_fields_are_mostly_pale_with_some_dark_cells(label):
    for seed in range(8):
        field = draw_field(np.random.default_rng(seed), patient(label, seed))
        assert field.shape == (224, 224, 3)
        assert field.dtype == np.uint8
        green = field[..., 1]
        assert np.median(green) > 150
        assert 0.001 < (green < 140).mean() < 0.5


def test_fields_of_one_patient_differ_and_one_seed_repeats():
    someone = patient()
    first, again, other = (draw_field(np.random.default_rng(seed), someone) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_a_larger_load_gives_more_dark_area():
    def dark(load):
        someone = replace(patient(), load=load)
        fields = [draw_field(np.random.default_rng(seed), someone) for seed in range(10)]
        return np.mean([(field[..., 1] < 140).mean() for field in fields])

    assert dark(1.5) > 1.5 * dark(0.3)


def test_blur_takes_sharp_edges_away():
    def sharpness(blur_px):
        field = draw_field(np.random.default_rng(4), replace(patient(), blur_px=blur_px))
        return np.abs(np.diff(field[..., 1].astype(np.int16), axis=0)).max()

    assert sharpness(3.0) < 0.6 * sharpness(0.2)
