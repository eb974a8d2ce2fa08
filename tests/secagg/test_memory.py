"""The coordinator holds one accumulator, whatever the number of hospitals."""

import tracemalloc

import pytest
from support.federation import Federation, terms_for

from fedpriv.secagg.messages import Stage

PARAMETERS = 300_000


@pytest.mark.parametrize("count", [3, 9])
def test_the_coordinators_peak_is_under_six_vectors(count):
    federation = Federation(terms_for(count, parameters=PARAMETERS))
    requests = federation.run_to(Stage.UPLOAD)
    vector = 8 * federation.terms.words
    tracemalloc.start()
    try:
        for name in list(requests):
            reply = federation.answer(name, requests.pop(name))
            federation.hospitals[name]._answered.clear()  # the hospital's own copy
            federation.coordinator.receive(name, reply)
            del reply
        held = tracemalloc.get_traced_memory()[0]
        for stage in (Stage.AGREE, Stage.UNMASK):
            federation.exchange(federation.coordinator.advance())
            assert federation.coordinator.stage is stage
        tracemalloc.reset_peak()
        federation.coordinator.total()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < vector  # uploads leave nothing behind; the accumulator itself is older than the trace
    assert 1 + peak / vector < 6
