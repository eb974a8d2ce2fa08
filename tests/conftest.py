"""How the suite is dealt to workers: one file stays on one worker, and so do all tests with real processes.

Federations of processes keep two cores busy by themselves; two at a time would miss their own deadlines.
"""

import pytest

PROCESSES = {"end_to_end", "faults", "test_processes.py"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        group = "processes" if PROCESSES & set(item.path.parts) else item.path.as_posix()
        item.add_marker(pytest.mark.xdist_group(group))
