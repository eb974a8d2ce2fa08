"""How the suite is dealt to workers: one file stays on one worker, and so do all tests with real processes.

Federations of processes keep two cores busy by themselves; two at a time would miss their own deadlines. All
visits with a browser share one browser and one server.
"""

import pytest

PROCESSES = {"end_to_end", "faults", "test_processes.py"}
BROWSER = "in_browser"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        parts = set(item.path.parts)
        if PROCESSES & parts:
            group = "processes"
        elif BROWSER in parts:
            group = BROWSER
        else:
            group = item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
