#!/usr/bin/env python3
"""How far a run is, in one line: wgetpool get ... --json --progress-interval 2 | follow.py"""

import json
import sys
from collections import Counter
from signal import SIG_IGN, SIGINT, signal

signal(SIGINT, SIG_IGN)  # Ctrl-C ends the run, and with it the input
files, here, pace, causes = 0, 0, "", Counter[str]()
for line in sys.stdin:
    match json.loads(line if line.endswith("\n") else "{}"):  # a run that was killed may cut one
        case {"event": "run_started", "files": files}:
            here, pace, causes = 0, "", Counter()
        case {"event": "file_done" | "file_skipped"}:
            here += 1
        case {"event": "file_failed", "cause": cause}:
            causes[cause] += 1
        case {"event": "progress", "rate": rate, "left": left}:
            time = "" if left is None else f", {left // 3600:.0f}:{left // 60 % 60:02.0f} h left"
            pace = "" if rate is None else f", {rate / 1e6:.1f} MB/s{time}"
    failed = ", ".join(f"{n} {cause}" for cause, n in causes.most_common()) or "none"
    print(f"\r{here} of {files} files{pace}; failed: {failed}\33[K", end="", flush=True)
print()
