"""The rounds of a run, one after the other: wait for hospitals, attempt, move the model, record.

A round that fails moves nothing and is recorded as failed; the next one invites everybody again. What
hospitals were asked to train for counts as spent, whether a sum came of it or not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fedpriv.backoff import Backoff
from fedpriv.coordinator import events
from fedpriv.coordinator.attempt import Attempt
from fedpriv.coordinator.run_folder import ReceiptsAcknowledged, RoundEnded, RoundStarted
from fedpriv.coordinator.server_step import Progress, moved
from fedpriv.dp.accounting import candidate_success, composed_epsilon
from fedpriv.errors import FedprivError, RoundFailed
from fedpriv.model.folder import Claim, card_for, save_model
from fedpriv.secagg.coordinator import CoordinatorRound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from fedpriv.coordinator.attempt import Link
    from fedpriv.coordinator.home import Deadlines
    from fedpriv.coordinator.run_folder import Line, RunFolder
    from fedpriv.identity.keys import Identity
    from fedpriv.identity.roster import Roster

FAILURES_IN_A_ROW = 3

_LOOK_S = 0.25
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 30.0


class Coordinator:
    """Runs rounds of ``run`` over ``link``; ``observe`` hears what happens.

    ``known_heads``: the last journal heads of hospitals in any run (`journal_heads`).
    """

    def __init__(
        self,
        *,
        run: RunFolder,
        link: Link,
        identity: Identity,
        roster: Roster,
        deadlines: Deadlines,
        observe: events.Observer,
        known_heads: Mapping[str, bytes],
    ) -> None:
        self._run = run
        self._study = run.study
        self._link = link
        self._identity = identity
        self._roster = roster
        self._deadlines = deadlines
        self._observe = observe
        self._progress = run.latest()
        self._journal_heads = dict(known_heads)

    def run_rounds(self, count: int) -> list[RoundEnded]:
        """Attempt ``count`` rounds, with a pause after one that failed; their records.

        What makes rounds fail one after the other would spend the whole budget for nothing: after
        `FAILURES_IN_A_ROW` no more are tried.
        """
        ended: list[RoundEnded] = []
        backoff, failures = Backoff(_FIRST_PAUSE_S, _LAST_PAUSE_S), 0
        for position in range(1, count + 1):
            ended.append(self.run_round(position, count))
            if ended[-1].outcome == "complete":
                backoff.reset()
                failures = 0
                continue
            failures += 1
            if failures == FAILURES_IN_A_ROW:
                break
            if position < count:
                time.sleep(backoff.pause_s())
        return ended

    def run_round(self, position: int, count: int) -> RoundEnded:
        """Attempt the next round, the ``position``-th of ``count`` that were asked for; give its record."""
        number = self._run.next_round()
        online = self._wait_for_hospitals()
        absent = tuple(sorted(set(self._study.names) - online))
        self._run.append(RoundStarted(number))
        self._observe(events.RoundBegan(number, position, count, tuple(sorted(online)), absent))
        attempt = Attempt(
            machine=self._machine(number),
            link=self._link,
            deadlines=self._deadlines,
            online=online,
            observe=self._observe,
        )
        before = self._progress.vector
        try:
            progress = attempt.run(before, self._moved)
        except RoundFailed as error:
            ended = attempt.ended("failed", reason=error.message, before=before, after=before)
            claim = self._record(ended)
        except (KeyboardInterrupt, FedprivError) as error:
            reason = error.message if isinstance(error, FedprivError) else "interrupted"
            self._record(attempt.ended("failed", reason=reason, before=before, after=before))
            raise
        else:
            ended = attempt.ended("complete", reason="", before=before, after=progress.vector)
            self._run.save_checkpoint(number, progress)
            self._progress = progress
            # Before receipts leave: what a hospital holds one of, the record must know.
            claim = self._record(ended)
            try:
                attempt.send_receipts()
            finally:
                self._append(attempt.acknowledged())
        self._observe(events.RoundOver(ended, claim.epsilon))
        return ended

    def _record(self, ended: RoundEnded) -> Claim:
        """Put on disk how a round ended, and what that makes of the model and its claim."""
        self._append(ended)
        self._run.drop_old_checkpoints()
        return publish(self._run)

    def _append(self, line: Line) -> None:
        self._run.append(line)
        self._journal_heads |= journal_heads([line])

    def _machine(self, number: int) -> CoordinatorRound:
        terms = self._study.round_terms(
            run=self._run.run,
            round_number=number,
            roster_digest=self._roster.digest,
            parameters=self._progress.vector.size,
        )
        keys = {member.name: member.signing_key for member in self._roster.hospitals}
        return CoordinatorRound(
            terms=terms,
            roster=keys,
            signing_key=self._identity.signing_key,
            journal_heads=self._journal_heads,
        )

    def _wait_for_hospitals(self) -> set[str]:
        """Everybody, as soon as everybody is online; after the deadline whoever is."""
        invited = set(self._study.names)
        deadline = time.monotonic() + self._deadlines.join_s
        while True:
            online = self._link.online() & invited
            if online == invited or time.monotonic() > deadline:
                return online
            self._observe(events.Waiting(tuple(sorted(online)), tuple(sorted(invited - online))))
            time.sleep(_LOOK_S)

    def _moved(self, total: NDArray[np.int64], survivors: tuple[str, ...]) -> Progress:
        return moved(self._study, self._progress, total, survivors, rounds=len(self._run.completed()) + 1)


def journal_heads(lines: Iterable[Line]) -> dict[str, bytes]:
    """The journal head (32 bytes) that each hospital signed last in ``lines``, oldest first."""
    heads: dict[str, bytes] = {}
    for line in lines:
        if isinstance(line, RoundEnded):
            heads |= {entry.name: entry.journal_head for entry in line.record.advertisements}
        if isinstance(line, ReceiptsAcknowledged):
            heads |= {entry.name: entry.journal_head for entry in line.acknowledgements}
    return heads


def publish(run: RunFolder) -> Claim:
    """Write the model folder anew, and give what its card claims: rounds that failed since have cost, too.

    Before the first complete round there is no model.
    """
    claim, rounds = claim_of(run), len(run.completed())
    if rounds:
        vector = run.latest().published
        save_model(run.model_folder, card_for(run.study, vector, rounds=rounds, claim=claim), vector)
    return claim


def charged_rounds(run: RunFolder) -> int:
    """How many rounds of ``run`` any hospital may have charged: it was asked to train, or nobody knows."""
    lines = run.lines()
    uncharged = {line.round for line in lines if isinstance(line, RoundEnded) and not line.asked_to_train}
    return sum(isinstance(line, RoundStarted) and line.round not in uncharged for line in lines)


def claim_of(run: RunFolder) -> Claim:
    """What the run has spent on any one unit so far."""
    study, privacy = run.study, run.study.privacy
    if privacy.noise == "none":
        return Claim(unit=privacy.unit, noise=privacy.noise, delta=privacy.delta)
    spent = [study.cost_of(charged_rounds(run))]
    return Claim(
        unit=privacy.unit,
        noise=privacy.noise,
        delta=privacy.delta,
        epsilon=composed_epsilon(spent, privacy.delta).pld,
        candidate_success=candidate_success(spent),
    )
