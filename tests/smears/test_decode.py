import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fedpriv.errors import ImageError
from fedpriv.smears import decode as decoding
from fedpriv.smears.decode import SCALE_BAR_FRACTION, SMALLEST_SIDE_PX, decode, decode_stream, read_image

BAR_PX = 40


def encode(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decode_bytes(data, size):
    return decode_stream(io.BytesIO(data), "x.png", size)


def solid(colour=(200, 100, 50), width=224, height=224, mode="RGB"):
    return Image.new(mode, (width, height), colour)


def test_a_solid_image_keeps_its_colour_outside_the_covered_corner():
    pixels = decode_bytes(encode(solid()), 224)
    assert pixels.shape == (224, 224, 3)
    assert pixels.dtype == np.float32
    expected = np.full((224, 224, 3), np.array([200, 100, 50], np.float32) / 255)
    expected[-BAR_PX:, -BAR_PX:] = 1.0
    np.testing.assert_array_equal(pixels, expected)


def test_the_corner_is_covered_whatever_is_drawn_there():
    with_bar, without = solid(), solid()
    with_bar.paste((0, 0, 0), (188, 190, 224, 224))
    np.testing.assert_array_equal(decode_bytes(encode(with_bar), 64), decode_bytes(encode(without), 64))


def test_the_cover_scales_with_the_image():
    pixels = decode_bytes(encode(solid((0, 0, 0), 448, 448)), 448)
    covered = np.argwhere(pixels[..., 0] == 1.0)
    assert covered.min() == 448 - round(448 * SCALE_BAR_FRACTION)
    assert len(covered) == 80 * 80


def test_the_box_filter_averages_whole_blocks():
    values = np.zeros((128, 128, 3), np.uint8)
    values[:64:2, :64:2] = 200  # a quarter of the pixels of each 2 x 2 block, upper left quadrant
    pixels = decode_bytes(encode(Image.fromarray(values)), 64)
    np.testing.assert_allclose(pixels[:32, :32], 50 / 255, atol=1e-6)
    np.testing.assert_array_equal(pixels[32:52, :32], 0)


def test_a_wide_image_is_cropped_to_its_centre():
    image = solid((255, 0, 0), 300, 100)
    image.paste((0, 0, 255), (100, 0, 200, 100))
    pixels = decode_bytes(encode(image), 64)
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.float32([0, 0, 1]), (64, 64, 3)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_gives_the_upright_image(orientation):
    rng = np.random.default_rng(orientation)
    upright = Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    undo = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }[orientation]  # fmt: skip
    stored = upright
    for step in undo:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(
        decode_bytes(encode(stored, exif=exif), 64), decode_bytes(encode(upright), 64)
    )


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 51, (51, 51, 51)),
        ("LA", (51, 0), (255, 255, 255)),
        ("LA", (51, 255), (51, 51, 51)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("P", 0, (0, 0, 0)),
    ],
)
def test_other_modes_become_rgb_by_a_fixed_rule(mode, colour, expected):
    image = solid(colour, mode=mode)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 255, 255])
    np.testing.assert_array_equal(decode_bytes(encode(image), 64)[0, 0] * 255, np.float32(expected))


def test_cmyk_is_read():
    data = encode(solid((0, 0, 0, 0), mode="CMYK"), "TIFF")
    np.testing.assert_array_equal(decode_bytes(data, 64), np.ones((64, 64, 3), np.float32))


@pytest.mark.parametrize(("mode", "kind"), [("I;16", "PNG"), ("1", "PNG"), ("F", "TIFF"), ("LAB", "TIFF")])
def test_modes_without_a_fixed_rule_are_refused(mode, kind):
    with pytest.raises(ImageError, match="pixel mode") as caught:
        decode_bytes(encode(Image.new(mode, (224, 224)), kind), 64)
    assert "8-bit RGB" in caught.value.hint


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_the_content_decides_and_not_the_name(tmp_path, kind):
    path = tmp_path / "smear.dat"
    path.write_bytes(encode(solid(), kind))
    assert decode(path, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PPM", "ICO"])
def test_other_formats_are_refused(kind):
    with pytest.raises(ImageError, match="not a JPEG, PNG, TIFF or BMP image"):
        decode_bytes(encode(solid(), kind), 64)


def test_a_text_file_named_jpg_is_named(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("remember to stain the slides")
    with pytest.raises(ImageError, match=r"^notes\.jpg: not a JPEG"):
        decode(path, 64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_named(tmp_path, kind, keep):
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8))
    data = encode(noisy, kind)
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ImageError, match=r"^cut\.jpg: (corrupt or truncated|not a JPEG)"):
        decode(path, 64)


def test_an_empty_file_a_folder_and_no_file_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for name in ("empty.png", "folder.png", "absent.png"):
        with pytest.raises(ImageError, match=f"^{name}: "):
            decode(tmp_path / name, 64)


def test_the_smallest_side_is_held():
    side = SMALLEST_SIDE_PX
    assert decode_bytes(encode(solid(width=side, height=side)), 16).shape == (16, 16, 3)
    with pytest.raises(ImageError, match=f"{side - 1} x 500 pixels, the smallest side allowed is {side}"):
        decode_bytes(encode(solid(width=side - 1, height=500)), 16)


def test_a_huge_image_is_refused_before_any_pixel_is_decoded(monkeypatch):
    bomb = encode(Image.new("L", (8000, 8000)), "PNG")
    assert len(bomb) < 100_000
    monkeypatch.setattr(decoding, "_to_rgb", lambda image: pytest.fail("decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="more than 50,000,000 pixels"):
        decode_bytes(bomb, 64)


def test_a_size_that_pillow_itself_refuses_is_reported_the_same_way(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ImageError, match="more than 50,000,000 pixels"):
        decode_bytes(encode(solid()), 64)


SEEDS = {
    kind: encode(Image.effect_noise((64, 64), 80).convert("RGB"), kind) for kind in ("JPEG", "PNG", "TIFF")
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from(sorted(SEEDS)),
    edits=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 4000),
)
def test_damaged_bytes_give_an_image_or_an_image_error_and_nothing_else(kind, edits, cut):
    data = bytearray(SEEDS[kind])
    for position, value in edits:
        data[position % len(data)] = value
    with contextlib.suppress(ImageError):
        pixels = decode_bytes(bytes(data[: len(data) - cut] if cut < 1000 else data), 16)
        assert pixels.shape == (16, 16, 3)
        assert 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.real_smears
def test_real_scale_bars_lie_under_the_cover(real_smears):
    """Sharp edges right of and below the cover's start are far more frequent inside it than around it."""
    edges = np.zeros((224, 223))
    paths = sorted(Path(real_smears).glob("*/*.jpg"))[::5]
    for path in paths:
        grey = np.asarray(Image.open(path).convert("L"), np.int16)
        edges += np.abs(np.diff(grey, axis=1)) > 60
    edges /= len(paths)
    corner = edges[-BAR_PX:, -BAR_PX:].mean()
    border = np.concatenate([edges[-60:-BAR_PX, -60:].ravel(), edges[-60:, -60:-BAR_PX].ravel()])
    assert corner > 3 * border.mean()
    assert border.max() < 0.1


def content_of(data, tmp_path):
    path = tmp_path / "image"
    path.write_bytes(data)
    return read_image(path, 16).content


def test_content_is_what_is_seen_and_not_the_file(tmp_path):
    """Lossless formats, metadata, size asked for and EXIF orientation make no difference; a pixel does."""
    seen = Image.fromarray(np.random.default_rng(4).integers(0, 256, (70, 80, 3), dtype=np.uint8))
    content = content_of(encode(seen), tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    assert content_of(encode(seen, "BMP"), tmp_path) == content
    assert content_of(encode(seen, "TIFF"), tmp_path) == content
    assert content_of(encode(seen.rotate(180), exif=exif), tmp_path) == content
    assert read_image(tmp_path / "image", 64).content == content
    assert content_of(encode(seen.rotate(180)), tmp_path) != content
    lossy = content_of(encode(seen, "JPEG"), tmp_path)  # the limit that the register states
    assert lossy != content
    changed = seen.copy()
    changed.putpixel((79, 69), (1, 2, 3))  # in the corner that is covered before training
    assert content_of(encode(changed), tmp_path) != content


def test_content_tells_shapes_apart(tmp_path):
    contents = {content_of(encode(solid(width=w, height=h)), tmp_path) for w, h in ((64, 96), (96, 64))}
    assert len(contents) == 2
