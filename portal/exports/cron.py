"""When a schedule is due: a cron line, in UTC, and the same in words."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

from cronsim import CronSim, CronSimError

from portal.errors import BadValue

MAX_LINE_LENGTH = 100
MIN_INTERVAL = timedelta(minutes=10)
"""The shortest time between two runs."""
CHECKED_TIMES = 200
"""Times of which the interval is checked."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LAST_DAY = "L"
"""The last day of a month."""


def parse(line: str) -> str:
    """The line with single spaces. Raises BadValue where it is invalid, never due, or due too often."""
    words = line.split()
    text = " ".join(words)
    if len(words) != 5 or len(text) > MAX_LINE_LENGTH:
        message = "Write five fields: minute, hour, day of the month, month, day of the week, like 0 2 * * 1-5."
        raise BadValue(message, field="line")
    try:
        times = list(islice(CronSim(text, datetime.now(UTC)), CHECKED_TIMES))
    except CronSimError as error:
        raise BadValue(f"{text!r} is not a cron expression: {str(error).lower()}.", field="line") from error
    if not times:
        raise BadValue(f"{text!r} never comes. Choose a day that there is.", field="line")
    if any(later - earlier < MIN_INTERVAL for earlier, later in pairwise(times)):
        minutes = MIN_INTERVAL // timedelta(minutes=1)
        raise BadValue(f"{text!r} comes too often: leave {minutes} minutes between two times.", field="line")
    return text


def from_form(*, every: str, at: str, weekday: str = "1", day: str = "1", line: str = "") -> str:
    """The cron line for a form: `every` day, week or month `at` HH:MM, or the line itself. Raises BadValue."""
    if every == "cron":
        return parse(line)
    hour_text, colon, minute_text = at.strip().partition(":")
    parts = (hour_text, minute_text)
    is_clock = colon and all(part.isascii() and part.isdecimal() and len(part) <= 2 for part in parts)
    if not is_clock or int(hour_text) > 23 or int(minute_text) > 59:
        raise BadValue(f"{at[:40]!r} is no time of the day. Write it like 02:30.", field="at")
    hour, minute = int(hour_text), int(minute_text)
    if every == "day":
        return parse(f"{minute} {hour} * * *")
    if every == "week":
        if weekday not in "1234567" or len(weekday) != 1:
            raise BadValue("Choose a day of the week.", field="weekday")
        return parse(f"{minute} {hour} * * {weekday}")
    if every == "month":
        if day != LAST_DAY and not (day.isascii() and day.isdecimal() and 1 <= int(day[:3]) <= 28):
            raise BadValue("Choose a day from 1 to 28, or the last one.", field="day")
        return parse(f"{minute} {hour} {day} * *")
    raise BadValue(f"{every[:40]!r} is none of: day, week, month, cron.", field="every")


def next_time(line: str, moment: datetime) -> datetime:
    """The first time after a moment."""
    return next(times(line, moment))


def times(line: str, moment: datetime) -> Iterator[datetime]:
    """All times after a moment."""
    return CronSim(line, moment.astimezone(UTC))


def in_words(line: str) -> str:
    """At 02:00 on Monday (UTC)."""
    return f"{CronSim(line, datetime.now(UTC)).explain()} (UTC)"
