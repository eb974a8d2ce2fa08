"""A home in order and its coordinator, as far as a doctor can see them, and what is spoilt in them."""

import contextlib
import shutil
import socket
import ssl
import threading

from support.studies import ENOUGH_NOISE, study_text

from fedpriv.diagnosis import Health
from fedpriv.identity import keys, tls
from fedpriv.node.doctor import examine
from fedpriv.smears.index import index_images
from fedpriv.study import dump_study, parse_study

SECRETS = tls.new_server_credentials("test", ["127.0.0.1", "localhost"])
OPERATOR = keys.new_identity("consortium")
OTHERS = [keys.new_identity(name) for name in "BC"]
PATIENTS = 'unit = "patient"\nimages_per_patient = 2'


class Door:
    """A coordinator as far as a doctor can see one: it shakes hands and says nothing."""

    def __init__(self, folder, credentials):
        tls.save(credentials, folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / tls.SERVER_CERTIFICATE_FILE, folder / tls.SERVER_KEY_FILE)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secured:
                secured.recv(1)

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def study(*changes):
    full_batch = ("sampling_probability = 0.25", "sampling_probability = 1.0")
    text = study_text(("A = 100", "A = 16"), full_batch, *changes)
    return parse_study(text, "study").with_noise_multiplier(ENOUGH_NOISE)


def approve(home, wanted):
    path = home.folder.parent / f"{wanted.digest.hex()}.toml"
    path.write_text(dump_study(wanted))
    with home.open_journal() as journal:
        home.approve(journal, path)


def diagnoses(home):
    return {diagnosis.subject: diagnosis for diagnosis in examine(home.folder)}


def configure(home, old, new):
    path = home.folder / "node.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def own_images(home, smears, tmp_path):
    """Give the home a copy of the images, to be spoilt."""
    copy = shutil.copytree(smears, tmp_path / "copy")
    configure(home, str(smears), str(copy))
    return copy


def fails(home, subject, found, fix):
    diagnosis = diagnoses(home)[subject]
    assert diagnosis.health is Health.FAIL
    assert found in diagnosis.found
    assert fix in diagnosis.fix


def home_index(home):
    dataset = home.config.dataset
    return index_images(home.images_path, study().study.classes).select(hospital=dataset.hospital)
