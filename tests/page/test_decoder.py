"""The process that decodes: what it gives, what it refuses, what it may not do."""

import io
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from support.bad_uploads import UPLOADS
from support.page import drawn_smear, encode

from fedpriv.page.decoder import TIME_LIMIT_S, Decoder, Decoders, Refused
from fedpriv.page.reading import Refusal
from fedpriv.smears.decode import decode_stream


@pytest.fixture(scope="module")
def decoder():
    one = Decoder()
    yield one
    one.close()


def process_of(decoder):
    return decoder._process


def status_of(process, field):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return int(line.split()[1])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("size", [16, 64])
def test_an_upload_is_decoded_as_the_training_images_were(decoder, kind, size):
    data = drawn_smear(2, kind)
    np.testing.assert_array_equal(decoder.decode(data, size), decode_stream(io.BytesIO(data), "x", size))


@pytest.mark.parametrize("upload", UPLOADS, ids=lambda upload: upload.name[:40])
def test_each_bad_upload_is_refused_for_its_reason(decoder, upload):
    if upload.code is None:
        assert decoder.decode(upload.data, 64).shape == (64, 64, 3)
        return
    with pytest.raises(Refused) as caught:
        decoder.decode(upload.data, 64)
    assert caught.value.refusal == upload.code


def test_all_bad_uploads_take_little_memory(decoder):
    decoder.decode(drawn_smear(), 64)
    for upload in UPLOADS:
        if upload.code is not None:
            with pytest.raises(Refused):
                decoder.decode(upload.data, 64)
    assert status_of(process_of(decoder), "VmHWM") < 150_000


def test_the_largest_upload_that_is_allowed_fits_into_its_memory(decoder):
    largest = encode(Image.new("RGBA", (5000, 5000), (200, 180, 220, 255)), "PNG")
    np.testing.assert_allclose(decoder.decode(largest, 64)[0, 0], np.array([200, 180, 220]) / 255, atol=1e-6)


def test_a_process_that_takes_too_long_is_killed_and_the_next_upload_is_read():
    decoder = Decoder()
    data = drawn_smear()
    decoder.decode(data, 64)
    stuck = process_of(decoder)
    os.kill(stuck.pid, signal.SIGSTOP)
    decoder._time_limit_s = 0.3
    with pytest.raises(Refused) as caught:
        decoder.decode(data, 64)
    assert caught.value.refusal is Refusal.TOO_COSTLY
    assert stuck.returncode == -signal.SIGKILL
    decoder._time_limit_s = TIME_LIMIT_S
    assert decoder.decode(data, 64).shape == (64, 64, 3)
    decoder.close()


def test_a_process_that_dies_is_replaced():
    decoder = Decoder()
    data = drawn_smear()
    decoder.decode(data, 64)
    process_of(decoder).kill()
    process_of(decoder).wait()
    assert decoder.decode(data, 64).shape == (64, 64, 3)
    decoder.close()


def test_the_process_ends_with_its_pipe():
    decoder = Decoder()
    decoder.decode(drawn_smear(), 64)
    process = process_of(decoder)
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_the_process_may_write_no_file_open_none_and_dump_no_memory(decoder):
    decoder.decode(drawn_smear(), 64)
    process = process_of(decoder)
    for limit, value in ((resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 3)):
        assert resource.prlimit(process.pid, limit) == (value, value)
    assert resource.prlimit(process.pid, resource.RLIMIT_AS)[1] == 768 << 20
    opened = Path(f"/proc/{process.pid}/fd").iterdir()
    assert sorted(path.name for path in opened) == ["0", "1", "2"]


def test_a_decoder_that_is_taken_over_cannot_open_a_file(tmp_path):
    """The control: before it gives up its rights, it can."""
    (tmp_path / "key").write_text("secret")
    attempt = f"open({str(tmp_path / 'key')!r}).read()"
    code = f"from fedpriv.page import decoding; {{}}; print({attempt})"
    free = subprocess.run(
        [sys.executable, "-c", code.format("pass")], capture_output=True, text=True, check=False
    )
    assert free.stdout == "secret\n"
    bound = subprocess.run(
        [sys.executable, "-c", code.format("decoding._give_up_rights()")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "secret" not in bound.stdout
    assert "Too many open files" in bound.stderr


def test_the_environment_of_the_process_holds_no_password(monkeypatch):
    monkeypatch.setenv("FEDPRIV_PAGE_DATABASE", "postgresql://page:hunter2@host/page")
    decoder = Decoder()
    decoder.decode(drawn_smear(), 64)
    assert b"hunter2" not in Path(f"/proc/{process_of(decoder).pid}/environ").read_bytes()
    decoder.close()


def test_threads_share_decoders_and_get_their_own_pixels():
    decoders = Decoders(2)
    images = [drawn_smear(seed) for seed in range(4)]
    expected = [decode_stream(io.BytesIO(data), "x", 16) for data in images]
    wrong = []

    def ask(number):
        answers = [decoders.decode(images[number], 16) for _ in range(10)]
        wrong.extend(number for answer in answers if not np.array_equal(answer, expected[number]))

    threads = [Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    decoders.close()
