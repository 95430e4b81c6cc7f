"""The pace of a job: how far it was when, in a bounded number of samples, and its rate over time."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

MAX_SAMPLES = 120
"""Samples that a job keeps."""
CHART_COLUMNS = 60
"""Stretches of equal length that the picture of its rate has."""

Sample = tuple[float, int]
"""Seconds of work since the job began (waits between attempts do not count), and bytes done by then."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Bytes a second in each of some stretches of `step` seconds."""

    rates: tuple[int, ...]
    step: float
    size: int
    """Bytes done in all."""

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
    """The samples with one more, thinned evenly: the last one of each stretch, whose length doubles as time goes on."""
    step = 0.25
    while sample[0] / step > MAX_SAMPLES - 1:
        step *= 2
    last_of = {int(seconds / step): (seconds, size) for seconds, size in (*samples, sample)}
    return list(last_of.values())


def from_samples(samples: Sequence[Sample]) -> Throughput | None:
    """The rate over time; None where too little is known for a picture."""
    known = [(0.0, 0), *((float(seconds), int(size)) for seconds, size in samples)]
    end = known[-1][0]
    if len(known) < 3 or end <= 0 or not known[-1][1]:
        return None
    number = min(CHART_COLUMNS, len(known) - 1)
    step = end / number
    reached = [_at(known, step * edge) for edge in range(number + 1)]
    rates = tuple(max(0, round((after - before) / step)) for before, after in itertools.pairwise(reached))
    return Throughput(rates=rates, step=step, size=known[-1][1])


def _at(known: Sequence[Sample], moment: float) -> float:
    """Bytes done at a moment, on the straight line between the samples around it."""
    for (begin, before), (end, after) in itertools.pairwise(known):
        if moment <= end:
            return before + (after - before) * (moment - begin) / (end - begin) if end > begin else after
    return known[-1][1]
