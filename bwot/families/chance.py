"""Choices and lengths by chance, from whole numbers."""

from bwot.dice import dice


class Chance:
    """Choices and lengths by chance; every combination of numbers in ``seed`` gives a stream of its own."""

    def __init__(self, *seed: int):
        self._dice = dice(seed)

    def whole(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return low + int(self._dice(1, below=high - low + 1)[0])

    def between(self, low: float | int, high: float | int) -> float:
        """One of 4,096 evenly spaced numbers from ``low`` on, below ``high``."""
        return low + (high - low) * int(self._dice(1, below=4096)[0]) / 4096

    def chance(self, percent: int) -> bool:
        """Whether something happens that does so ``percent`` times in 100."""
        return int(self._dice(1, below=100)[0]) < percent
