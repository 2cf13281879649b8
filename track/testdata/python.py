"""Reads event files with TensorBoard's own reader: what it finds, by tag, as [wall time, step, value].

    python3 python.py FILE > golden.json

golden.json was made from events.out.tfevents.golden.distilvit with tensorboard 2.21.0.
"""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
accumulator.Reload()
print(json.dumps({
    tag: [[s.wall_time, s.step, s.value] for s in accumulator.Scalars(tag)]
    for tag in accumulator.Tags()["scalars"]
}, indent=1, sort_keys=True))
