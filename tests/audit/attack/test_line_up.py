import numpy as np
import pytest

from fedpriv.audit.attack.line_up import named, psnr, ssim

RNG = np.random.default_rng(2)


def flat(value):
    return np.full((32, 32, 3), value, dtype=np.float32)


def test_psnr_of_a_known_error():
    assert psnr(flat(0.5), flat(0.6)) == pytest.approx(20.0, abs=1e-4)
    assert psnr(flat(0.5), flat(0.5)) == float("inf")


def test_ssim_of_flat_images_is_its_first_factor():
    expected = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)
    assert ssim(flat(0.5), flat(0.6)) == pytest.approx(expected, abs=1e-5)


def test_ssim_is_1_for_the_image_itself_and_near_0_for_noise():
    image, noise = RNG.random((2, 32, 32, 3)).astype(np.float32)
    assert ssim(image, image) == pytest.approx(1.0)
    assert abs(ssim(image, noise)) < 0.1


def test_a_faint_trace_of_an_image_names_it_and_the_public_mean_names_by_chance():
    line_up = RNG.random((100, 8, 8, 3)).astype(np.float32)
    mean = line_up.mean(axis=0)
    assert named(mean + 0.01 * (line_up[37] - mean), line_up, mean) == 37
    places = [named(mean, line_up, mean) for _ in range(300)]
    assert len(set(places)) > 50
