"""Why a hospital says no: a closed list of codes, the only words that a refusal may carry."""

from __future__ import annotations

from enum import IntEnum

from fedpriv.errors import ProtocolRefused


class RefusalCode(IntEnum):
    """What a hospital answers instead of a reply; no text ever goes with it.

    The numbers are on the wire: append, never renumber.
    """

    MALFORMED = 1
    OUT_OF_ORDER = 2
    REPEATED_DIFFERENTLY = 3
    WRONG_RUN = 4
    WRONG_ROSTER = 5
    WRONG_STUDY = 6
    WRONG_MODEL = 7
    WRONG_CONTEXT = 8
    ROUND_REPLAYED = 9
    UNSAFE_TERMS = 10
    UNKNOWN_HOSPITAL = 11
    DUPLICATE_HOSPITAL = 12
    DUPLICATE_KEY = 13
    OWN_ENTRY_CHANGED = 14
    BAD_SIGNATURE = 15
    BAD_KEY = 16
    COHORT_TOO_SMALL = 17
    WRONG_PEERS = 18
    BAD_SHARE = 19
    TOO_FEW_AGREEMENTS = 20
    BAD_RECEIPT = 21
    UPDATE_UNUSABLE = 22
    ROUND_DEAD = 23
    # Said by the hospital's node around the masked sum, not by the sum itself.
    STUDY_NOT_APPROVED = 40
    POLICY = 41
    BUDGET_SPENT = 42
    INTERNAL = 43
    JOURNAL_LOST = 44


class RuleBroken(ProtocolRefused):
    """A message, or an order of messages, breaks the rule that ``code`` names."""

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code = code
