"""What a hospital answers: each request is held against its own roster, study, policy and budget.

The order is the promise. Before any gradient: the study is approved, the policy agrees, the budget is
charged and on disk. Before any answer leaves: its digest is on disk. Whatever goes wrong, the coordinator
learns one code from a closed list; the reason stays in the journal.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from fedpriv import logs
from fedpriv.errors import FedprivError, ImageError
from fedpriv.node import budget
from fedpriv.node.events import Close, Refuse
from fedpriv.node.policy import Declined, check_study
from fedpriv.secagg.hospital import HospitalRound
from fedpriv.secagg.messages import Envelope, Invitation, Stage, decode, refusal
from fedpriv.secagg.refusal import RefusalCode, RuleBroken
from fedpriv.secagg.terms import vector_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fedpriv.node.home import NodeHome
    from fedpriv.node.journal import Journal
    from fedpriv.secagg.terms import RoundTerms
    from fedpriv.study import Study

_MOST_ROWS_PER_CODE = 10

_log = logging.getLogger(__name__)


class Trainer(Protocol):
    """What a hospital needs of training; `fedpriv.node.training` makes the real ones."""

    @property
    def parameters(self) -> int:
        """The length d of the model vector, from the installed architecture."""

    def train(self, vector: NDArray[np.float32]) -> NDArray[np.int64]:
        """The values of one round for the masked sum, int64 (d,), from the model ``vector``, float32 (d,)."""


class Prepared(NamedTuple):
    """A trainer, and the SHA-256 of the register (`fedpriv.node.register`) that holds its images."""

    trainer: Trainer
    register: bytes


@dataclass(slots=True)
class _Current:
    """The round that the hospital is in: its study, its trainer, the masked sum and the model received."""

    study: Study
    prepared: Prepared
    machine: HospitalRound
    model: NDArray[np.float32]


class Hospital:
    """Answers one request at a time; ``prepare_for`` makes the trainer of a study when it is first needed."""

    def __init__(self, home: NodeHome, journal: Journal, prepare_for: Callable[[Study], Prepared]) -> None:
        self._home = home
        self._policy = home.config.policy
        self._dataset = home.config.dataset.name
        self._journal = journal
        self._prepare_for = prepare_for
        self._identity = home.identity()
        self._roster = home.roster()
        self._prepared: dict[bytes, Prepared] = {}
        self._current: _Current | None = None

    def prepare(self, study: Study) -> Prepared:
        """Load what ``study`` needs, so that its first round does not wait for it."""
        if study.digest not in self._prepared:
            self._prepared = {study.digest: self._prepare_for(study)}  # images of one study at a time
        return self._prepared[study.digest]

    def handle(self, request: Envelope) -> Envelope:
        """The reply to ``request``: what the protocol calls for, or a refusal with nothing but a code."""
        try:
            return self._answer(request)
        except (RuleBroken, Declined) as refused:
            return self._refuse(request.stage, refused.code, refused.message)
        except ImageError as error:
            # The error names an image; an auditor may see rows, and logs may leave this machine.
            _log.warning("a request failed on the images: %s", logs.in_short(error))
            return self._refuse(request.stage, RefusalCode.INTERNAL, "the images cannot be used")
        except FedprivError as error:
            return self._refuse(request.stage, RefusalCode.INTERNAL, error.message)
        except Exception as error:  # noqa: BLE001 - a bug must not tell the coordinator anything
            _log.exception("a %s request failed", request.stage.name)
            return self._refuse(request.stage, RefusalCode.INTERNAL, type(error).__name__)

    def _answer(self, request: Envelope) -> Envelope:
        if request.stage is Stage.ADVERTISE:
            self._enter(decode(request.body, Invitation), request.vector)
        current = self._current
        if current is None:
            raise RuleBroken(RefusalCode.OUT_OF_ORDER, f"{request.stage.name} outside of a round")
        given = current.machine.reply_to(request)
        if given is not None:
            return given
        match request.stage:
            case Stage.ADVERTISE:
                reply = current.machine.advertise(request)
            case Stage.SHARE:
                reply = current.machine.share(request)
            case Stage.UPLOAD:
                reply = current.machine.upload(request, lambda: self._train(current))
            case Stage.AGREE:
                reply = current.machine.agree(request)
            case Stage.UNMASK:
                reply = current.machine.unmask(request)
            case Stage.CLOSE:
                reply = current.machine.close(request, self._journal.head)
        self._persist(current.machine, request, reply)
        return reply

    def _enter(self, invitation: Invitation, model: bytes) -> None:
        """Begin the round of ``invitation``, unless it is the one we are in."""
        if self._current is not None:
            terms = self._current.machine.terms
            if (terms.run, terms.round) == (invitation.run, invitation.round):
                return
            self._leave()
        self._check_history(invitation)
        study = self._home.approved_study(invitation.study_digest)
        if study is None:
            raise Declined(
                RefusalCode.STUDY_NOT_APPROVED,
                f"no study {invitation.study_digest.hex()[:16]} is approved here",
            )
        check_study(self._policy, study, self._identity.name)
        budget.check_round(self._journal.rows, self._dataset, study, self._policy)
        prepared = self.prepare(study)
        machine = HospitalRound(
            name=self._identity.name,
            signing_key=self._identity.signing_key,
            roster={member.name: member.signing_key for member in self._roster.hospitals},
            coordinator_key=self._roster.coordinator.signing_key,
            terms=study.round_terms(
                run=invitation.run,
                round_number=invitation.round,
                roster_digest=self._roster.digest,
                parameters=prepared.trainer.parameters,
                smallest_cohort=self._policy.smallest_cohort,
            ),
            journal_head=self._journal.head,
            last_round=self._journal.last_round(invitation.run),
        )
        self._current = _Current(study, prepared, machine, _to_vector(model))
        self._tell("round_began", machine.terms, f"round {invitation.round} of {study.study.name} began")

    def _check_history(self, invitation: Invitation) -> None:
        """Refuse with a journal that lost rows: a restored copy has forgotten what was spent since.

        The coordinator says which head we told it last. A false one only costs it a round.
        """
        for entry in invitation.journal_heads:
            if entry.name == self._identity.name and not self._journal.had(entry.head):
                raise Declined(
                    RefusalCode.JOURNAL_LOST,
                    f"the coordinator was told the journal head {entry.head.hex()[:16]}, which this journal "
                    "never had: rows were lost, or an old copy was restored. Find the newest copy of the "
                    "home; without it nobody knows what was spent since",
                )

    def _train(self, current: _Current) -> NDArray[np.int64]:
        """Charge the budget, then train."""
        study, terms = current.study, current.machine.terms
        budget.reserve(
            self._journal,
            self._dataset,
            study,
            self._policy,
            run=terms.run,
            round_number=terms.round,
            register=current.prepared.register,
        )
        self._tell("charged", terms, f"round {terms.round}: {self._dataset} was charged, training")
        return current.prepared.trainer.train(current.model)

    def _persist(self, machine: HospitalRound, request: Envelope, reply: Envelope) -> None:
        """Put on disk what must be known after a crash, before ``reply`` leaves."""
        run, number = machine.terms.run, machine.terms.round
        if request.stage is Stage.UPLOAD:
            budget.release(self._journal, vector_digest(reply.vector), run=run, round_number=number)
        if request.stage is Stage.CLOSE:
            self._journal.append(Close(run, number, request.body))
        answer_digest = hashlib.sha256(reply.body + reply.vector).digest()
        self._journal.record_answer(run, number, request.stage, answer_digest)
        if request.stage is Stage.CLOSE:
            self._tell("round_closed", machine.terms, f"round {number} is closed")

    def _refuse(self, stage: Stage, code: RefusalCode, reason: str) -> Envelope:
        """Note why, forget the round's secrets, and say only the code."""
        terms = self._current.machine.terms if self._current is not None else None
        run, number = (terms.run, terms.round) if terms is not None else (bytes(16), 0)
        self._leave()
        logs.event(
            _log,
            "refused",
            f"refused {stage.name}: {code.name} ({reason})",
            level=logging.WARNING,
            run=run.hex(),
            round=number,
            stage=stage.name,
            code=code.name,
        )
        refused = Refuse(run, number, stage, code, reason)
        if self._is_news(refused):
            self._journal.append(refused)
        return refusal(stage, code)

    def _is_news(self, refused: Refuse) -> bool:
        """Whether ``refused`` gets a row: bad requests must not fill the disk, and no kind goes unrecorded.

        Since the last row that is no refusal, each one gets one row, and each code at most ten.
        """
        alike = []
        for row in reversed(self._journal.rows):
            if not isinstance(row.event, Refuse):
                break
            if row.event.code == refused.code:
                alike.append(row.event)
        return refused not in alike and len(alike) < _MOST_ROWS_PER_CODE

    def _tell(self, name: str, terms: RoundTerms, words: str) -> None:
        logs.event(_log, name, words, run=terms.run.hex(), round=terms.round)

    def _leave(self) -> None:
        if self._current is not None:
            self._current.machine.abandon()
            self._current = None


def _to_vector(model: bytes) -> NDArray[np.float32]:
    if len(model) % 4:
        raise RuleBroken(RefusalCode.WRONG_MODEL, f"a model of {len(model)} bytes")
    vector = np.frombuffer(model, dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise RuleBroken(RefusalCode.WRONG_MODEL, "a model that is not finite")
    return vector
