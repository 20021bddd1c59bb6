"""What the plugin takes of each pass.

Owns the stopwatch that every override adds its own time to, SGLang's part taken off, and
its sums over passes that launched a batch: all of them, and those that held no offline
work anywhere, where the plugin's time is what online work pays for it. Read with
`perf_counter_ns`: time another process took the core is counted too, so it is a bound.
"""


class PassCost:
    """Sums of one engine, in nanoseconds."""

    def __init__(self) -> None:
        self.spent_ns = 0  # of the pass so far; every override adds to it
        self._launched = False
        self._scheduling_ns = 0
        self._online_only_ns = 0
        self._online_only_pass_ns = 0.0

    def launched(self) -> None:
        """The pass launched a batch."""
        self._launched = True

    def end_pass(self, elapsed_ms: float, *, online_only: bool) -> None:
        """The pass is over, `elapsed_ms` after it began.

        Args:
            elapsed_ms: Its length.
            online_only: Whether no offline work was anywhere in the engine.
        """
        self._scheduling_ns += self.spent_ns
        if self._launched and online_only:
            self._online_only_ns += self.spent_ns
            self._online_only_pass_ns += elapsed_ms * 1e6
        self.spent_ns = 0
        self._launched = False

    def counters(self) -> dict[str, int]:
        """Values of `Counters`, microseconds."""
        return {
            "scheduling_us": (self._scheduling_ns + self.spent_ns) // 1000,
            "online_only_scheduling_us": self._online_only_ns // 1000,
            "online_only_pass_us": int(self._online_only_pass_ns) // 1000,
        }
