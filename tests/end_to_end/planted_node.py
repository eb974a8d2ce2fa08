"""A hospital's process as `fedpriv node start` runs it, but for one thing: its update is the planted one.

python planted_node.py HOME UPDATE.npy
"""

import signal
import sys
import threading
from pathlib import Path

import numpy as np

from fedpriv.node.flower import serve
from fedpriv.node.home import open_home
from fedpriv.node.hospital import Hospital, Prepared
from fedpriv.node.training import FixedPoint


class PlantedTrainer:
    def __init__(self, update):
        self._update = update
        self.parameters = update.size

    def train(self, vector):
        return self._update


def main(folder, update_path):
    home = open_home(Path(folder))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    update = np.load(update_path)
    with home.open_journal() as journal:
        hospital = Hospital(
            home,
            journal,
            lambda study: Prepared(FixedPoint(PlantedTrainer(update), study), bytes(32)),
        )
        serve(
            address=home.config.coordinator,
            root_certificate=home.roster(journal.rows).coordinator.ca_certificate.encode(),
            link_key=home.identity().link_key,
            handle=hospital.handle,
            stop=stop,
            on_state=lambda state: None,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
