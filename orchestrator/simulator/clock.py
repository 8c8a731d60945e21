"""What time it truly is in an exam: now, or in history the moment that is being played."""

from datetime import datetime

Turn = tuple[datetime, datetime]
"""When it was played, and when it truly happened."""


class Clock:
    """An exam's own time. It runs as fast as any other, and in history jumps on at its turns."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def now(self) -> datetime:
        return self.at(datetime.now().astimezone())

    def at(self, played: datetime) -> datetime:
        """What time it truly was when this was played."""
        passed = [turn for turn in self.turns if turn[0] <= played] or self.turns[:1]
        return passed[-1][1] + (played - passed[-1][0]) if passed else played

    def turn(self, to: datetime) -> None:
        """From here on it is `to`: never earlier than it was already, and never in the future."""
        played = datetime.now().astimezone()
        earliest = self.at(played) if self.turns else to
        self.turns.append((played, min(max(to, earliest), played)))
