"""`fedpriv` as a hospital runs it, but for its training: the update is the planted one.

python planted.py UPDATE.npy node start --home HOME

A file HOME/slow holds the seconds that training takes, if it is there.
"""

import os
import sys
import time

import numpy as np

from fedpriv.cli.main import exit_code_of
from fedpriv.node import service
from fedpriv.node.hospital import Prepared
from fedpriv.node.training import FixedPoint


class PlantedTrainer:
    def __init__(self, update, home):
        self._update = update
        self._slow = home / "slow"
        self.parameters = update.size

    def train(self, vector):
        if self._slow.exists():
            time.sleep(float(self._slow.read_text()))
        return self._update


def main(update_path, *arguments):
    update = np.load(update_path)

    def prepare(home, journal, study):
        return Prepared(FixedPoint(PlantedTrainer(update, home.folder), study), bytes(32))

    service._prepare = prepare
    return exit_code_of(list(arguments))


if __name__ == "__main__":
    if "FEDPRIV_TEST_CLOCK" in os.environ:
        import true_waits  # noqa: F401
    sys.exit(main(*sys.argv[1:]))
