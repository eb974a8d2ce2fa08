"""`fedpriv round`, which also tells a pipe what happens, one JSON line an event, and waits for leave.

python told_round.py EVENTS_FD LEAVE_FD round --home HOME ...

Whoever reads the events can act at exactly that moment; a byte in the other pipe lets the rounds go on.
"""

import os
import sys

import msgspec

from fedpriv.cli import round_view
from fedpriv.cli.main import exit_code_of


def main(events, leave, *arguments):
    class Told(round_view.RoundView):
        def show(self, event):
            super().show(event)
            fields = {name: getattr(event, name) for name in event.__slots__}
            fields = {"event": type(event).__name__} | fields
            if "ended" in fields:
                fields["ended"] = {"outcome": event.ended.outcome, "round": event.ended.round}
            os.write(events, msgspec.json.encode(fields) + b"\n")
            os.read(leave, 1)

    round_view.RoundView = Told
    return exit_code_of(list(arguments))


if __name__ == "__main__":
    import true_waits  # noqa: F401

    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
