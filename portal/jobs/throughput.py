"""The throughput of a job: how far it was when, in a bounded number of samples, and its rate over time."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

MAX_SAMPLES = 120
"""Samples that a job keeps."""
CHART_COLUMNS = 60
"""Columns of equal length that the chart of its rate has."""

Sample = tuple[float, int]
"""Seconds of work since the job began (waits between attempts do not count), and bytes done by then."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Bytes a second in each column of `step` seconds."""

    rates: tuple[int, ...]
    step: float
    size: int
    """Bytes done in total."""

    @property
    def seconds(self) -> float:
        return self.step * len(self.rates)

    @property
    def best(self) -> int:
        return max(self.rates)

    @property
    def stacks(self) -> tuple[tuple[int], ...]:
        """The rates as columns of one part."""
        return tuple((rate,) for rate in self.rates)

    @property
    def average(self) -> int:
        return round(self.size / self.seconds)


def add_sample(samples: Sequence[Sample], sample: Sample) -> list[Sample]:
    """The samples with one more, thinned evenly: the last one of each interval, which doubles as time goes on."""
    step = 0.25
    while sample[0] / step > MAX_SAMPLES - 1:
        step *= 2
    last_in_interval = {int(seconds / step): (seconds, size) for seconds, size in (*samples, sample)}
    return list(last_in_interval.values())


def from_samples(samples: Sequence[Sample]) -> Throughput | None:
    """The rate over time; None where there are too few samples for a chart."""
    known = [(0.0, 0), *((float(seconds), int(size)) for seconds, size in samples)]
    end = known[-1][0]
    if len(known) < 3 or end <= 0 or not known[-1][1]:
        return None
    number = min(CHART_COLUMNS, len(known) - 1)
    step = end / number
    done_at_edges = [_interpolate(known, step * edge) for edge in range(number + 1)]
    rates = tuple(max(0, round((after - before) / step)) for before, after in itertools.pairwise(done_at_edges))
    return Throughput(rates=rates, step=step, size=known[-1][1])


def _interpolate(known: Sequence[Sample], moment: float) -> float:
    """Bytes done at a moment, on the straight line between the samples around it."""
    for (begin, before), (end, after) in itertools.pairwise(known):
        if moment <= end:
            return before + (after - before) * (moment - begin) / (end - begin) if end > begin else after
    return known[-1][1]
