"""Write the known-answer vectors with the slow implementation alone.

Run as: PYTHONPATH=tests python tests/vectors/make.py
"""

import hashlib
import json
from pathlib import Path

from support import slow

SOURCE = "computed by tests/support/slow.py, which shares no code with fedpriv"


def some(label: str, size: int = 32) -> bytes:
    """Fixed bytes that look random."""
    return hashlib.shake_256(label.encode()).digest(size)


def hexed(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: hexed(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [hexed(entry) for entry in value]
    return value


def pair_seeds():
    cases = []
    for one, other in (("berlin", "zurich"), ("zurich", "berlin"), ("h1", "h10")):
        private, peer, context = some(f"private {one}"), some(f"peer {other}"), some("context")
        public = slow.x25519(peer, (9).to_bytes(32, "little"))
        seed = slow.pair_seed(private, public, context, one, other)
        cases.append(
            {
                "own": one,
                "peer": other,
                "private": private,
                "peer_public": public,
                "context": context,
                "seed": seed,
                "negative": one > other,
            }
        )
    return {"x25519": X25519, "hkdf": HKDF, "cases": cases}


def keystreams():
    cases = [{"seed": some(f"seed {i}"), "stream": slow.keystream(some(f"seed {i}"), 80)} for i in range(3)]
    return {"aes256_ctr": AES256_CTR, "cases": cases}


def masks():
    context, words = some("mask context"), [0, 1, 2**64 - 1, 2**63, 12345678901234567890]
    seed, pairs = some("self-mask seed"), [("a", some("pair a")), ("c", some("pair c"))]
    seeds = [(slow.self_seed(seed, "b", context), 1), (pairs[0][1], -1), (pairs[1][1], 1)]
    return {
        "own": "b",
        "context": context,
        "words": words,
        "self_mask_seed": seed,
        "pairs": [{"seed": pair, "negative": peer < "b"} for peer, pair in pairs],
        "masked": slow.masked(words, seeds),
    }


def shares():
    cases = []
    for secret, xs, t in ((some("secret"), [1, 2, 3, 5], 3), (b"\xff" * 32, [4, 9], 2), (bytes(32), [7], 1)):
        upper = [int.from_bytes(some(f"c {i}", 33), "big") % slow.SHARE_PRIME for i in range(1, t)]
        values = slow.share_values([int.from_bytes(secret, "big"), *upper], xs)
        cases.append(
            {
                "secret": secret,
                "threshold": t,
                "upper_coefficients": [hex(c) for c in upper],
                "xs": xs,
                "shares": [value.to_bytes(33, "big") for value in values],
            }
        )
    return {"prime": hex(slow.SHARE_PRIME), "cases": cases}


def contexts():
    terms = {"run": some("run", 16), "round": 300, "roster_digest": some("R"), "study_digest": some("S")}
    vector = b"".join(i.to_bytes(4, "little") for i in range(5))
    model = slow.framed(b"fedpriv model v1", vector)
    names = ["berlin", "oslo", "zurich"]
    shown = (terms["run"], terms["round"], terms["roster_digest"], terms["study_digest"], model)
    advertisements = []
    for name in names:
        fresh = (some(f"{name} {field}") for field in ("channel", "mask", "head"))
        advertisements.append((name, *shown, *fresh, some(f"{name} signature", 64)))
    cohort = slow.cohort(terms, model, advertisements)
    commitments = [
        (name, cohort, some(f"{name} H(b)"), some(f"{name} letters"), some(f"{name} sealed", 64))
        for name in names
    ]
    return {
        "terms": terms,
        "model_vector": vector,
        "model_digest": model,
        "advertisements": advertisements,
        "cohort_digest": cohort,
        "commitments": commitments,
        "context": slow.context(cohort, commitments),
    }


def packings():
    cases = []
    for bits, hospitals, lanes, lane_bits in (
        (16, 5, 3, 21),
        (16, 33, 2, 32),
        (24, 10, 2, 32),
        (32, 3, 1, 64),
    ):
        values = [int.from_bytes(some(f"value {i}", 4), "big") % 2**bits for i in range(7)] + [0, 2**bits - 1]
        words = slow.packed(values, lanes, lane_bits)
        cases.append({"bits": bits, "hospitals": hospitals, "values": values, "words": words})
    return {"cases": cases}


X25519 = {
    "source": "RFC 7748 section 5.2, first vector",
    "scalar": "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
    "u": "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
    "shared": "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
}
HKDF = {
    "source": "RFC 5869 appendix A.1",
    "secret": "0b" * 22,
    "salt": "000102030405060708090a0b0c",
    "info": "f0f1f2f3f4f5f6f7f8f9",
    "okm": "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
}
AES256_CTR = {
    "source": "NIST SP 800-38A section F.5.5, first block",
    "key": "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
    "counter": "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
    "plaintext": "6bc1bee22e409f96e93d7e117393172a",
    "ciphertext": "601ec313775789a5b7a7f504bbf3d228",
}
FILES = {
    "pair_seed": pair_seeds,
    "keystream": keystreams,
    "mask": masks,
    "shares": shares,
    "context": contexts,
    "packing": packings,
}

if __name__ == "__main__":
    for name, content in FILES.items():
        path = Path(__file__).parent / f"{name}.json"
        path.write_text(json.dumps({"source": SOURCE, **hexed(content())}, indent=1) + "\n")
