"""What we aim at beside each peer. The table says whether it is met; no test does."""

from collections.abc import Mapping

from benchmarks.rounds import OURS, Row

# (benchmark, peer) → the least ratio of ours to the peer.
_RATIOS: Mapping[tuple[str, str], float] = {
    ("C-STORE CT 0.5 MB, 4 associations", "orthanc"): 0.6,
    ("C-STORE 10 KB, 4 associations", "orthanc"): 0.4,
    ("worklist, 1,000 steps, 20 found", "wlmscpfs"): 1.5,
    ("worklist, 10,000 steps, 20 found", "wlmscpfs"): 8,
    ("worklist, 100,000 steps, 20 found", "fiducial at the fewest steps"): 0.7,
    # The final goal: sending is our own loop already.
    ("forward CT 0.5 MB, 1 association", "storescu"): 1,
    ("forward 10 KB, 1 association", "storescu"): 1,
    ("HL7 acknowledged, 1 connection", "bare insert"): 0.4,
    ("HL7 acknowledged, 32 connections", "bare insert"): 1.5,
    ("HL7 parse and map", "hl7apy"): 100,
}
# benchmark → the least that ours must be.
_LEAST: Mapping[str, float] = {"match, right where data suffice": 100}
# benchmark → the most that ours may be: the median of its rounds, and of what is counted the worst of them.
_LIMITS: Mapping[str, float] = {
    "order on the worklist, p95": 100,
    "idle, 20 open associations": 1,
    "forward, lost responses": 0,
    "match, wrong": 0,
}


def verdict(row: Row) -> str:
    """`≥ 0.6: met`, `< 100: missed`, or nothing where there is no goal."""
    if row.system == OURS and row.name in _LIMITS:
        limit, judged = _LIMITS[row.name], row.max if row.metric == "count" else row.median
        return f"≤ {limit:g}: {'met' if judged <= limit else 'missed'}"
    if row.system == OURS and row.name in _LEAST:
        return f"≥ {_LEAST[row.name]:g}: {'met' if row.median >= _LEAST[row.name] else 'missed'}"
    least = _RATIOS.get((row.name, row.system))
    if least is None or row.ratio is None:
        return ""
    return f"≥ {least:g}: {'met' if row.ratio >= least else 'missed'}"
