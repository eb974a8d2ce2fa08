import pytest
from support.page import start_page, tiny_run

from fedpriv.identity.tls import new_server_credentials


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run whose model has random weights; it is warm in this process."""
    return tiny_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def page_config(run_folder, tmp_path_factory):
    """Django set up in this process, with the model loaded, as in a worker of a page behind TLS."""
    from fedpriv.page import inference
    from fedpriv.page.config import Limits, PageConfig, load_card
    from fedpriv.page.server import prepare_tables
    from fedpriv.page.settings import set_up

    folder, card = load_card(run_folder, without_privacy_statement=False)
    config = PageConfig(
        home=tmp_path_factory.mktemp("page") / "home",
        model=folder,
        card=card,
        names=("testserver",),
        tls=True,
        limits=Limits(images_per_minute=12, images_per_day=20),
    )
    set_up(config)
    prepare_tables()
    inference.load(folder)
    return config


@pytest.fixture
def emptied(page_config):
    """No user, no record, no guess; then the page's configuration."""
    from django.contrib.auth.models import User
    from django.core.cache import cache

    from fedpriv.page.models import AccessRecord

    User.objects.all().delete()
    AccessRecord.objects.all().delete()
    cache.clear()
    return page_config


@pytest.fixture
def log_in(emptied):
    """Make a user and a client of Django's that is logged in as that user."""
    from django.contrib.auth.models import User
    from django.test import Client

    def logged_in(name="ana", **options):
        client = Client(headers={"accept": "application/json"}, **options)
        client.defaults["wsgi.url_scheme"] = "https"
        client.force_login(User.objects.get_or_create(username=name)[0])
        return client

    return logged_in


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory):
    """A certificate of localhost and its key, as paths."""
    folder = tmp_path_factory.mktemp("tls")
    credentials = new_server_credentials("page", ("localhost", "127.0.0.1"))
    (folder / "page.crt").write_bytes(credentials.certificate_pem)
    (folder / "page.key").write_bytes(credentials.key_pem)
    return folder / "page.crt", folder / "page.key"


@pytest.fixture(scope="session")
def running(run_folder, tls_files, tmp_path_factory):
    """A page in processes of its own, over TLS, for users ana and bob, with limits out of reach."""
    certificate, key = tls_files
    page = start_page(
        tmp_path_factory.mktemp("running"),
        run_folder,
        *("--cert", str(certificate), "--key", str(key)),
        *("--images-per-minute", "100000", "--images-per-day", "100000"),
        users=("ana", "bob"),
    )
    yield page
    page.process.kill()
    page.process.wait()
