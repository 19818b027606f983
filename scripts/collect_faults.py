"""Keeps what the planted faults of ``make regress`` came to, as docs/results/faults-PRESET-seedSEED.json.

    make regress ARGS="-k mutation"
    python scripts/collect_faults.py

Each block counts the verdicts of its faults (``acf.tb.mutation``); a campaign goes on until enough are caught or one is
missed. Campaigns of another configuration than the preset's own are older than it, and passed over. Blocks without a
campaign keep what the file says of them, with the configuration that it is of.
"""

import json
import sys
from pathlib import Path

from acf.config import preset

ROOT = Path(__file__).resolve().parent.parent
FOUND = ROOT / "build" / "regress"
RESULTS = ROOT / "docs" / "results"
COMMAND = "make regress ARGS='-k mutation' && python scripts/collect_faults.py"


def collect(name: str = "tiny", seed: int = 1) -> Path:
    """Write the file, and return its path."""
    kept = RESULTS / f"faults-{name}-seed{seed}.json"
    blocks = json.loads(kept.read_text())["result"] if kept.exists() else {}
    found = 0
    for path in sorted(FOUND.glob(f"faults-*-{name}-{seed}.json")):
        campaign = json.loads(path.read_text())
        if campaign["config"] != preset(name).digest:
            continue
        found += 1
        blocks[campaign["block"]] = {key: campaign[key] for key in ("config", "seed", "bench", "counts")}
    if not found:
        sys.exit(f"{FOUND} has no campaign of {name} as it is, of seed {seed}; {COMMAND.split(' &&')[0]} makes them")
    kept.write_text(json.dumps({"command": COMMAND, "result": dict(sorted(blocks.items()))}, indent=1) + "\n")
    return kept


if __name__ == "__main__":
    print(collect())
