"""The address that Prometheus reads: nothing without an admin's word, and no traceback to a scraper."""

import socket
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedpriv.errors import HomeError, JournalCorrupt
from fedpriv.metrics import Metrics, counter, gauge, served


@pytest.fixture
def address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return f"127.0.0.1:{port}"


def scraped(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_looked_at_is_looked_at_anew_in_every_scrape(address):
    numbers = iter((1, 2))

    def look():
        yield gauge("fedpriv_x", "A number.", [({"of": "a"}, next(numbers)), ({"of": "b"}, None)])
        yield counter("fedpriv_y", "Another.", [])

    with served(Metrics(address), look):
        assert scraped(address) == {("fedpriv_x", "a"): 1, ("fedpriv_readable",): 1}
        assert scraped(address) == {("fedpriv_x", "a"): 2, ("fedpriv_readable",): 1}
    with pytest.raises(OSError, match="refused"):
        scraped(address)


def test_what_cannot_be_read_is_said_and_the_rest_is_there(address):
    def look():
        yield gauge("fedpriv_x", "A number.", [({}, 1)])
        raise JournalCorrupt("row 3 of a secret file")

    with served(Metrics(address), look):
        assert scraped(address) == {("fedpriv_x",): 1, ("fedpriv_readable",): 0}


def test_without_metrics_nobody_listens():
    with served(None, list):
        pass


def test_a_port_that_is_taken_is_one_line(address):
    host, port = address.split(":")
    with socket.socket() as other:
        other.bind((host, int(port)))
        other.listen()
        words = f"cannot listen on {address} for metrics: address already in use"
        with pytest.raises(HomeError, match=words), served(Metrics(address), list):
            pass


@pytest.mark.parametrize(
    "listen", ["9094", "localhost", "localhost:", "localhost:0", "localhost:65536", ":9094"]
)
def test_an_address_that_is_none_is_named(listen):
    with pytest.raises(HomeError, match="is no HOST:PORT"), served(Metrics(listen), list):
        pass
